"""What comes of images at a decision threshold that held-out normal images set: missed defects and false alarms."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.metrics.intervals import Interval, wilson

RATE = 0.05
"""Of normal images, the share that may raise an alarm."""


class Share(NamedTuple):
    """A figure of `n` images; undefined without any, or without a threshold."""

    value: float | None
    n: int
    offsets: Interval | None = None
    """How far its interval reaches below and above it."""


def threshold_of(normal: Sequence[float], rate: float = RATE) -> tuple[float, float]:
    """The score above which an image raises an alarm, and the rate of false alarms that it holds.

    The k-th highest score of n held-out normal images, k = floor(rate (n + 1)): where they and a further normal image
    are alike, that one lies above it with a chance of at most k / (n + 1) (split conformal prediction; Papadopoulos et
    al., Inductive Confidence Machines, ECML 2002). Fewer than 1 / rate - 1 images hold no such rate: of them it is the
    highest score, and 1 / (n + 1). Without any it is infinite, at a rate of 0.
    """
    if not normal:
        return math.inf, 0.0
    # A little more, for 0.05 times 20 is less than 1 in binary.
    rank = max(1, int(rate * (len(normal) + 1) + 1e-9))
    return sorted(normal, reverse=True)[rank - 1], rank / (len(normal) + 1)


class Alarms:
    """Images of one category counted at the threshold that `normal`, scores of held-out normal images, set."""

    def __init__(self, normal: Sequence[float] = (), rate: float = RATE) -> None:
        self.threshold, self.held = threshold_of(normal, rate)
        self.images, self.raised = [0, 0], [0, 0]
        """Of normal and of anomalous ones."""

    def update(self, scores: Float[Tensor, " b"], anomalous: Bool[Tensor, " b"]) -> None:
        """Take image scores and labels, on any device."""
        over, labels = (scores > self.threshold).cpu(), anomalous.cpu()
        for kind in (False, True):
            self.images[kind] += int((labels == kind).sum())
            self.raised[kind] += int((over & (labels == kind)).sum())

    def compute(self) -> dict[str, Share]:
        """Defects that raise no alarm, normal images that do, and the share of these that the threshold is set for."""
        (normal, anomalous), (false, true) = self.images, self.raised
        if math.isinf(self.threshold):
            return {name: Share(None, n) for name, n in zip(NAMES, (anomalous, normal, normal), strict=True)}
        held = Share(self.held, normal)
        return dict(zip(NAMES, (_share(anomalous - true, anomalous), _share(false, normal), held), strict=True))


NAMES = ("image_missed", "image_false_alarms", "image_false_alarms_held")
"""The metrics that a threshold gives."""


def _share(hits: int, n: int) -> Share:
    if not n:
        return Share(None, 0)
    low, high = wilson(hits, n)
    return Share(hits / n, n, (low - hits / n, high - hits / n))
