"""Random views of images as anomaly textures: resize, crop, flip and colour jitter in one resampling."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.draw import chance, uniform
from omnial_bench.types import RGB

RESIZE = (0.5, 2.0)
JITTER = (0.4, 0.4, 0.4, 0.1)
_GREY = (0.299, 0.587, 0.114)


def jittered_crop(
    images: RGB,
    generator: torch.Generator,
    *,
    resize: tuple[float, float] = RESIZE,
    flip: float = 0.5,
    jitter: tuple[float, ...] = JITTER,
) -> RGB:
    """Each image resized by a factor log-uniform in `resize`, cropped, flipped each way with a probability, jittered.

    A view that is smaller than the frame is continued by reflection. OmniAL, section 4.2; strengths are this project's.
    """
    n, device = len(images), images.device
    scale = torch.exp(uniform((n,), math.log(resize[0]), math.log(resize[1]), generator, device))
    shift = uniform((n, 2), -1.0, 1.0, generator, device) * (1 - 1 / scale).abs()[:, None]
    flips = 1 - 2 * torch.stack((chance(n, flip, generator, device), chance(n, flip, generator, device)), 1).float()
    x, y = _centres(images)
    steps = (flips / scale[:, None])[:, :, None, None]
    places = (x * steps[:, 0] + shift[:, 0, None, None], y * steps[:, 1] + shift[:, 1, None, None])
    grid = torch.stack([place.expand(n, *images.shape[-2:]) for place in places], -1)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return colour_jitter(views, generator, jitter)


def rotate(images: Float[Tensor, "b c h w"], angles: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """Images turned by angles in radians about their centre, zeros outside, bilinear."""
    if not len(images):
        return images
    height, width = images.shape[-2:]
    cosine, sine = torch.cos(angles)[:, None, None], torch.sin(angles)[:, None, None]
    x, y = _centres(images)
    grid = torch.stack((cosine * x - sine * height / width * y, sine * width / height * x + cosine * y), -1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _centres(images: Tensor) -> tuple[Float[Tensor, "1 w"], Float[Tensor, "h 1"]]:
    """Where the pixels' centres lie in a frame from -1 to 1; sums of these are quicker than affine_grid's product."""
    height, width = images.shape[-2:]
    x, y = (
        (2 * torch.arange(side, device=images.device, dtype=torch.float32) + 1) / side - 1 for side in (width, height)
    )
    return x[None, :], y[:, None]


def colour_jitter(images: RGB, generator: torch.Generator, strengths: tuple[float, ...] = JITTER) -> RGB:
    """Brightness, contrast and saturation by factors U(1 - s, 1 + s) and hue by U(-s, s) turns, in this order."""
    n, device = len(images), images.device
    brightness, contrast, saturation, hue = (
        uniform((n, 1, 1, 1), -strength, strength, generator, device) for strength in strengths
    )
    images = (images * (1 + brightness)).clamp(0, 1)
    mean = grey_of(images).mean((2, 3), keepdim=True)
    images = torch.lerp(mean, images, 1 + contrast).clamp(0, 1)
    images = torch.lerp(grey_of(images), images, 1 + saturation).clamp(0, 1)
    return turn_hue(images, hue)


def grey_of(images: RGB) -> Float[Tensor, "b 1 h w"]:
    """Luma of ITU-R BT.601."""
    weights = torch.tensor(_GREY, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def either(mask: Bool[Tensor, "*_m"], these: Float[Tensor, "*_a"], those: Float[Tensor, "*_b"]) -> Float[Tensor, "*_c"]:
    """`these` where the mask holds and `those` elsewhere, both finite; on the CPU at a tenth of the time of `where`."""
    return torch.lerp(those, these, mask.to(those.dtype))


def turn_hue(images: RGB, turns: Float[Tensor, "b 1 1 1"], *, saturation: Tensor | float = 0.0) -> RGB:
    """HSV hue moved by `turns` (1 is a full circle) and saturation by an amount in [-1, 1], value kept."""
    value, smallest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - smallest
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    safe = chroma.clamp_min(1e-8)
    sextant = either(
        value == red, (green - blue) / safe, either(value == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    )
    hue = sextant + 6 * turns
    amount = (chroma / value.clamp_min(1e-8) + saturation).clamp(0, 1) * value
    offsets = torch.tensor((5.0, 3.0, 1.0), device=images.device).view(1, 3, 1, 1)
    k = torch.remainder(offsets + hue, 6)
    return value - amount * torch.minimum(k, 4 - k).clamp(0, 1)
