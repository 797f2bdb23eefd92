"""Where a gradient leads: its length taken off, inside a region, in a threat's norm."""

import torch
from jaxtyping import Bool
from torch import Tensor

from omnial_bench.types import RGB, ThreatModel


def ascent(gradient: RGB, threat: ThreatModel) -> RGB:
    """The direction of steepest ascent of length 1 in the threat's norm; 0 where there is no gradient."""
    if threat.norm == "linf":
        return gradient.sign()
    direction = scaled(gradient)
    length: Tensor = direction.flatten(1).norm(dim=1)[:, None, None, None]
    return direction / length.clamp_min(1)


def gathered(direction: RGB, gradient: RGB, momentum: float) -> RGB:
    """A share of the direction before and the gradient of length 1 in L1, an image at a time: MI-FGSM's (Dong et al.,
    CVPR 2018)."""
    gradient = scaled(gradient)
    size = gradient.abs().flatten(1).sum(1)[:, None, None, None]
    return momentum * direction + gradient / size.clamp_min(1)


def within(change: RGB, region: Bool[Tensor, "b 1 h w"] | None) -> RGB:
    """The change inside the region alone; everywhere for None."""
    return change if region is None else change * region


def scaled(gradient: RGB) -> RGB:
    """Each image's gradient over its largest value; 0 where there is none, NaN where it is not finite.

    The square of what is left of a saturated detector's gradient, 1e-22 perhaps, is 0 in float32: without this its
    length would be 0, and the detector would look robust.
    """
    largest = gradient.abs().flatten(1).amax(1)[:, None, None, None]
    return torch.where(largest == 0, 0.0, gradient / largest)
