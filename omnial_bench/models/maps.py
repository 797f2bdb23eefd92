"""From values a place to values a pixel: what detectors on features share."""

from contextlib import AbstractContextManager
from functools import lru_cache
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.canny import gaussian_kernel, weighted_sum


def to_pixels(maps: Float[Tensor, "b gh gw"], size: tuple[int, int], sigma: float) -> Float[Tensor, "b h w"]:
    """Bilinear to the images' size, then under a Gaussian of `sigma` pixels, cut at four of them, the map reflected at
    its frame. Both are linear along either axis, so that two products of matrices do them at once."""
    high, wide = (_widening(here, there, sigma).to(maps) for here, there in zip(maps.shape[1:], size, strict=True))
    return high @ maps @ wide.mT


@lru_cache(maxsize=16)
def _widening(here: int, there: int, sigma: float) -> Float[Tensor, "there here"]:
    """What a row of `there` pixels is made of, of `here` places."""
    each = torch.eye(here, dtype=torch.float64, device="cpu")
    rows = F.interpolate(each[None], size=there, mode="linear", align_corners=False)[0]
    radius = min(ceil(4 * sigma - 0.5), there - 1)
    if radius > 0:
        padded = F.pad(rows, (radius, radius), mode="reflect")
        rows = weighted_sum(padded, gaussian_kernel(sigma, radius), axis=-1)
    return rows.mT


def in_full(like: Tensor) -> AbstractContextManager[None]:
    """Without the lower precision that a network around may compute in: distances are differences of like numbers."""
    return torch.autocast(like.device.type, enabled=False)
