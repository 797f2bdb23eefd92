"""How well scores rank anomalous above normal: AUROC, average precision, best F1; exact, or streamed in bounded memory.

All of it needs one thing: how many negatives lie above, and level with, each score that a positive has. `Sketch`
answers that for a stream of scores. Curves are then made at the positives' scores, where alone they can turn.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.errors import UserError

CAPACITY = 2**24
RESOLUTION = 2**19
FAN_IN = 4
SMALL = 2**17

Run = tuple[Tensor, Tensor | None]


class Sketch:
    """A multiset of floats, fed in parts, that tells how much weight lies above any value, in bounded memory.

    Up to `capacity` values are kept as they are and answered exactly. Each full `capacity` becomes a summary, `FAN_IN`
    summaries of one level become one of the next. A summary keeps some values and moves each other one down to the
    nearest kept, past less than 1/`resolution` of the weight above it; equal values stay equal. So the weight above a
    value is never too high, and too low by at most L/`resolution` of itself, L = 1 + floor(log4(n / capacity)) for n
    values, 0 below the capacity. (Where all weights sum to less than `resolution`: by L/`resolution` of their sum.)
    A summary has about resolution * (1 + ln(capacity / resolution)) entries of 12 bytes; with the defaults, 16 million
    scores take 64 MiB, 60 million 140 MiB, a thousand million 400 MiB. `exact` keeps all, 4 bytes each.
    """

    def __init__(self, *, exact: bool = False, capacity: int = CAPACITY, resolution: int = RESOLUTION) -> None:
        self.settings = (exact, capacity, resolution)
        self._pending: list[Run] = []
        self._length = 0
        self._levels: defaultdict[int, list[Run]] = defaultdict(list)
        self._device: torch.device | None = None

    def add(self, values: Float[Tensor, " n"], weights: Float[Tensor, " n"] | None = None) -> None:
        """Take values, of weight 1 or each of its own positive weight. The tensors are kept: do not write to them."""
        _, capacity, _ = self.settings
        self._device = self._device or values.device
        values = values.to(self._device)
        weights = weights if weights is None else weights.to(self._device, torch.float64)
        for start in range(0, len(values), capacity):
            part = slice(start, start + capacity)
            self._pending.append((values[part], weights if weights is None else weights[part]))
            self._length += len(values[part])
            self._settle()

    def merge(self, other: "Sketch") -> None:
        """Take everything that `other` holds; it stays as it is. Raises UserError where its settings are not these."""
        if self.settings != other.settings:
            raise UserError("expected accumulators with the same settings, got different ones; try one mode for all")
        self._device = self._device or other._device
        for level, runs in list(other._levels.items()):
            self._levels[level] += [
                (values.to(self._device), _weights(values, of).to(self._device)) for values, of in runs
            ]
        for values, weights in list(other._pending):
            self.add(values, weights)
        self._settle()

    def around(self, thresholds: Float[Tensor, " k"]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """Weight above each threshold, and weight at or above it; float64."""
        above = torch.zeros(thresholds.shape, dtype=torch.float64, device=thresholds.device)
        level = above.clone()
        for values, weights in self._runs():
            tail = None if weights is None else _tail(weights)
            for total, right in ((above, True), (level, False)):
                place = torch.searchsorted(values, thresholds.to(values), right=right)
                total += (len(values) - place if tail is None else tail[place]).to(total)
        return above, level

    def table(self) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """The distinct values, highest first, and the weight of each in float64."""
        values, weights = _merged(list(self._runs()))
        values, place, counts = torch.unique_consecutive(values, return_inverse=True, return_counts=True)
        summed = counts.double() if weights is None else weights.new_zeros(len(values)).index_add_(0, place, weights)
        return values.flip(0), summed.flip(0)

    def _runs(self) -> Iterator[Run]:
        """Everything held, as sorted runs."""
        for runs in self._levels.values():
            yield from runs
        yield from _sorted(self._pending)

    def _settle(self) -> None:
        """Summarise what has grown too long."""
        exact, capacity, resolution = self.settings
        if exact:
            return
        if self._length >= capacity:
            self._levels[0].append(_summary(_merged(_sorted(self._pending)), resolution))
            self._pending, self._length = [], 0
        level = 0
        while level in self._levels:
            if len(self._levels[level]) >= FAN_IN:
                self._levels[level + 1].append(_summary(_merged(self._levels[level]), resolution))
                self._levels[level] = []
            level += 1


def _summary(run: Run, resolution: int) -> Run:
    """Keep the values at ranks 1, 2, ..., K from the top, then at ranks growing by a K-th; each takes those skipped."""
    values, weights = run
    tail = None if weights is None else _tail(weights)
    total = float(len(values)) if tail is None else float(tail[0])
    # Ranks are weights here; where the whole weighs less than K, a K-th of it stands for one pixel.
    unit = min(1.0, total / resolution)
    growth = math.log1p(1 / resolution)
    geometric = 2 + int(math.log(max(total / (unit * resolution), 1.0)) / growth)
    steps = torch.arange(1 - resolution, geometric, dtype=torch.float64, device=values.device)
    ranks = torch.where(steps < 0, resolution + steps, resolution * torch.exp(growth * steps.clamp_min(0))) * unit
    ranks.clamp_(max=total)
    index = len(values) - ranks.ceil().long() if tail is None else torch.searchsorted(-tail, -ranks, right=True) - 1
    kept = torch.unique_consecutive(values[index.flip(0).clamp_(0, len(values) - 1)])
    first = torch.searchsorted(values, kept)
    above = (len(values) - first).double() if tail is None else tail[first]
    return kept, above - torch.cat([above[1:], above.new_zeros(1)])


def _tail(weights: Tensor) -> Tensor:
    """Sums from each place to the end, and the 0 after it."""
    return torch.cat([weights.flip(0).cumsum(0).flip(0), weights.new_zeros(1)])


def _weights(values: Tensor, weights: Tensor | None) -> Tensor:
    return torch.ones(values.shape, dtype=torch.float64, device=values.device) if weights is None else weights


def _joined(runs: list[Run]) -> Run:
    """All runs one after the other, copied."""
    values = torch.cat([run for run, _ in runs]) if runs else torch.empty(0)
    weighted = any(weights is not None for _, weights in runs)
    return values, torch.cat([_weights(*run) for run in runs]) if weighted else None


def _sorted(chunks: list[Run]) -> list[Run]:
    """Chunks as sorted runs, a thread a run where that is quicker: without weights, on the CPU."""
    values, weights = _joined(chunks)
    if weights is not None or values.is_cuda:
        return [_ordered(values, weights)]
    runs = list(values.tensor_split(torch.get_num_threads() if len(values) > SMALL else 1))
    with ThreadPoolExecutor(len(runs)) as pool:
        # NumPy sorts in place and several times as fast as torch, which carries the order along.
        list(pool.map(lambda run: run.numpy().sort(), runs))
    return [(run, None) for run in runs]


def _merged(runs: list[Run]) -> Run:
    """One sorted run out of several."""
    return runs[0] if len(runs) == 1 else _ordered(*_joined(runs))


def _ordered(values: Tensor, weights: Tensor | None) -> Run:
    if weights is None and not values.is_cuda:
        # A stable sort sees that parts are sorted and only merges them.
        values.numpy().sort(kind="stable")
        return values, None
    values, order = values.sort(stable=True)
    return values, weights if weights is None else weights[order]


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
