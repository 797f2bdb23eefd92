"""PSNR and SSIM against scikit-image, by hand, and at the edges."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.metrics.quality import Padding, psnr, ssim, ssim_map


def clean_images(kind: str) -> tuple[Tensor, Tensor]:
    """Three pairs of non-square RGB images."""
    generator = torch.Generator().manual_seed(4)
    smooth = F.interpolate(torch.rand(3, 3, 6, 8, generator=generator), (40, 56), mode="bicubic").clamp(0, 1)
    noise = torch.randn(3, 3, 40, 56, generator=generator)
    if kind == "noise":
        return torch.rand(3, 3, 40, 56, generator=generator), torch.rand(3, 3, 40, 56, generator=generator)
    if kind == "flat and bright":
        return 0.9 + 0.01 * smooth, 0.9 + 0.01 * smooth + 0.003 * noise
    return smooth, (smooth + 0.1 * noise).clamp(0, 1)


def reference(a: Tensor, b: Tensor, data_range: float = 1.0) -> list[tuple[float, np.ndarray]]:
    return [
        structural_similarity(
            x.double().numpy(), y.double().numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=data_range, channel_axis=0, full=True,
        )
        for x, y in zip(a, b, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["noise", "smooth", "flat and bright"])
def test_ssim_equals_scikit_image(kind: str) -> None:
    a, b = clean_images(kind)
    means, maps = zip(*reference(a, b), strict=True)
    assert ssim(a, b).numpy() == pytest.approx(np.array(means), abs=1e-6)
    double = ssim_map(a.double(), b.double(), padding="reflect")
    assert double.numpy() == pytest.approx(np.stack(maps), abs=1e-9)
    # In float32 a single pixel of a flat place is known to four digits, as its variance is a difference of squares.
    assert torch.allclose(ssim_map(a, b, padding="reflect").double(), double, atol=1e-4)


def test_ssim_of_another_range_is_the_same_of_scaled_images() -> None:
    a, b = clean_images("smooth")
    assert torch.allclose(ssim(255 * a, 255 * b, data_range=255.0), ssim(a, b), atol=1e-5)
    assert ssim(a, b, data_range=2.0).numpy() == pytest.approx(np.array([m for m, _ in reference(a, b, 2.0)]), abs=1e-6)


def test_zero_padding_by_hand_against_the_printed_formula() -> None:
    """The whole formula with a two-dimensional window and zeros outside, in double precision."""
    a, b = (images.double() for images in clean_images("smooth"))
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / 4.5)
    kernel = (line[:, None] * line[None]).expand(3, 1, 11, 11) / line.sum() ** 2

    def mean(images: Tensor) -> Tensor:
        return F.conv2d(images, kernel, padding=5, groups=3)

    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2, mean(a * b) - mu_a * mu_b
    expected = (2 * mu_a * mu_b + 1e-4) * (2 * cov + 9e-4) / ((mu_a**2 + mu_b**2 + 1e-4) * (var_a + var_b + 9e-4))
    assert torch.allclose(ssim_map(a, b), expected, atol=1e-12)
    inner = ssim_map(a, b)[..., 5:-5, 5:-5]
    assert torch.allclose(ssim_map(a, b, padding="none"), inner, atol=1e-12)
    assert torch.allclose(ssim(a, b), inner.flatten(1).mean(1), atol=1e-12)


def test_window_of_three_on_four_by_four() -> None:
    """A spike against black in the window's centre: one window by hand."""
    a, b = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    a[0, 0, 1, 1] = 1.0
    edge = np.exp(-0.5)
    weight = 1 / (1 + 2 * edge) ** 2
    expected = 1e-4 / (weight**2 + 1e-4) * 9e-4 / (weight - weight**2 + 9e-4)
    assert float(ssim_map(a, b, window=3, sigma=1.0)[0, 0, 1, 1]) == pytest.approx(expected, rel=1e-4)


def test_psnr_equals_scikit_image_and_is_infinite_for_equal_images() -> None:
    a, b = clean_images("smooth")
    b[1] = a[1]
    values = psnr(a, b)
    assert values[1] == torch.inf
    for index in (0, 2):
        expected = peak_signal_noise_ratio(a[index].double().numpy(), b[index].double().numpy(), data_range=1)
        assert float(values[index]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("padding", ["zero", "reflect", "none"])
def test_gradient_of_both_images(padding: Padding) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 1, 5, 6, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: ssim_map(x, y, window=5, padding=padding), (a, b), fast_mode=True)


def test_low_precision_around_it_changes_nothing() -> None:
    a, b = clean_images("flat and bright")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim_map(a, b)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, ssim_map(a, b))
    assert psnr(a.bfloat16(), b.bfloat16()).dtype == torch.float32


def test_bad_shapes_are_refused() -> None:
    image = torch.zeros(1, 3, 12, 12)
    with pytest.raises(UserError, match="one shape"):
        ssim(image, image[:, :, :11])
    with pytest.raises(UserError, match="images"):
        psnr(image[0], image[0])
    with pytest.raises(UserError, match="odd window"):
        ssim_map(image, image, window=10)
    with pytest.raises(UserError, match="frame"):
        ssim(image[..., :8], image[..., :8])
