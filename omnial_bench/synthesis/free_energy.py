"""The just noticeable difference by the free-energy principle: what the eye cannot foresee, it sees less well.

Wu, Shi, Lin, Liu and Zhang (TMM 2013), with the constants of the authors' published code, which foresees a pixel by a
non-local mean of its surround and not by the autoregression of the paper.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.synthesis.canny import canny, gaussian_blur, weighted_sum
from omnial_bench.synthesis.jnd import (
    luminance_adaptation,
    opacity,
    overlapped,
    surroundings,
    texture_masking,
    within_disc,
)
from omnial_bench.synthesis.transform import grey_of
from omnial_bench.types import RGB

SEARCH, PATCH = 10, 3
"""Radii of the surround and of the patches that are compared in it."""
LEAST = 8.0
"""The smallest difference of patches, in grey levels, that makes them unlike."""
DARKEST = 32.0
"""Luminance that black is taken for: a screen in a lit room is not darker."""
SATURATION = 80.0
"""Contrast, in grey levels, beyond which more of it hides ever less."""
ORDERLY = 10.0
"""Local standard deviation, in grey levels, below which a lone surprise is spread over its surround."""


def free_energy_map(images: RGB) -> Float[Tensor, "b 1 h w"]:
    """JND of RGB images in [0, 1] as an opacity in [0, 1], on the scale of `jnd_map`; sides of at least 13."""
    grey = 255.0 * grey_of(images)
    foreseen = predicted(grey)
    background, gradient = surroundings(foreseen)
    contrast = SATURATION * torch.log1p(gradient / SATURATION) / math.log(4)
    orderly = overlapped(_adaptation(background), texture_masking(background, contrast).abs())
    return opacity(overlapped(orderly, disorder(grey, foreseen)))


def predicted(grey: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Each pixel as the mean of its surround, weighted by how like the patches about both are; whole grey levels."""
    height, width = grey.shape[-2:]
    limit = _adaptation(surroundings(grey)[0]).clamp_min(LEAST)
    spread = _deviation(grey)
    reach = torch.where(spread > limit, limit**3 / spread.clamp_min(1), limit**2)
    padded = _mirrored(grey, SEARCH + PATCH)
    centre = padded[..., SEARCH : SEARCH + height + 2 * PATCH, SEARCH : SEARCH + width + 2 * PATCH]
    total, weights, largest = torch.zeros_like(grey), torch.zeros_like(grey), torch.zeros_like(grey)
    for down in range(2 * SEARCH + 1):
        for right in range(2 * SEARCH + 1):
            if down == right == SEARCH:
                continue
            other = padded[..., down : down + height + 2 * PATCH, right : right + width + 2 * PATCH]
            weight = torch.exp(-_patch_mean((centre - other).square()) / reach)
            total.addcmul_(weight, other[..., PATCH : PATCH + height, PATCH : PATCH + width])
            weights.add_(weight)
            largest = torch.maximum(largest, weight)
    # The pixel itself counts as much as its best match; one without any match is foreseen by itself.
    largest = largest.clamp_min(torch.finfo(grey.dtype).tiny)
    return ((total + largest * grey) / (weights + largest)).round()


def disorder(grey: Float[Tensor, "b 1 h w"], foreseen: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """What could not be foreseen, in grey levels: less where the image is smooth, and at edges, which are seen."""
    surprise = (grey - foreseen).abs()
    spread_out = torch.minimum(surprise, gaussian_blur(surprise, sigma=7 / 3, radius=3))
    surprise = torch.where(_deviation(grey) < ORDERLY, spread_out, surprise)
    near = within_disc(canny(grey, high=0.7), 2)
    return surprise * gaussian_blur(1 - 0.8 * near.to(grey.dtype), sigma=0.8, radius=2)


def _adaptation(background: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    background = background.floor()
    lifted = (DARKEST + background * (127 - DARKEST) / 127).round()
    return luminance_adaptation(torch.where(background <= 127, lifted, background))


def _deviation(grey: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Standard deviation over the patch about each pixel."""
    padded = _mirrored(grey, PATCH)
    return (_patch_mean(padded.square()) - _patch_mean(padded).square()).clamp_min(0).sqrt()


def _patch_mean(values: Float[Tensor, "b 1 H W"]) -> Float[Tensor, "b 1 h w"]:
    taps = [1 / (2 * PATCH + 1)] * (2 * PATCH + 1)
    return weighted_sum(weighted_sum(values, taps, axis=-1), taps, axis=-2)


def _mirrored(grey: Float[Tensor, "b 1 h w"], by: int) -> Float[Tensor, "b 1 H W"]:
    """Continued as in a mirror, so that the frame's own pixels come twice."""
    rows, columns = (
        torch.tensor([*range(by - 1, -1, -1), *range(side), *range(side - 1, side - 1 - by, -1)], device=grey.device)
        for side in grey.shape[-2:]
    )
    return grey[..., rows[:, None], columns]
