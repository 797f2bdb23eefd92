"""How like two images are: PSNR and SSIM, batched, on their device, differentiable."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.errors import UserError

Padding = Literal["zero", "reflect", "none"]


def psnr(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of each pair in dB, range 1; inf for equal ones. Raises UserError for two shapes."""
    a, b = _pair(a, b)
    return -10 * torch.log10((a - b).square().flatten(1).mean(1))


def ssim(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"], *, data_range: float = 1.0) -> Float[Tensor, " b"]:
    """Structural similarity of each pair in [-1, 1], the mean over channels and all windows inside the frame.

    As Wang et al. (2004, Eq. 13) and scikit-image with Gaussian weights. Raises UserError for shapes.
    """
    return ssim_map(a, b, data_range=data_range, padding="none").flatten(1).mean(1)


def ssim_map(
    a: Float[Tensor, "b c h w"],
    b: Float[Tensor, "b c h w"],
    *,
    window: int = 11,
    sigma: float = 1.5,
    data_range: float = 1.0,
    padding: Padding = "zero",
) -> Float[Tensor, "b c _h _w"]:
    """Structural similarity around each pixel of each channel, in [-1, 1] (Wang et al. 2004, Eq. 13).

    `window` is the odd side of the Gaussian window of width `sigma`, both in pixels; K is 0.01 and 0.03. Outside the
    frame are zeros, as in DRAEM's loss, or the image mirrored with its edge repeated; "none" leaves out windows that
    reach there, so h and w shrink by window - 1. At least float32, also under autocast. Raises UserError for shapes.
    """
    a, b = _pair(a, b)
    side = window // 2
    if window % 2 == 0 or min(a.shape[-2:]) < (window if padding == "none" else side):
        raise UserError(f"expected an odd window inside the frame, got {window} and {tuple(a.shape[-2:])}; try 11")
    with torch.autocast(a.device.type, enabled=False):
        a, b = (_padded(image, side, padding) for image in (a, b))
        # Variances do not depend on the origin; about each channel's mean, squares are small and float32 loses little.
        mean_a, mean_b = (image.mean((-2, -1), keepdim=True) for image in (a, b))
        a, b = a - mean_a, b - mean_b
        mu_a, mu_b, aa, bb, ab = _blurred(torch.cat([a, b, a * a, b * b, a * b], 1), window, sigma).chunk(5, 1)
        variances = aa - mu_a * mu_a + bb - mu_b * mu_b
        covariance = ab - mu_a * mu_b
        mu_a, mu_b = mu_a + mean_a, mu_b + mean_b
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        luminance = (2 * mu_a * mu_b + c1) / (mu_a * mu_a + mu_b * mu_b + c1)
        return luminance * (2 * covariance + c2) / (variances + c2)


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, float32 at least."""
    if a.shape != b.shape or a.ndim != 4:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise UserError(f"expected two batches of one shape (b, c, h, w), got {shapes}; try `images[None]`")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _padded(images: Float[Tensor, "b c h w"], side: int, padding: Padding) -> Float[Tensor, "b c H W"]:
    if padding == "none":
        return images
    if padding == "zero":
        return F.pad(images, (side, side, side, side))
    for axis in (-2, -1):
        ahead = images.narrow(axis, 0, side).flip(axis)
        behind = images.narrow(axis, images.shape[axis] - side, side).flip(axis)
        images = torch.cat([ahead, images, behind], axis)
    return images


def _blurred(images: Float[Tensor, "b c H W"], window: int, sigma: float) -> Float[Tensor, "b c h w"]:
    """Gaussian mean over each whole window: rows, then columns, each channel alone."""
    offsets = torch.arange(window, device=images.device, dtype=images.dtype) - window // 2
    kernel = torch.softmax(-offsets.square() / (2 * sigma**2), 0)
    channels = images.shape[1]
    rows = F.conv2d(images, kernel.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
