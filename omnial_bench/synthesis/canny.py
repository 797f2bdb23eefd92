"""Canny's edges (PAMI 1986), batched and without a host synchronisation, with Matlab's relative thresholds."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.transform import either

HYSTERESIS_STEPS = 32


def canny(
    grey: Float[Tensor, "b 1 h w"], *, sigma: float = math.sqrt(2), high: float = 0.5, low_ratio: float = 0.4
) -> Bool[Tensor, "b 1 h w"]:
    """Edges one pixel wide: `high` is a fraction of the largest gradient of each image, the low threshold that times
    `low_ratio`. Weak edges are followed for 32 pixels from a strong one. A flat image has none.
    """
    smooth = gaussian_blur(grey, sigma=sigma, radius=math.ceil(3 * sigma))
    padded = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    magnitude = torch.sqrt(dx * dx + dy * dy)
    largest = magnitude.flatten(1).amax(1)[:, None, None, None]
    ridge = _is_ridge(magnitude, dx, dy) & (largest > 1e-3)
    strong = ridge & (magnitude > high * largest)
    weak = ridge & (magnitude > high * low_ratio * largest)
    return follow(strong, weak)


def follow(strong: Bool[Tensor, "b 1 h w"], weak: Bool[Tensor, "b 1 h w"]) -> Bool[Tensor, "b 1 h w"]:
    """Grown by a 3x3 square inside `weak`, step by step: one row of bytes, in which an empty column and an empty row
    after each image keep its neighbours apart."""
    height, width = strong.shape[-2:]
    reached, allowed = (F.pad(mask, (0, 1, 0, 1)) for mask in (strong, weak))
    padded, reached, allowed = reached.shape, reached.flatten(), allowed.flatten()
    for _ in range(HYSTERESIS_STEPS):
        before, reached = reached, _beside(_beside(reached, 1), width + 1) & allowed
        # On the CPU a look costs nothing; elsewhere it would wait for the device.
        if reached.device.type == "cpu" and torch.equal(before, reached):
            break
    return reached.view(padded)[..., :height, :width]


def _beside(mask: Bool[Tensor, " n"], distance: int) -> Bool[Tensor, " n"]:
    """The mask and what lies at a distance on either side of it."""
    grown = mask.clone()
    grown[distance:] |= mask[:-distance]
    grown[:-distance] |= mask[distance:]
    return grown


def _is_ridge(magnitude: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Whether a pixel tops its two neighbours along the gradient, these interpolated between the 8 around it."""
    m = F.pad(magnitude, (1, 1, 1, 1))
    height, width = magnitude.shape[-2:]

    def at(down: int, right: int) -> Tensor:
        return m[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    wide, tall = dx.abs(), dy.abs()
    flat, same_sign = ((wide >= tall).to(dx.dtype), (dx * dy >= 0).to(dx.dtype))
    share = torch.minimum(wide, tall) / torch.maximum(wide, tall).clamp_min(1e-12)
    straight_on = either(flat, at(0, 1), at(1, 0))
    straight_back = either(flat, at(0, -1), at(-1, 0))
    slanted_on = either(same_sign, at(1, 1), either(flat, at(-1, 1), at(1, -1)))
    slanted_back = either(same_sign, at(-1, -1), either(flat, at(1, -1), at(-1, 1)))
    ahead = torch.lerp(straight_on, slanted_on, share)
    behind = torch.lerp(straight_back, slanted_back, share)
    return (magnitude > ahead) & (magnitude >= behind)


def gaussian_kernel(sigma: float, radius: int) -> list[float]:
    """A normalised Gaussian of 2 radius + 1 taps."""
    weights = [math.exp(-(at**2) / (2 * sigma**2)) for at in range(-radius, radius + 1)]
    return [weight / math.fsum(weights) for weight in weights]


def gaussian_blur(images: Float[Tensor, "b c h w"], *, sigma: float, radius: int) -> Float[Tensor, "b c h w"]:
    """Separable Gaussian blur; the image is reflected at its frame."""
    kernel = gaussian_kernel(sigma, radius)
    padded = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    return weighted_sum(weighted_sum(padded, kernel, axis=-1), kernel, axis=-2)


def weighted_sum(images: Float[Tensor, "b c H W"], kernel: Sequence[float], *, axis: int) -> Float[Tensor, "b c h w"]:
    """Correlation with a row of taps along one axis, whole windows only: for a channel alone, sums of shifted images
    are several times as quick as a convolution on the CPU."""
    size = images.shape[axis] - len(kernel) + 1
    total = images.narrow(axis, 0, size) * kernel[0]
    for place, weight in enumerate(kernel[1:], start=1):
        if weight:
            total.add_(images.narrow(axis, place, size), alpha=weight)
    return total
