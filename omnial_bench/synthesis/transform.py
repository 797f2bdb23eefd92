"""Random views of pictures as anomaly textures: resize, crop, flip and colour jitter in one resampling."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.draw import chance, uniform

RESIZE = (0.5, 2.0)
JITTER = (0.4, 0.4, 0.4, 0.1)
_GREY = (0.299, 0.587, 0.114)


def jittered_crop(images: Float[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Each image resized by a factor log-uniform in 0.5-2, cropped, flipped each way with probability 1/2, jittered.

    A view that is smaller than the frame is continued by reflection. OmniAL, section 4.2; strengths are this project's.
    """
    n, device = len(images), images.device
    scale = torch.exp(uniform((n,), math.log(RESIZE[0]), math.log(RESIZE[1]), generator, device))
    shift = uniform((n, 2), -1.0, 1.0, generator, device) * (1 - 1 / scale).abs()[:, None]
    flips = 1 - 2 * torch.stack((chance(n, 0.5, generator, device), chance(n, 0.5, generator, device)), 1).float()
    theta = torch.zeros((n, 2, 3), device=device)
    theta[:, 0, 0], theta[:, 1, 1] = flips[:, 0] / scale, flips[:, 1] / scale
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return colour_jitter(views, generator)


def rotate(images: Float[Tensor, "b c h w"], angles: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """Images turned by angles in radians about their centre, zeros outside, bilinear."""
    if not len(images):
        return images
    height, width = images.shape[-2:]
    cosine, sine = torch.cos(angles), torch.sin(angles)
    zero = torch.zeros_like(angles)
    theta = torch.stack(
        (
            torch.stack((cosine, -sine * height / width, zero), 1),
            torch.stack((sine * width / height, cosine, zero), 1),
        ),
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def colour_jitter(images: Float[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Brightness, contrast and saturation by factors U(0.6, 1.4) and hue by U(-0.1, 0.1) turns, in this order."""
    n, device = len(images), images.device
    brightness, contrast, saturation, hue = (
        uniform((n, 1, 1, 1), -strength, strength, generator, device) for strength in JITTER
    )
    images = (images * (1 + brightness)).clamp(0, 1)
    mean = grey_of(images).mean((2, 3), keepdim=True)
    images = torch.lerp(mean, images, 1 + contrast).clamp(0, 1)
    images = torch.lerp(grey_of(images), images, 1 + saturation).clamp(0, 1)
    return turn_hue(images, hue)


def grey_of(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Luma of ITU-R BT.601."""
    weights = torch.tensor(_GREY, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def turn_hue(
    images: Float[Tensor, "b 3 h w"], turns: Float[Tensor, "b 1 1 1"], *, saturation: Tensor | float = 0.0
) -> Float[Tensor, "b 3 h w"]:
    """HSV hue moved by `turns` (1 is a full circle) and saturation by an amount in [-1, 1], value kept."""
    value, smallest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - smallest
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    safe = chroma.clamp_min(1e-8)
    sextant = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = sextant + 6 * turns
    amount = (chroma / value.clamp_min(1e-8) + saturation).clamp(0, 1) * value
    offsets = torch.tensor((5.0, 3.0, 1.0), device=images.device).view(1, 3, 1, 1)
    k = torch.remainder(offsets + hue, 6)
    return value - amount * torch.minimum(k, 4 - k).clamp(0, 1)
