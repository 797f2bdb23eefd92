"""How far a figure may be owed to the images that happened to be there: 95 % intervals by the bootstrap over images."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from omnial_bench.types import located

LEVEL = 0.95
DRAWS = 1000
BINS = 256
KEPT = 512
"""Pixels of each kind that are kept of an image, evenly in reading order: an interval needs no more."""
MOST = 10_000
"""Images; of more the interval is narrower than what a table shows."""

PART = 2**20
"""Draws times images that are worked out at a time."""

FEWEST = 2
"""Images that hold a kind: the spread of a single one cannot be told."""

Interval = tuple[float, float]
Counting = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of draws `d n`, how much of the positives and of the negatives is in each bin, `d k` each."""


class Intervals:
    """Maps and scores image by image, and the intervals of the figures that rank them; bounded memory.

    An image is drawn whole, with all its pixels, normal and anomalous images apart, so that no draw lacks a kind of
    image (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13). The draws are the same in
    every call.
    """

    def __init__(self) -> None:
        self._pixels: list[tuple[Tensor, int, bool, float]] = []
        """Kept pixels with their image, whether they are anomalous, and how many each stands for."""
        self._scores: list[Tensor] = []
        self._anomalous: list[Tensor] = []
        self.count = 0

    def update(
        self,
        maps: Float[Tensor, "b h w"],
        masks: Bool[Tensor, "b h w"],
        scores: Float[Tensor, " b"],
        anomalous: Bool[Tensor, " b"],
    ) -> None:
        """Take maps with their masks, image scores and image labels, on any device."""
        first, self.count = self.count, self.count + len(maps)
        if self.count > MOST:
            self._pixels, self._scores, self._anomalous = [], [], []
            return
        self._scores.append(scores.double().cpu())
        self._anomalous.append(anomalous.cpu())
        known = located(masks, anomalous).tolist()
        for number, (scores_map, mask) in enumerate(zip(maps.cpu(), masks.cpu(), strict=True), first):
            for kind in (True, False) if known[number - first] else ():
                pixels = scores_map[mask == kind]
                if len(pixels):
                    step = max(1, len(pixels) // KEPT)
                    sample = pixels[::step].float().contiguous()
                    self._pixels.append((sample, number, kind, len(pixels) / len(sample)))

    def compute(self) -> dict[str, Interval]:
        """The bootstrap intervals of `pixel_auroc`, `pixel_ap`, `image_auroc` and `image_ap`; None for a figure that
        needs normal and anomalous images and has one kind alone."""
        return {name: ends_of(values) for name, values in self.draws().items()}

    def draws(self) -> dict[str, Float[Tensor, " d"]]:
        """Each of these figures on every draw of images; the first draw holds each image once.

        The draws hold the same images for every model that is shown the same ones, so that of two models figures can be
        taken from one another draw by draw. A draw whose anomalous images have empty masks has no pixel figure: NaN.
        """
        if not 1 < self.count <= MOST:
            return {}
        anomalous = torch.cat(self._anomalous)
        tables: dict[str, Counting] = {"image": self._images(anomalous)}
        if self._pixels:
            positive, negative = self._histograms()
            if min(int(table.any(1).sum()) for table in (positive, negative)) >= FEWEST:
                tables["pixel"] = lambda draws: (draws @ positive, draws @ negative)
        if min(anomalous.sum(), (~anomalous).sum()) < FEWEST:
            del tables["image"]
        figures: dict[str, list[Tensor]] = {}
        # As many draws at a time as fit, for each has a number for every image.
        for draws in torch.split(_draws(anomalous), max(1, PART // self.count)):
            for what, counted in tables.items():
                for name, values in _figures(*counted(draws.double())).items():
                    figures.setdefault(f"{what}_{name}", []).append(values)
        return {name: torch.cat(parts) for name, parts in figures.items()}

    def _images(self, anomalous: Bool[Tensor, " n"]) -> Counting:
        """A bin for each distinct score, the highest first; between them some that stay empty."""
        scores = torch.cat(self._scores)
        place = torch.searchsorted(scores.neg().sort().values, scores.neg())
        bins = int(place.max()) + 1

        def counted(draws: Float[Tensor, "d n"]) -> tuple[Float[Tensor, "d k"], Float[Tensor, "d k"]]:
            empty = draws.new_zeros(len(draws), bins)
            return empty.index_add(1, place, draws * anomalous), empty.index_add(1, place, draws * ~anomalous)

        return counted

    def _histograms(self) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Each image's pixels of either kind in bins, the highest first, that begin at values of as many ranks apart of
        either kind: where the lowest anomalous pixel lies above all normal ones, no bin holds both."""
        edges = torch.cat([self._levels(kind) for kind in (True, False)]).sort().values
        tables = torch.zeros(2, self.count, len(edges) + 1, dtype=torch.float64)
        for pixels, image, kind, weight in self._pixels:
            bins = len(edges) - torch.searchsorted(edges, pixels, right=True)
            weights = torch.full(bins.shape, weight, dtype=torch.float32).double()
            tables[int(kind), image] = torch.bincount(bins, weights, len(edges) + 1)
        return tables[1], tables[0]

    def _levels(self, kind: bool) -> Float[Tensor, " k"]:
        """The lowest kept pixel of a kind, and others in steps of as many ranks."""
        own = [pixels for pixels, _, own_kind, _ in self._pixels if own_kind == kind]
        if not own:
            return torch.empty(0)
        order = torch.from_numpy(np.sort(torch.cat(own).numpy()))
        return order[(torch.arange(BINS // 2) * len(order)).div(BINS // 2, rounding_mode="floor")]


def ends_of(values: Float[Tensor, " d"]) -> Interval:
    """How far the middle 95 % of the draws reach below and above the first, which holds every image once."""
    known = values[1:][values[1:].isfinite()]
    ends = torch.quantile(known, torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).double())
    low, high = (ends - values[0]).tolist()
    return min(low, 0.0), max(high, 0.0)


def wilson(hits: int, n: int) -> Interval:
    """The 95 % score interval of a share, `hits` of `n` (Wilson, JASA 1927): it also tells of 0 hits and of n."""
    square, share = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2, hits / n
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = math.sqrt(square * share * (1 - share) / n + (square / (2 * n)) ** 2) / (1 + square / n)
    return middle - half, middle + half


def _draws(anomalous: Bool[Tensor, " n"]) -> UInt8[Tensor, "d n"]:
    """How often each draw holds each image; the first draw holds each once."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.ones(DRAWS + 1, len(anomalous), dtype=torch.uint8)
    for kind in (True, False):
        members = (anomalous == kind).nonzero().flatten()
        if len(members):
            # One kind after the other, and of each as many draws at a time as fit: the numbers are the same.
            for part in torch.split(counts[1:], max(1, PART // len(members))):
                picks = torch.randint(len(members), (len(part), len(members)), generator=generator)
                drawn = part.new_zeros(picks.shape)
                part[:, members] = drawn.scatter_add_(1, picks, torch.ones_like(drawn))
    return counts


def _figures(positive: Float[Tensor, "d k"], negative: Float[Tensor, "d k"]) -> dict[str, Float[Tensor, " d"]]:
    """AUROC and average precision of each draw's bins, which are level inside."""
    hits, wrong = positive.cumsum(1), negative.cumsum(1)
    total, others = hits[:, -1:], wrong[:, -1:]
    auroc = (negative * (hits - positive / 2)).sum(1) / (total * others).squeeze(1)
    precision = (hits - positive / 2) / (hits - positive / 2 + wrong - negative / 2).clamp_min(1e-12)
    return {"auroc": auroc, "ap": (positive * precision).sum(1) / total.squeeze(1)}
