"""JNLD: DRAEM's networks with a JND map and defect levels."""

from typing import Any

import pytest
import torch
from learning import noise, totals_of
from torch import nn

from omnial_bench.errors import UserError
from omnial_bench.models import jnld
from omnial_bench.models.blocks import initialise
from omnial_bench.models.jnld import JNLD, Options
from omnial_bench.types import Synthetic


def tiny(**options: Any) -> JNLD:
    detector = JNLD(Options(**{"width": 4, "loc_width": 4, "pooling": 5} | options))
    initialise(detector, torch.Generator().manual_seed(0))
    return detector


def batch(levels: int = 3) -> Synthetic:
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    for level in range(levels):
        labels[0, 8 * level : 8 * level + 8] = level + 1
    return Synthetic(noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1), labels, 0.3 * noise(2, 1, 32, 32, seed=2))


def test_paper_networks_are_draems_but_for_the_channels() -> None:
    with torch.device("meta"):
        detector = JNLD(Options())
    counts = [sum(p.numel() for p in part.parameters()) for part in (detector.reconstruction, detector.localisation)]
    # A fourth output of 128 x 9 weights and a bias; a seventh input into 64 filters, and two more classes.
    assert counts == [69_048_579 + 128 * 9 + 1, 28_374_146 + 64 * 9 + 2 * (64 * 9 + 1)]


@pytest.mark.parametrize("classes", [2, 4])
def test_forward_shapes(classes: int) -> None:
    detector = tiny(classes=classes)
    prediction = detector(noise(2, 3, 32, 64))
    assert prediction.logits.shape == (2, classes, 32, 64)
    assert prediction.reconstruction.shape == (2, 3, 32, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = detector(noise(2, 3, 32, 32))
    assert prediction.logits.dtype == prediction.reconstruction.dtype == torch.float32
    with pytest.raises(UserError, match="got 40x64"):
        detector(noise(1, 3, 40, 64))


def test_the_gradient_reaches_the_image_through_image_jnd_and_input() -> None:
    images = noise(1, 3, 32, 32).requires_grad_()
    for kept in (slice(0, 3), slice(3, 4), slice(4, 7)):
        detector = tiny().eval()
        with torch.no_grad():
            first = detector.localisation.encoder.stages[0][0][0].weight
            mask = torch.zeros_like(first)
            mask[:, kept] = 1
            first.mul_(mask)
            for part in detector.modules():
                if isinstance(part, nn.Conv2d):
                    part.weight.mul_(10)
        (gradient,) = torch.autograd.grad(detector(images).log_odds.sum(), images)
        assert (gradient != 0).float().mean() > 0.5


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({}, ["mse_image", "mse_jnd", "focal"]),
        ({"image_ssim": True}, ["mse_image", "mse_jnd", "focal", "ssim_image"]),
        ({"classes": 2}, ["mse_image", "mse_jnd", "focal"]),
    ],
)
def test_training_lowers_the_loss_of_a_batch(options: dict[str, Any], terms: list[str]) -> None:
    totals = totals_of(tiny(**options), batch(options.get("classes", 4) - 1), terms)
    assert totals[-1] < 0.8 * totals[0]


def test_loss_terms_compare_the_right_channels() -> None:
    detector, examples = tiny(), batch()
    reconstruction, _ = detector.networks(examples.images)
    terms = detector.loss(examples)
    assert terms["mse_image"].item() == pytest.approx((reconstruction[:, :3] - examples.clean).square().mean().item())
    assert terms["mse_jnd"].item() == pytest.approx((reconstruction[:, 3:] - examples.jnd).square().mean().item())


@pytest.mark.parametrize(("classes", "levels"), [(4, 3), (2, 1)])
def test_synthesis_gets_the_options(monkeypatch: pytest.MonkeyPatch, classes: int, levels: int) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(jnld.synthesis, "synthesize", lambda *_, **switches: seen.update(switches) or batch())
    images = noise(2, 3, 32, 32)
    tiny(panels=True, anomalous=0.25, classes=classes, free_energy=True).synthesize(images, images, torch.Generator())
    assert seen == {"panels": True, "anomalous": 0.25, "levels": levels, "free_energy": True}
