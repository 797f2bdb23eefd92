"""The three losses against hand-worked values and plain restatements of their formulas."""

import math

import pytest
import torch
from learning import noise
from torch.nn import functional as F

from omnial_bench.models.losses import focal_loss, mse_loss, ssim_loss, value_range


def plain_ssim(first: torch.Tensor, second: torch.Tensor, span: float) -> torch.Tensor:
    """SSIM written out with a full 11x11 window, zeros outside the frame."""
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2
    channels = first.shape[1]

    def local(values: torch.Tensor) -> torch.Tensor:
        return F.conv2d(values, window.expand(channels, 1, 11, 11), padding=5, groups=channels)

    a, b = first.double(), second.double()
    ma, mb = local(a), local(b)
    va, vb, cov = local(a * a) - ma * ma, local(b * b) - mb * mb, local(a * b) - ma * mb
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    return (((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()


@pytest.mark.parametrize(("shift", "factor", "span"), [(0.0, 1.0, 1.0), (-0.7, 1.0, 2.0), (0.0, 200.0, 255.0)])
def test_ssim_loss_takes_its_range_from_the_reconstruction(shift: float, factor: float, span: float) -> None:
    reconstruction, target = noise(2, 3, 20, 16) * factor + shift, noise(2, 3, 20, 16, seed=1)
    expected = 1 - plain_ssim(reconstruction, target, span).item()
    assert ssim_loss(reconstruction, target).item() == pytest.approx(expected, abs=2e-5)


def test_value_range_steps() -> None:
    values = torch.zeros(1, 1, 1, 2)
    for low, high, span in ((0, 1, 1), (-0.5, 128, 1), (-0.51, 1, 2), (0, 128.5, 255), (-1, 200, 256)):
        values[0, 0, 0] = torch.tensor([low, high])
        assert value_range(values).item() == span


@pytest.mark.parametrize("classes", [2, 4])
def test_focal_loss_equals_its_definition(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = 5 * torch.randn(3, classes, 6, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (3, 6, 5), generator=generator)
    target = F.one_hot(labels, classes).movedim(-1, 1).double().clamp(1e-5 / (classes - 1), 1 - 1e-5)
    matched = (target * logits.softmax(1)).sum(1) + 1e-5
    expected = -((1 - matched) ** 2 * matched.log()).mean()
    assert focal_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_focal_loss_is_finite_where_the_head_is_sure_and_wrong() -> None:
    logits = torch.tensor([[[[200.0]], [[-200.0]]]], requires_grad=True)
    loss = focal_loss(logits, torch.ones(1, 1, 1, dtype=torch.int64))
    assert loss.item() == pytest.approx(-math.log(2e-5), rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()


def test_every_loss_has_the_gradient_of_finite_differences() -> None:
    first, second = noise(1, 2, 12, 12).requires_grad_(), noise(1, 2, 12, 12, seed=1)
    labels = (second[:, 0] > 0.5).long()
    direction = noise(1, 2, 12, 12, seed=2) - 0.5
    for loss in (lambda x: mse_loss(x, second), lambda x: ssim_loss(x, second), lambda x: focal_loss(x, labels)):
        (gradient,) = torch.autograd.grad(loss(first), first)
        step = 1e-2
        with torch.no_grad():
            slope = (loss(first + step * direction) - loss(first - step * direction)) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=2e-2)
        assert slope != 0


def test_losses_stay_in_float32_under_autocast() -> None:
    first, second = noise(1, 3, 16, 16), noise(1, 3, 16, 16, seed=1)
    labels = torch.zeros(1, 16, 16, dtype=torch.int64)
    plain = [mse_loss(first, second), ssim_loss(first, second), focal_loss(first, labels)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = [mse_loss(first, second), ssim_loss(first, second), focal_loss(first, labels)]
    for expected, got in zip(plain, cast, strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(expected, got)
