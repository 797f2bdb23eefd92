"""Scores bent so that they are normally distributed, for objectives that no bend of a detector's scores may mislead."""

from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

KNOTS, REACH, BEYOND = 64, (2.4, 3.2), 32
"""Of a bend: the least value, the largest, and between them normal quantiles, evenly to the one beyond which so many
scores lie, within this range: the few at the corners of a coarse map may be even but for rounding, and are not to be
set far apart."""


@dataclass(frozen=True)
class Bend:
    """A strictly increasing, piecewise linear map that brings scores to the normal quantiles of their ranks."""

    values: Float[Tensor, "b knots"]
    heights: Float[Tensor, " knots"]

    @classmethod
    def of(cls, scores: Float[Tensor, "b n"]) -> "Bend":
        """The bend of each row, from its own scores; without a gradient."""
        ordered = scores.detach().sort(1).values
        last = ordered.shape[1] - 1
        least, most = REACH
        reach = min(most, max(least, -NormalDist().inv_cdf(BEYOND / (last + 1 + BEYOND))))
        shares = torch.special.ndtr(torch.linspace(-reach, reach, KNOTS - 2, dtype=torch.float64, device=scores.device))
        places = F.pad((shares * last).round().long(), (1, 0))
        places = F.pad(places, (0, 1), value=last)
        heights = torch.special.ndtri((places + 0.5) / (last + 1)).to(scores.dtype)
        return cls(ordered[:, places].contiguous(), heights)

    def __call__(self, scores: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """Scores bent, row by row; beyond the ends as between the two knots there. The bend has no gradient of its own,
        and a row of one value keeps its slope."""
        fixed, largest = scores.detach().contiguous(), self.values[:, -1:].contiguous()
        # A value that several knots share belongs to the piece above them, the largest to the one below.
        before_largest = torch.searchsorted(self.values, largest)
        # NaN sorts behind every knot; it is not for a bend to fail on it.
        after = torch.searchsorted(self.values, fixed, right=True).minimum(before_largest).clamp(1, KNOTS - 1)
        low, width = self.values.gather(1, after - 1), self.values.diff(dim=1).gather(1, after - 1)
        slope = torch.where(width > 0, self.heights.diff()[after - 1] / width, 1.0)
        bent: Tensor = self.heights[after - 1] + slope * (scores - low)
        return bent


def straightened(odds: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The log-odds of each image bent so that they are normally distributed.

    What is differentiated thus does not depend on how a detector bends its scores.
    """
    flat = odds.flatten(1)
    return Bend.of(flat)(flat).view_as(odds)
