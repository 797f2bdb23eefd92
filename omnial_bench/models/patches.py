"""Features of a place with its neighbours: patches of three places by three, of several levels."""

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.models.levels import in_full, joined, resized

SIDE = 3


def patches(levels: Sequence[Float[Tensor, "b _c _h _w"]], pooled: int = 0) -> Float[Tensor, "b d h w"]:
    """A patch around each place of the first level, zeros beyond the frame counted, coarser levels bilinear to it.

    The mean over the patch of each channel, all levels behind each other. With `pooled`, as in the code of PatchCore
    and SimpleNet: each level's patch as one vector, channel by channel, is pooled to so many values, and so are then
    these of all levels.
    """
    size = levels[0].shape[2:]
    if not pooled:
        return joined([F.avg_pool2d(level, SIDE, stride=1, padding=SIDE // 2) for level in levels], size)
    # Pooling goes along channels and resizing along places, and both are linear: their order is free.
    every = [resized(_pooled(level, pooled, SIDE), size) for level in levels]
    return _pooled(torch.cat(every, 1), pooled, 1)


def _pooled(features: Float[Tensor, "b c h w"], width: int, side: int) -> Float[Tensor, "b d h w"]:
    """The windows of `side` places as vectors, channel by channel, pooled to `width` means of neighbouring values.

    Windows of values repeat themselves with the common divisor of channels and means: a convolution in groups.
    """
    channels = int(features.shape[1])
    groups = gcd(channels, width)
    full = features.to(torch.promote_types(features.dtype, torch.float32))
    weights = torch.from_numpy(_means(channels * side**2 // groups, width // groups)).to(full)
    kernels = weights.reshape(-1, channels // groups, side, side).repeat(groups, 1, 1, 1)
    with in_full(features):
        return F.conv2d(full, kernels, padding=side // 2, groups=groups).to(features.dtype)


@lru_cache(maxsize=16)
def _means(values: int, means: int) -> Float64[np.ndarray, "means values"]:
    """Of which values each mean is: as many as it takes to leave none out, neighbours sharing those between them."""
    steps, places = np.arange(means)[:, None], np.arange(values)
    within = (places >= steps * values // means) & (places < -(-(steps + 1) * values // means))
    shares: Float64[np.ndarray, "means values"] = within / within.sum(1, keepdims=True)
    return shares
