"""Arithmetic on the levels of a pyramid of features: comparing them, bringing them to one grid or to
pixels, smoothing."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

ROUND = 1e-6
"""Added to a squared length, whose root has no slope at 0."""


Beyond = Literal["reflect", "mirror"]
"""How a map goes on beyond its frame, in SciPy's words: from its last pixel backwards, or from its last but one."""


def roots(squares: Tensor) -> Tensor:
    return (squares + ROUND).sqrt()


def rows_of(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "n c"]:
    """A row for each place of each image."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def directions(features: Float[Tensor, "b c *places"]) -> Float[Tensor, "b c *places"]:
    """Features of length 1 at each place."""
    return features * (features.square().sum(1, keepdim=True) + ROUND).rsqrt()


def cosine_gap(one: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """1 minus the cosine of two features at each place, in [0, 2] and the precision of the first."""
    return 1 - (directions(one) * directions(other.to(one.dtype))).sum(1, keepdim=True)


def flat_cosine_gap(one: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """1 minus the cosine of two whole maps, each as one vector, mean over the images."""
    return 1 - F.cosine_similarity(one.flatten(1), other.flatten(1)).mean()


def resized(maps: Float[Tensor, "b c h w"], size: Sequence[int], *, corners: bool = False) -> Float[Tensor, "b c H W"]:
    """Bilinear; with `corners` the outermost places lie on the frame."""
    if list(maps.shape[2:]) == list(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=corners)


def joined(
    levels: Sequence[Float[Tensor, "b _c _h _w"]], size: Sequence[int], *, corners: bool = False
) -> Float[Tensor, "b C H W"]:
    """All levels behind each other on one grid."""
    return torch.cat([resized(level, size, corners=corners) for level in levels], 1)


def smoothed(maps: Float[Tensor, "b 1 h w"], sigma: float) -> Float[Tensor, "b 1 h w"]:
    """By a Gaussian of a deviation in pixels, cut at four of them, as SciPy does it. None at 0."""
    if not sigma:
        return maps
    with in_full(maps):
        high, wide = (_factor(side, side, sigma, "reflect").to(maps) for side in map(int, maps.shape[2:]))
        return high @ maps @ wide.mT


def to_pixels(
    maps: Float[Tensor, "b gh gw"], size: tuple[int, int], sigma: float, beyond: Beyond = "reflect"
) -> Float[Tensor, "b h w"]:
    """Bilinear to the images' size, then as of `smoothed`. Both are linear along either axis, so that two products of
    matrices do them at once."""
    sides = zip(map(int, maps.shape[1:]), map(int, size), strict=True)
    high, wide = (_factor(here, there, sigma, beyond).to(maps) for here, there in sides)
    return high @ maps @ wide.mT


def _factor(here: int, there: int, sigma: float, beyond: Beyond) -> Float64[Tensor, "there here"]:
    return torch.from_numpy(_widening(here, there, sigma, beyond))


@lru_cache(maxsize=16)
def _widening(here: int, there: int, sigma: float, beyond: Beyond) -> Float64[np.ndarray, "there here"]:
    """What a row of `there` pixels is made of, of `here` places. In NumPy: a tensor that is kept would be bound to what
    it was made in, such as inference mode."""
    centres = ((np.arange(there) + 0.5) * here / there - 0.5).clip(0, here - 1)
    rows = (1 - np.abs(centres[:, None] - np.arange(here))).clip(0)
    return scipy.ndimage.gaussian_filter1d(rows, sigma, axis=0, mode=beyond, truncate=4.0) if sigma else rows


def in_full(like: Tensor) -> AbstractContextManager[None]:
    """Without the lower precision that a network around may compute in: distances are differences of like numbers."""
    return nullcontext() if like.is_meta else torch.autocast(like.device.type, enabled=False)
