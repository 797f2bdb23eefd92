"""The just noticeable difference map, a weight in [0, 1]: luminance adaptation and texture masking, added with overlap.

Chou and Li (CSVT 1995) for the constants, Yang et al. (CSVT 2005) for the edge weight and the combination, and the
published importance weight of Shen, Zhao, Yan and Li (TIP 2014), which OmniAL cites, for the scale 10 JND / 255.

Or by the free-energy principle: what the eye cannot foresee, it sees less well (Wu, Shi, Lin, Liu and Zhang, TMM
2013), with the constants of the authors' published code, which foresees a pixel by a non-local mean of its surround and
not by the autoregression of the paper.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.canny import canny, gaussian_blur, weighted_sum
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
