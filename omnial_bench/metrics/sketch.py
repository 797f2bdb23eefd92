"""How much weight of a stream of scores lies above any value: exact, or in bounded memory."""

import math
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.errors import UserError

CAPACITY = 2**24
RESOLUTION = 2**19
FAN_IN = 4
SMALL = 2**17

Run = tuple[Tensor, Tensor | None]
"""Values and the weight of each; None: 1 each."""


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
