"""The just noticeable difference map, a weight in [0, 1]: luminance adaptation and texture masking, added with overlap.

Chou and Li (CSVT 1995) for the constants, Yang et al. (CSVT 2005) for the edge weight and the combination, and the
published importance weight of Shen, Zhao, Yan and Li (TIP 2014), which OmniAL cites, for the scale 10 JND / 255.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.canny import canny, gaussian_blur
from omnial_bench.synthesis.transform import either, grey_of
from omnial_bench.types import RGB

_LUMINANCE = (
    (1, 1, 1, 1, 1),
    (1, 2, 2, 2, 1),
    (1, 2, 0, 2, 1),
    (1, 2, 2, 2, 1),
    (1, 1, 1, 1, 1),
)
_VERTICAL = (
    (0, 0, 0, 0, 0),
    (1, 3, 8, 3, 1),
    (0, 0, 0, 0, 0),
    (-1, -3, -8, -3, -1),
    (0, 0, 0, 0, 0),
)
_FALLING = (
    (0, 0, 1, 0, 0),
    (0, 8, 3, 0, 0),
    (1, 3, 0, -3, -1),
    (0, 0, -3, -8, 0),
    (0, 0, -1, 0, 0),
)
_SCALE = 10.0 / 255.0
_DILATION = 6


def jnd_map(images: RGB) -> Float[Tensor, "b 1 h w"]:
    """JND of RGB images in [0, 1] as an opacity in [0, 1]; 0.307 on flat grey 64, 0.097 on 127."""
    grey = 255.0 * grey_of(images)
    background, gradient = surroundings(grey)
    texture = texture_masking(background, gradient * edge_weight(grey))
    return opacity(overlapped(luminance_adaptation(background), texture))


def surroundings(grey: Float[Tensor, "b 1 h w"]) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
    """The weighted mean luminance about each pixel and its largest gradient of four directions, in grey levels."""
    rising, across = [row[::-1] for row in _FALLING], list(zip(*_VERTICAL, strict=True))
    kernels = torch.tensor((_LUMINANCE, _VERTICAL, _FALLING, rising, across), device=grey.device, dtype=grey.dtype)
    responses = F.conv2d(F.pad(grey, (2, 2, 2, 2), mode="reflect"), kernels[:, None])
    return responses[:, :1] / 32.0, responses[:, 1:].abs().amax(1, keepdim=True) / 16.0


def luminance_adaptation(background: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """What darkness and glare hide, in grey levels."""
    return either(
        background <= 127,
        17.0 * (1 - torch.sqrt(background.clamp_min(0) / 127.0)) + 3.0,
        3.0 / 128.0 * (background - 127.0) + 3.0,
    )


def texture_masking(
    background: Float[Tensor, "b 1 h w"], gradient: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b 1 h w"]:
    """What texture hides, in grey levels; below 0 on flat bright areas."""
    return gradient * (0.0001 * background + 0.115) + (0.5 - 0.01 * background)


def overlapped(one: Float[Tensor, "b 1 h w"], other: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """The sum of two thresholds, of which 0.3 of the smaller is counted twice."""
    return one + other - 0.3 * torch.minimum(one, other)


def opacity(jnd: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """10 JND / 255 in [0, 1]."""
    return (_SCALE * jnd).clamp(0, 1)


def edge_weight(grey: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """0.05 near an edge, where the eye is critical, and 1 elsewhere, with a soft border."""
    near = within_disc(canny(grey), _DILATION)
    return gaussian_blur(1 - 0.95 * near.to(grey.dtype), sigma=0.8, radius=3)


def within_disc(mask: Bool[Tensor, "b 1 h w"], radius: int) -> Bool[Tensor, "b 1 h w"]:
    """Whether a pixel of the mask is no farther than `radius` pixels; runs of a row as bytes, quicker than a sum."""
    found, run, reach = torch.zeros_like(mask), mask.clone(), 0
    for down in range(radius, -1, -1):
        while reach < math.isqrt(radius**2 - down**2):
            reach += 1
            run[..., reach:] |= mask[..., : mask.shape[-1] - reach]
            run[..., : mask.shape[-1] - reach] |= mask[..., reach:]
        found[..., down:, :] |= run[..., : mask.shape[-2] - down, :]
        found[..., : mask.shape[-2] - down, :] |= run[..., down:, :]
    return found
