"""AUPRO: how much of each anomalous region is found while few normal pixels are called anomalous."""

import numpy as np

# By its name in full, for scipy imports a part of itself when it is asked for: a quarter of a second.
import scipy
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.metrics.ranking import CAPACITY, RESOLUTION, Ranking

LIMIT = 0.3

# Eight neighbours within an image, none in the images before and after it.
NEIGHBOURS = np.zeros((3, 3, 3), dtype=bool)
NEIGHBOURS[1] = True


class Regions:
    """Streaming AUPRO, in one pass and bounded memory: per-region overlap up to a false-positive rate of `limit`.

    Overlap is the share of a region's pixels at or above a threshold, averaged over all 8-connected regions of all
    masks; the false-positive rate is over all pixels outside them. The curve over all thresholds is integrated from 0
    to `limit`, cut there by interpolation, and divided by `limit`: 1 is perfect, a constant map gets limit/2 (Bergmann
    et al., "The MVTec anomaly detection dataset", IJCV 2021). A pixel of a region of s pixels thus counts 1/s, and the
    curve is a weighted ROC curve. Exact up to 2^24 pixels or with `exact`; beyond, off by at most 8e-6 L, L as in
    `Ranking`. `ranking` has the same pixels' AUROC, AP and F1: no second accumulator is needed for them.
    """

    def __init__(
        self, *, limit: float = LIMIT, exact: bool = False, capacity: int = CAPACITY, resolution: int = RESOLUTION
    ) -> None:
        if not 0 < limit <= 1:
            raise UserError(f"expected a false-positive rate limit in (0, 1], got {limit}; try {LIMIT}")
        self.limit = limit
        self.ranking = Ranking(exact=exact, capacity=capacity, resolution=resolution)
        self.regions = 0

    def update(self, scores: Float[Tensor, "b h w"], masks: Bool[Tensor, "b h w"]) -> None:
        """Take maps and masks (True = anomalous), on any device. Raises UserError for NaN or two shapes."""
        if scores.ndim != 3:
            raise UserError(f"expected maps of shape (b, h, w), got {tuple(scores.shape)}; try one axis for the batch")
        device = scores.device if scores.is_cuda else torch.device("cpu")
        masks = masks.to(device)
        marked = masks.flatten(1).any(1)
        some = masks[marked].cpu()
        labels, count = scipy.ndimage.label(some.numpy(), structure=NEIGHBOURS)
        inside = torch.from_numpy(labels).long()[some]
        weights = torch.bincount(inside, minlength=count + 1).double().reciprocal()[inside]
        self.ranking.update(scores, masks, weights)
        self.regions += count

    def merge(self, other: "Regions") -> None:
        """Take what `other` has seen; it stays as it is. Raises UserError where limit or mode differ."""
        if self.limit != other.limit:
            raise UserError(f"expected two accumulators of one limit, got {self.limit} and {other.limit}; try {LIMIT}")
        self.ranking.merge(other.ranking)
        self.regions += other.regions

    def compute(self) -> float | None:
        """AUPRO in [0, 1] so far; None where there is no region, or no pixel outside one."""
        if not self.regions or not self.ranking.negatives:
            return None
        return self.ranking.curve(overlaps=True).area(self.limit) / self.limit
