"""How well scores rank anomalous above normal: AUROC, average precision, best F1; exact, or streamed in bounded memory.

All of it needs one thing: how many negatives lie above, and level with, each score that a positive has. `Sketch`
answers that for a stream of scores. Curves are then made at the positives' scores, where alone they can turn.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.metrics.sketch import CAPACITY, RESOLUTION, Sketch


@dataclass(frozen=True)
class Curve:
    """What happens as a threshold falls past each distinct score of a positive, highest first; float64, on the CPU."""

    found: Float[Tensor, " k"]
    """Weight of the positives at or above the score."""
    gain: Float[Tensor, " k"]
    """Weight of the positives level with it."""
    before: Float[Tensor, " k"]
    """Number of negatives above it."""
    after: Float[Tensor, " k"]
    """Number of negatives at or above it."""
    negatives: int

    @classmethod
    def of(cls, positives: Sketch, normal: Sketch, negatives: int) -> "Curve":
        """The curve of two sketches. `normal` may hold more values of -inf than the true number of `negatives`."""
        scores, gain = positives.table()
        before, after = (count.clamp_max(negatives).cpu() for count in normal.around(scores))
        return cls(gain.cpu().cumsum(0), gain.cpu(), before, after, negatives)

    def area(self, limit: float = 1.0) -> float:
        """The share of positives found, integrated over the false-positive rate from 0 to `limit`.

        A score that positives and negatives share is one slanting stroke, cut at the limit by interpolation.
        """
        rates = torch.stack([self.before, self.after], 1).flatten() / self.negatives
        found = torch.stack([self.found - self.gain, self.found], 1).flatten() / self.found[-1]
        x = torch.cat([rates.new_zeros(1), rates, rates.new_ones(1)])
        y = torch.cat([found.new_zeros(1), found, found.new_ones(1)])
        stroke = x.diff()
        part = (limit - x[:-1]).clamp_min(0).minimum(stroke)
        reached = y[:-1] + y.diff() * torch.where(stroke > 0, part / stroke, 1.0)
        return float(((y[:-1] + reached) / 2 * part).sum())

    def average_precision(self) -> float:
        """Step-wise: each positive counts with the precision at its own score, what is level with it included."""
        return float((self.gain * self.found / (self.found + self.after)).sum() / self.found[-1])

    def f1max(self) -> float:
        """The best F1 over all thresholds; one between two positives' scores is never better than the upper."""
        return float((2 * self.found / (self.found + self.after + self.found[-1])).max())


@dataclass(frozen=True)
class RankingScores:
    """Fractions in [0, 1], None where a class is missing; `prevalence` is the average precision of chance."""

    auroc: float | None
    ap: float | None
    f1max: float | None
    prevalence: float | None
    positives: int
    negatives: int


class Ranking:
    """Streaming AUROC, step-wise average precision and best F1 in one pass and bounded memory; never flipped.

    Exact (scikit-learn's values, ties too) for any scores up to 2^24 pixels; with `exact` without end, 4 bytes a pixel.
    Beyond, for any float32 scores whatever and L as in `Sketch` (1 up to 67 million pixels, 2 up to 268 million): AUROC
    is off by at most 2e-6 L (1 - AUROC), AP and F1 by at most 5e-7 L. Positives beyond 2^24 add at most 2e-6 L to AUROC
    and 1e-5 L to the others. Scores are rounded to float32; -inf and inf are scores like any other.
    """

    def __init__(self, *, exact: bool = False, capacity: int = CAPACITY, resolution: int = RESOLUTION) -> None:
        self.anomalous = Sketch(exact=exact, capacity=capacity, resolution=resolution)
        self.normal = Sketch(exact=exact, capacity=capacity, resolution=resolution)
        self.positives = self.negatives = 0

    def update(self, scores: Float[Tensor, "..."], labels: Bool[Tensor, "..."]) -> None:
        """Take scores and labels (True = anomalous) of one shape, on any device. Raises UserError for NaN scores."""
        self._take(*checked(scores.float(), labels))

    def merge(self, other: "Ranking") -> None:
        """Take what `other` has seen; it stays as it is. Raises UserError where their modes differ."""
        self.anomalous.merge(other.anomalous)
        self.normal.merge(other.normal)
        self.positives, self.negatives = self.positives + other.positives, self.negatives + other.negatives

    def compute(self) -> RankingScores:
        """The figures so far; more updates may follow."""
        total = self.positives + self.negatives
        prevalence = self.positives / total if total else None
        if not self.positives or not self.negatives:
            return RankingScores(None, None, None, prevalence, self.positives, self.negatives)
        curve = Curve.of(self.anomalous, self.normal, self.negatives)
        figures = curve.area(), curve.average_precision(), curve.f1max()
        return RankingScores(*figures, prevalence, self.positives, self.negatives)

    def _take(self, scores: Float[Tensor, " n"], labels: Bool[Tensor, " n"]) -> None:
        found = scores[labels]
        self.anomalous.add(found)
        # Positives stay in line as -inf, where no count from the top meets them: quicker than picking out the others.
        self.normal.add(torch.where(labels, -torch.inf, scores))
        self.positives += len(found)
        self.negatives += len(scores) - len(found)


def checked(scores: Float[Tensor, "..."], labels: Bool[Tensor, "..."]) -> tuple[Tensor, Tensor]:
    """Flat scores and labels, on the CPU or a CUDA device. Raises UserError for NaN, labels not bool, or two shapes."""
    if labels.dtype != torch.bool or scores.shape != labels.shape:
        raise UserError(
            f"expected scores and bool labels of one shape, got {tuple(scores.shape)} and {labels.dtype} "
            f"{tuple(labels.shape)}; try masks at the scores' size and `.bool()`"
        )
    # The minimum is NaN where any score is, in one pass; the count is for the message alone.
    if scores.numel() and bool(scores.min().isnan()):
        raise UserError(
            f"expected scores that can be ranked, got NaN in {int(scores.isnan().sum())} of {scores.numel()}; "
            "try float32, or look at the detector's output"
        )
    scores = scores.detach().flatten() if scores.is_cuda else scores.detach().cpu().flatten()
    return scores, labels.detach().to(scores.device).flatten()


def auroc(scores: Float[Tensor, " n"], labels: Bool[Tensor, " n"]) -> float | None:
    """Area under the ROC curve, ties half counted; None where a class is missing. Raises UserError as `checked`."""
    return _exact(scores, labels).auroc


def average_precision(scores: Float[Tensor, " n"], labels: Bool[Tensor, " n"]) -> float | None:
    """Step-wise average precision, no trapezoid; None where a class is missing. Raises UserError as `checked`."""
    return _exact(scores, labels).ap


def f1max(scores: Float[Tensor, " n"], labels: Bool[Tensor, " n"]) -> float | None:
    """The best F1 over all thresholds; None where a class is missing. Raises UserError as `checked`."""
    return _exact(scores, labels).f1max


def _exact(scores: Tensor, labels: Tensor) -> RankingScores:
    ranking = Ranking(exact=True)
    ranking._take(*checked(scores.to(torch.promote_types(scores.dtype, torch.float32)), labels))
    return ranking.compute()
