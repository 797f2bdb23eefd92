"""How well scores rank anomalous above normal: AUROC, average precision, best F1; exact, or streamed in bounded memory.

All of it needs one thing: how many negatives lie above, and level with, each score that a positive has. Curves are made
at the positives' scores, where alone they can turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.metrics.bins import AnomalousBins, Bins, Pixels
from omnial_bench.metrics.keys import BELOW, keys_of, sorted_runs

CAPACITY = 2**24
RESOLUTION = 2**15
TOP = 16


@dataclass(frozen=True)
class Curve:
    """What happens as a threshold falls past each distinct score of a positive, highest first; float64, on the CPU."""

    hits: Float[Tensor, " k"]
    """Weight of the positives at or above the score."""
    gain: Float[Tensor, " k"]
    """Weight of the positives level with it."""
    before: Float[Tensor, " k"]
    """Number of negatives above it."""
    after: Float[Tensor, " k"]
    """Number of negatives at or above it."""
    mixed: Bool[Tensor, " k"]
    """Whether it stands for scores whose order is lost."""
    negatives: int

    @classmethod
    def of(cls, positives: Tensor, weights: Tensor | None, normal: Sequence[Tensor], negatives: int) -> "Curve":
        """The curve of the positives' scores or keys and sorted runs of the negatives', all of one dtype.

        The runs may hold more of what is below all scores than the true number of `negatives`.
        """
        scores, gain = _distinct(positives, weights)
        before, after = (count.clamp_max(negatives).cpu() for count in _around(normal, scores))
        return cls(gain.cpu().cumsum(0), gain.cpu(), before, after, torch.zeros(len(gain), dtype=torch.bool), negatives)

    def below(self, bins: AnomalousBins, weights: Tensor, seen: int) -> "Curve":
        """This curve, which ends with `seen` negatives, going on through the bins, whose positives have `weights`."""
        gain = torch.cat([self.gain, weights.double().cpu()])
        before, after = (
            torch.cat([own, count.double().cpu() + seen])
            for own, count in ((self.before, bins.before), (self.after, bins.after))
        )
        return Curve(gain.cumsum(0), gain, before, after, torch.cat([self.mixed, bins.mixed.cpu()]), self.negatives)

    def area(self, limit: float = 1.0) -> float:
        """The share of positives found, integrated over the false-positive rate from 0 to `limit`.

        A score that positives and negatives share is one slanting stroke, cut at the limit by interpolation.
        """
        rates = torch.stack([self.before, self.after], 1).flatten() / self.negatives
        hits = torch.stack([self.hits - self.gain, self.hits], 1).flatten() / self.hits[-1]
        x = torch.cat([rates.new_zeros(1), rates, rates.new_ones(1)])
        y = torch.cat([hits.new_zeros(1), hits, hits.new_ones(1)])
        stroke = x.diff()
        part = (limit - x[:-1]).clamp_min(0).minimum(stroke)
        reached = y[:-1] + y.diff() * torch.where(stroke > 0, part / stroke, 1.0)
        return float(((y[:-1] + reached) / 2 * part).sum())

    def average_precision(self) -> float:
        """Step-wise: each positive counts with the precision at its own score, what is level with it included.

        Where the order is lost, the positives of a bin (of weight 1 each) lie evenly among its negatives.
        """
        hits = torch.where(self.mixed, self.hits - (self.gain - 1) / 2, self.hits)
        wrong = torch.where(self.mixed, (self.before + self.after) / 2, self.after)
        return float((self.gain * hits / (hits + wrong)).sum() / self.hits[-1])

    def f1max(self) -> float:
        """The best F1 over all thresholds; one between two positives' scores is never better than the upper."""
        return float((2 * self.hits / (self.hits + self.after + self.hits[-1])).max())


def _distinct(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Float[Tensor, " k"]]:
    """The distinct values, highest first, and the weight of each in float64."""
    if weights is None:
        runs = sorted_runs(values.clone())
        values = runs[0] if len(runs) == 1 else torch.cat(runs)
        if len(runs) > 1:
            # A stable sort sees that parts are sorted and only merges them.
            values.numpy().sort(kind="stable")
    else:
        values, order = values.sort(stable=True)
    values, place, counts = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
    if weights is None:
        return values.flip(0), counts.double().flip(0)
    return values.flip(0), weights.new_zeros(len(values)).index_add_(0, place, weights[order]).flip(0)


def _around(runs: Sequence[Tensor], thresholds: Tensor) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """How many values of sorted runs lie above each threshold, and at or above it."""
    above = torch.zeros(thresholds.shape, dtype=torch.float64, device=thresholds.device)
    level = above.clone()
    for run in runs:
        first = torch.searchsorted(run, thresholds)
        tied = (run.index_select(0, first.clamp_max(len(run) - 1)) == thresholds).nonzero().flatten()
        behind = first.index_copy(0, tied, torch.searchsorted(run, thresholds.index_select(0, tied), right=True))
        above += len(run) - behind
        level += len(run) - first
    return above, level


@dataclass(frozen=True)
class RankingScores:
    """Fractions in [0, 1], None where a class is missing; `prevalence` is the average precision of chance."""

    auroc: float | None
    ap: float | None
    f1max: float | None
    prevalence: float | None
    positives: int
    negatives: int

    @classmethod
    def of(cls, curve: Curve | None, positives: int, negatives: int) -> "RankingScores":
        """The figures of a curve, None where a class is missing."""
        total = positives + negatives
        prevalence = positives / total if total else None
        if curve is None:
            return cls(None, None, None, prevalence, positives, negatives)
        return cls(curve.area(), curve.average_precision(), curve.f1max(), prevalence, positives, negatives)


class Ranking:
    """Streaming AUROC, step-wise average precision and best F1 in one pass and bounded memory; never flipped.

    Exact (scikit-learn's values, ties too) for any scores up to `capacity` pixels, 2^24; with `exact` without end, in 4
    bytes a pixel. Beyond, the 2^19 highest pixels stay exact and the others lie in `Bins`, so that the number of pixels
    above any score is known to L/resolution of itself, in the middle to half of that: L is 1 where later scores are
    like earlier ones, and 4 for any float32 scores whatever; each merge adds as much again. At the default 2^15, AUROC
    is off by at most 1.6e-5 L (1 + positives/negatives), AP by 1.6e-5 L, F1 by 3.1e-5 L; on scores as detectors give
    them, where most of this cancels out, by less than 1e-7. Scores are rounded to float32; -inf and inf are scores like
    any other.
    """

    def __init__(self, *, exact: bool = False, capacity: int = CAPACITY, resolution: int = RESOLUTION) -> None:
        self.settings = (exact, capacity, resolution)
        self.positives = self.negatives = 0
        self._pending: list[Pixels] = []
        self._bins: Bins | None = None
        self._settled = False
        self._sorted: tuple[Tensor, list[Tensor]] | None = None

    @torch.inference_mode()
    def update(
        self,
        scores: Float[Tensor, "..."],
        labels: Bool[Tensor, "..."],
        overlap: Float[Tensor, " k"] | None = None,
    ) -> None:
        """Take scores and labels (True = anomalous) of one shape, on any device. Raises UserError for NaN scores.

        `overlap` is a weight for each anomalous pixel, float64, for the curve of `overlaps`: give it always or never.
        """
        flat, truth = checked(scores.float(), labels)
        device = self._pending[0].keys.device if self._pending else flat.device
        _, capacity, _ = self.settings
        keys, positive = keys_of(flat.to(device)), truth.nonzero().flatten().to(device)
        self.positives, self.negatives = self.positives + len(positive), self.negatives + len(keys) - len(positive)
        self._settled, self._sorted = False, None
        self._pending.append(Pixels(keys, positive, overlap if overlap is None else overlap.to(device)))
        self._settle(capacity)

    @torch.inference_mode()
    def merge(self, other: "Ranking") -> None:
        """Take what `other` has seen; it stays as it is. Raises UserError where their modes differ."""
        if self.settings != other.settings:
            raise UserError("expected accumulators with the same settings, got different ones; try one mode for all")
        device = self._pending[0].keys.device if self._pending else torch.device("cpu")
        self._settled, self._sorted = False, None
        self._pending += [pixels.to(device) for pixels in other._pending]
        self.positives, self.negatives = self.positives + other.positives, self.negatives + other.negatives
        if other._bins is not None:
            self._bins = self._bins or self._new_bins(other._bins.lowest.device)
            self._bins.merge(other._bins)
        self._settle(self.settings[1])

    def compute(self) -> RankingScores:
        """The figures so far; more updates may follow."""
        both = self.positives and self.negatives
        return RankingScores.of(self.curve() if both else None, self.positives, self.negatives)

    @torch.inference_mode()
    def curve(self, *, overlaps: bool = False) -> Curve:
        """The curve so far, of positives that count 1 each, or as much as their `overlap`."""
        self._settle(0)
        positives, runs = self._sorted = self._sorted or self._in_order()
        pixels = _joined(self._pending)
        curve = Curve.of(positives, pixels.overlap if overlaps else None, runs, self.negatives)
        if self._bins is None:
            return curve
        below = self._bins.anomalous_bins()
        return curve.below(below, below.overlap if overlaps else below.gain, len(pixels.keys) - len(positives))

    def _in_order(self) -> tuple[Tensor, list[Tensor]]:
        """Keys of the anomalous pixels that wait, and sorted runs of the others: for every curve until more come."""
        keys, positive, *_ = _joined(self._pending)
        anomalous, keys = keys[positive], keys.clone()
        # Positives stay in line, below all scores, where no count from the top meets them: quicker than to pick others.
        keys[positive] = BELOW
        return anomalous, sorted_runs(keys)

    def _new_bins(self, device: torch.device) -> Bins:
        _, capacity, resolution = self.settings
        return Bins(resolution, min(TOP * resolution, capacity // 2), device)

    def _settle(self, capacity: int) -> None:
        """Where more than `capacity` pixels wait, count all but the highest; unless all are exact."""
        exact, most, _ = self.settings
        waiting = sum(len(pixels.keys) for pixels in self._pending)
        if exact or waiting <= capacity or (waiting <= most if self._bins is None else self._settled):
            return
        pixels = _joined(self._pending)
        self._bins = self._bins or self._new_bins(pixels.keys.device)
        self._bins.take(pixels)
        high = pixels.keys >= self._bins.bound
        self._settled, self._sorted = True, None
        self._pending = [pixels.at(high.nonzero().flatten(), high[pixels.positive])]


def _joined(parts: Sequence[Pixels]) -> Pixels:
    """All of them as one."""
    if len(parts) == 1:
        return parts[0]
    starts = accumulate((len(part.keys) for part in parts), initial=0)
    positive = torch.cat([part.positive + start for part, start in zip(parts, starts, strict=False)])
    overlaps = [part.overlap for part in parts if part.overlap is not None]
    return Pixels(torch.cat([part.keys for part in parts]), positive, torch.cat(overlaps) if overlaps else None)


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
    """The figures in the scores' own precision."""
    flat, truth = checked(scores.to(torch.promote_types(scores.dtype, torch.float32)), labels)
    anomalous, normal = flat[truth], flat[~truth]
    both = len(anomalous) and len(normal)
    curve = Curve.of(anomalous, None, sorted_runs(normal), len(normal)) if both else None
    return RankingScores.of(curve, len(anomalous), len(normal))
