"""Scores that have run into an end of their range, where the gradient is zero and pixels have no order."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROUNDED = 2.0**-22
"""Of the end itself: so far apart resizing leaves values that were equal."""


def saturated(
    maps: Float[Tensor, "n h w"], attacked: Float[Tensor, "n h w"], truth: Bool[Tensor, "n h w"]
) -> float | None:
    """Of the pixels that an attack has to win, the share whose score in `attacked` is the end of the range that it
    pushes them away from: the lowest of all for normal pixels, the highest for anomalous ones, the larger share of the
    two.

    A normal pixel at the floor cannot be raised by a gradient, nor an anomalous one at the ceiling lowered, whether it
    lay there in `maps`, before the attack, or has been driven there along with others. One that has left its end, as a
    distance of zero does, was not held there. Places that hold one value in all of these maps and in all of `attacked`,
    such as an empty border, say nothing and are left out. So is an end that one image alone reaches: a block of one
    value in a map that was enlarged. None where no other place is left.
    """
    alive = torch.maximum(maps.amax(0), attacked.amax(0)) > torch.minimum(maps.amin(0), attacked.amin(0))
    shown, after, kinds = maps[:, alive], attacked[:, alive], truth[:, alive]
    if not shown.numel():
        return None
    # Where the attack goes beyond what was lowest or highest before, that was no end.
    low, high = torch.minimum(shown.min(), after.min()), torch.maximum(shown.max(), after.max())
    low, high = low + ROUNDED * low.abs(), high - ROUNDED * high.abs()
    floor, ceiling = after <= low, after >= high
    return max(_share(floor, ~kinds), _share(ceiling, kinds))


def _share(end: Bool[Tensor, "n p"], kind: Bool[Tensor, "n p"]) -> float:
    shared = end.any(1).sum() > 1
    return float(end[kind].float().mean()) if shared and kind.any() else 0.0
