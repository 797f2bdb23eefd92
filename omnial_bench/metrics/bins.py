"""Counts of pixels by score in bounded memory: bins that are split where pixels gather."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from omnial_bench.metrics.keys import blocks, new_keys

OPEN = 16
"""Bits of a key that its cell, the first bin that it falls in, leaves open."""
CELLS = 2**16
MARGIN = 4
"""A split aims at bins so many times lighter than they may be, for pixels do not spread evenly."""
FINEST = 4
"""Bits that a split decides at the least: four splits lead from a cell to one score."""
SAMPLE = 8
"""Of so many stretches of keys one is looked at before cells are split."""
STRETCH = 2**15


class Pixels(NamedTuple):
    """Some pixels by the keys of their scores; with `mass`, keys of several pixels each."""

    keys: Int32[Tensor, " n"]
    positive: Int64[Tensor, " k"]
    """Places of the anomalous ones, rising."""
    overlap: Float[Tensor, " k"] | None = None
    """A weight for each anomalous one, float64."""
    mass: Float[Tensor, " n"] | None = None
    """Pixels of each key, float64."""
    anomalous: Float[Tensor, " k"] | None = None
    """Anomalous pixels of each key that has any, float64."""

    def at(self, places: Int64[Tensor, " m"], chosen: Bool[Tensor, " k"]) -> "Pixels":
        """Those at `places` (rising), `chosen` of the anomalous ones among them."""
        positive = torch.searchsorted(places, self.positive[chosen])
        overlap, anomalous = (part if part is None else part[chosen] for part in (self.overlap, self.anomalous))
        mass = self.mass if self.mass is None else self.mass[places]
        return Pixels(self.keys.index_select(0, places), positive, overlap, mass, anomalous)

    def to(self, device: torch.device) -> "Pixels":
        return Pixels._make(part if part is None else part.to(device) for part in self)


class AnomalousBins(NamedTuple):
    """The bins with anomalous pixels, the highest first."""

    gain: Int64[Tensor, " n"]
    """Anomalous pixels."""
    overlap: Float[Tensor, " n"]
    """Their weight."""
    before: Int64[Tensor, " n"]
    """Normal pixels in all higher bins."""
    after: Int64[Tensor, " n"]
    """Normal pixels in these and this one."""
    mixed: Bool[Tensor, " n"]
    """Whether a bin stands for more than one score, so that the order within it is lost."""


class Bins:
    """A histogram over all float32 scores below a cut, of bins that are split where pixels gather.

    A bin with more pixels than 1/`resolution` of those in all higher cells is split into 16 or more, unless it stands
    for one score; what it holds by then stays, and lies in the middle of its parts. The cut rises so that about `top`
    pixels lie above it: there 1/`resolution` would be too few to split by, and pixels stay the caller's.
    """

    def __init__(self, resolution: int, top: int, device: torch.device) -> None:
        self.resolution, self.top = resolution, top
        self.cut = 0
        """The first cell that is not counted."""
        self.uncounted = 0
        """Pixels in cells that are not counted, at the last `take`."""
        cells = torch.arange(CELLS, dtype=torch.int32, device=device)
        self.lowest = (cells - CELLS // 2) << OPEN
        """Each bin's lowest key, the cells first."""
        self.width = torch.full_like(cells, OPEN)
        """Each bin stands for 2^width keys."""
        self.parts = torch.full_like(cells, -1)
        """The first of the bins that each is split into; -1 where it is not."""
        self.held = torch.zeros((2, CELLS), dtype=torch.int64, device=device)
        """Pixels, and anomalous pixels, of each bin."""
        self.overlap = torch.zeros(CELLS, dtype=torch.float64, device=device)

    @property
    def bound(self) -> int:
        """The lowest key that is not counted."""
        return (self.cut - CELLS // 2) << OPEN

    def take(self, pixels: Pixels) -> None:
        """Count the pixels below the cut, which rises first; what was handed in but not counted is to be among them."""
        sample = self._sample(pixels.keys)
        self.cut = max(self.cut, int((_from_top(sample) > self.top).sum()))
        before = int(self.held[0].sum())
        self._take(pixels, sample, 0)
        self.uncounted = before + len(pixels.keys) - int(self.held[0].sum())

    def merge(self, other: "Bins") -> None:
        """Count what the bins of `other` hold, each at its middle."""
        filled = other.held[0].nonzero().flatten()
        total, anomalous = other.held[:, filled].double()
        positive = anomalous.nonzero().flatten()
        pixels = Pixels(other._middles()[filled], positive, other.overlap[filled[positive]], total, anomalous[positive])
        pixels = pixels.to(self.lowest.device)
        uncounted = self.uncounted if self.cut > other.cut else other.uncounted
        self.cut, self.uncounted = max(self.cut, other.cut), uncounted
        self._take(pixels, torch.bincount(_cell(pixels.keys), pixels.mass, CELLS), uncounted)

    def _take(self, pixels: Pixels, sample: Float[Tensor, " cells"], uncounted: int) -> None:
        """Count the pixels below the cut; `sample` is about how many each cell gets, `uncounted` are above too."""
        expected = self._by_cell(self.held[0]) + sample
        limits = self._limits(expected, uncounted)
        whole = (self.parts[:CELLS] < 0) & (torch.arange(CELLS, device=limits.device) < self.cut)
        self._split((whole & (2 * expected > limits)).nonzero().flatten(), expected, limits)
        at = self._place(pixels.keys)
        total = torch.bincount(at, pixels.mass, len(self.lowest)).long()
        self._count(at, total, pixels, self._limits(self._by_cell(self.held[0] + total), uncounted))

    def anomalous_bins(self) -> AnomalousBins:
        """What the bins hold."""
        bins = self.held[0].nonzero().flatten()
        middles = self._middles()[bins]
        if bool((middles[1:] < middles[:-1]).any()):
            bins = bins[middles.sort(stable=True).indices]
        bins = bins.flip(0)
        total, anomalous = self.held[:, bins]
        normal = total - anomalous
        after, some = normal.cumsum(0), anomalous.nonzero().flatten()
        bins, reached = bins[some], after[some]
        return AnomalousBins(anomalous[some], self.overlap[bins], reached - normal[some], reached, self.width[bins] > 0)

    def _middles(self) -> Int32[Tensor, " bins"]:
        return self.lowest + ((1 << self.width) >> 1)

    def _sample(self, keys: Int32[Tensor, " n"]) -> Float[Tensor, " cells"]:
        """How many of the keys each cell gets, about."""
        every = SAMPLE if len(keys) >= 4 * SAMPLE * STRETCH and not keys.is_cuda else 1
        if every > 1:
            keys = torch.cat([keys[start : start + STRETCH] for start in range(0, len(keys), every * STRETCH)])
        return torch.bincount(_cell(keys), minlength=CELLS).double() * every

    def _by_cell(self, held: Tensor) -> Float[Tensor, " cells"]:
        return torch.bincount(_cell(self.lowest), held.double(), CELLS)

    def _limits(self, cells: Float[Tensor, " cells"], uncounted: int) -> Int64[Tensor, " cells"]:
        """How many pixels a bin of each cell may hold: none at all where there are few above it."""
        return ((_from_top(cells) - cells + uncounted) / self.resolution).long()

    def _split(self, bins: Int64[Tensor, " k"], held: Tensor, limits: Tensor) -> None:
        """Split bins finely enough for what they hold and may hold."""
        if not len(bins):
            return
        bits = torch.log2(MARGIN * held[bins].double() / limits[bins]).ceil().clamp_min(FINEST)
        bits = bits.minimum(self.width[bins].double()).long()
        sizes = 1 << bits
        starts = sizes.cumsum(0) - sizes
        within = torch.arange(int(sizes.sum()), device=bins.device) - starts.repeat_interleave(sizes)
        width = (self.width[bins] - bits).repeat_interleave(sizes)
        lowest = self.lowest[bins].repeat_interleave(sizes) + (within << width)
        self.parts[bins] = (len(self.lowest) + starts).int()
        self.lowest = torch.cat([self.lowest, lowest.int()])
        self.width = torch.cat([self.width, width.int()])
        self.parts = torch.cat([self.parts, torch.full_like(lowest, -1).int()])
        self.held = torch.cat([self.held, self.held.new_zeros(2, len(lowest))], 1)
        self.overlap = torch.cat([self.overlap, self.overlap.new_zeros(len(lowest))])

    def _place(self, keys: Int32[Tensor, " n"]) -> Int32[Tensor, " n"]:
        """The bin that each key falls in: its cell, or a part of it; what is split again is left to `_count`."""
        parts = self.parts[:CELLS]
        first = torch.where(parts < 0, torch.arange(CELLS, device=keys.device), parts)
        shift = torch.where(parts < 0, OPEN, self.width[first])
        # A shifted key counts parts from key 0 on; what is to be added for its cell's parts is one number a cell.
        offset = (first - (self.lowest[:CELLS] >> shift)).int()
        at = new_keys(len(keys), keys.device)

        for part in blocks(len(keys), keys.device):
            cell = _cell(keys[part])
            torch.bitwise_right_shift(keys[part], shift.index_select(0, cell), out=at[part])
            at[part].add_(offset.index_select(0, cell))
        return at

    def _count(
        self, at: Int32[Tensor, " n"], total: Int64[Tensor, " b"], pixels: Pixels, limits: Int64[Tensor, " cells"]
    ) -> None:
        """Count pixels in the bins that they are `at`, or in the parts of these where they are split or too heavy."""
        size, cells = len(total), _cell(self.lowest)
        # From the cut on there are cells alone, none of them split.
        total[self.cut : CELLS] = 0
        held, limit = self.held[0] + total, limits.index_select(0, cells)
        heavy = ((held > limit) & (total > 0)).nonzero().flatten()
        heavy = heavy[(self.parts[heavy] < 0) & (self.width[heavy] > 0)]
        self._split(heavy, held, limit)
        inner = (self.parts[:size] >= 0) & (total > 0)
        deeper = bool(inner.any())
        if deeper:
            total[inner] = 0
        self.held[0, :size] += total
        marked = at.index_select(0, pixels.positive)
        more = [(self.held[1], pixels.anomalous)]
        if pixels.overlap is not None:
            more.append((self.overlap, pixels.overlap))
        for sums, weights in more:
            counted = torch.bincount(marked, weights, size)
            counted[self.cut : CELLS] = 0
            if deeper:
                counted[inner] = 0
            sums[:size] += counted.to(sums.dtype)
        if deeper:
            places = inner.index_select(0, at).nonzero().flatten()
            some, bins = pixels.at(places, inner[marked]), at.index_select(0, places)
            first = self.parts.index_select(0, bins)
            at = first + ((some.keys - self.lowest.index_select(0, bins)) >> self.width.index_select(0, first))
            self._count(at, torch.bincount(at, some.mass, len(self.lowest)).long(), some, limits)


def _cell(keys: Int32[Tensor, " n"]) -> Int32[Tensor, " n"]:
    return (keys >> OPEN).add_(CELLS // 2)


def _from_top(cells: Float[Tensor, " cells"]) -> Float[Tensor, " cells"]:
    """Sums from each cell up."""
    return cells.flip(0).cumsum(0).flip(0)
