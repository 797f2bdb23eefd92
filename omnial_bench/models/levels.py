"""Arithmetic on the levels of a pyramid of features: comparing them, bringing them to one grid, smoothing a map."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.canny import gaussian_blur

ROUND = 1e-6
"""Added to a squared length, whose root has no slope at 0."""


def directions(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
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
    """By a Gaussian of a deviation in pixels, cut at four of them; the map is reflected at its frame. None at 0."""
    radius = min(int(4 * sigma + 0.5), min(maps.shape[2:]) - 1)
    return gaussian_blur(maps, sigma=sigma, radius=radius) if radius else maps
