"""Which figures of a run are held against which of a baseline, and how far they may move. No torch here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import NamedTuple

import pandas as pd

from omnial_bench.errors import UserError, unknown
from omnial_bench.metrics.metric import METRICS, chance_levels, is_chance, kind_of, metric_of
from omnial_bench.results import KEY

FIGURE = tuple(name for name in KEY if name != "seed")
"""What names a figure; its rows differ in the seed alone."""
CHANCE_MOVES = 0.002
"""By how much a level of chance may differ, at the least: it is a share of images or pixels."""
SWAPS = 2
"""Pairs of images that may change places: seen once between kernels without AVX and with it, of 24 by 24."""
FALSE_ALARMS = 0.01
"""Share of runs, as good as the baseline, that may fail by the spread over seeds."""


class Value(NamedTuple):
    """A figure of one seed."""

    value: float
    images: int
    weights: str
    aim: str


Side = Mapping[int, Value]
"""A figure by seed."""
Figures = Mapping[tuple[str, ...], Side]
"""By the names of `FIGURE`."""


@dataclass(frozen=True)
class Pair:
    """What is held against what: a figure of one seed, or of the seeds of either side together."""

    figure: Mapping[str, str]
    old: Side
    new: Side
    alone: bool = False
    """Whether there is no class mean of the figure."""

    @property
    def metric(self) -> str:
        return self.figure["metric"]

    @property
    def same_weights(self) -> bool:
        """Whether the very same networks are behind both sides."""
        weights = {seed: value.weights for seed, value in self.old.items()}
        return all(weights.values()) and weights == {seed: value.weights for seed, value in self.new.items()}

    @property
    def trained_anew(self) -> bool:
        """Whether other networks of the same recipe are behind either side."""
        sides = [{value.weights for value in side.values()} for side in (self.old, self.new)]
        return bool(self.old and self.new) and not self.same_weights and all("" not in side for side in sides)

    @property
    def held(self) -> bool:
        """Whether a move of the figure means anything: of figures that are no chance levels, those that an attack goes
        for, as the baseline says, and of networks trained anew the class means. Of an unknown metric nothing is."""
        if metric_of(self.metric) is None:
            return False
        if is_chance(self.metric):
            return True
        # What an attack does not go for is left wherever its last steps happened to end. An empty aim is not known.
        kind, aims = kind_of(self.metric), {value.aim for value in self.old.values()}
        aimed = any(aim in ("", "none") or kind in aim.split("+") for aim in aims)
        return aimed and (self.alone or self.figure["category"] == "mean" or not self.trained_anew)

    @property
    def by_seeds(self) -> bool:
        """Whether the spread over the baseline's seeds tells how far the figure may move."""
        return len(self.old) > 1 and bool(self.new) and not self.same_weights

    def held_by_spread(self, strict: bool) -> bool:
        """Whether it is that spread that a move fails by."""
        return self.by_seeds and (strict or self.held) and not is_chance(self.metric)


def figures(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """The names of the figures of rows, one a row."""
    return list(zip(*(table[name] for name in FIGURE), strict=True))


def by_figure(table: pd.DataFrame, name: str) -> Figures:
    twice = table[table.duplicated(list(KEY))]
    if len(twice):
        raise UserError(f"the {name} holds a row twice: {', '.join(repr(twice.iloc[0][key])[:100] for key in KEY)}")
    sides: dict[tuple[str, ...], dict[int, Value]] = {}
    columns = (table[name] for name in ("seed", "value", "n", "weights", "aim"))
    for figure, seed, value, images, weights, aim in zip(figures(table), *columns, strict=True):
        sides.setdefault(figure, {})[int(seed)] = Value(float(value), int(images), str(weights), str(aim))
    return sides


def all_pairs(old: Figures, new: Figures) -> list[Pair]:
    pairs = []
    for values in old.keys() | new.keys():
        figure = dict(zip(FIGURE, values, strict=True))
        mean = tuple({**figure, "category": "mean"}.values())
        alone = mean not in old or mean not in new
        pairs += _pairs(figure, old.get(values, {}), new.get(values, {}), alone=alone)
    return pairs


def _pairs(figure: Mapping[str, str], old: Side, new: Side, *, alone: bool) -> list[Pair]:
    """What is compared with what: each seed with itself where the weights are the same, all others of the run together
    with the baseline where that holds several seeds, and else each seed with itself, if it has one."""
    same = {seed for seed in old.keys() & new.keys() if old[seed].weights and old[seed].weights == new[seed].weights}
    pairs = [Pair(figure, {seed: old[seed]}, {seed: new[seed]}, alone) for seed in same]
    others = Pair(figure, old, {seed: value for seed, value in new.items() if seed not in same}, alone)
    if others.by_seeds:
        return [*pairs, others]
    if len(old) > 1 and same:
        return pairs
    for seed in (old.keys() | new.keys()) - same:
        before, now = ({seed: side[seed]} if seed in side else {} for side in (old, new))
        pairs.append(Pair(figure, before, now, alone))
    return pairs


def of_same_weights(metric: str, images: int, anomalous: float | None) -> float:
    """The tolerance of a figure of the same weights, on that many images of which a share is `anomalous`; none of an
    unknown metric.

    Last digits of a map move no figure of clean images by more than 1e-5; an attack makes more of them, yet ends
    about as high: what it aims at moved by up to 5e-4 between kernels. Figures of images are made of few ranks: they
    may move by what SWAPS pairs of neighbours do that change places, each worth what the metric says (`swap`).
    """
    known = METRICS.get(metric)
    if known is None or known.swap is None or anomalous is None:
        return known.same if known else 0.0
    positive = round(anomalous * images)
    negative = images - positive
    return max(known.same, SWAPS * known.swap(positive, negative)) if positive and negative else known.same


def of_seeds(values: Sequence[float], runs: int, figures: int) -> float:
    """The tolerance of a mean over `runs` seeds against the mean of the baseline's `values`, one of `figures` that are
    held so.

    That of the difference of two means, t s sqrt(1/m + 1/n), with the spread s over the m seeds of the baseline alone,
    and Student's t for m - 1 degrees of freedom at a chance of FALSE_ALARMS that any of the figures of a run falls
    below (Bonferroni). 0 where the baseline has fewer than two values.
    """
    count = len(values)
    if count < 2 or not runs or not all(map(math.isfinite, values)):
        return 0.0
    spread = stdev(values)
    if not spread:
        return 0.0
    # Imported here: it takes a third of a second that no other check needs.
    from scipy.stats import t

    quantile = float(t.isf(FALSE_ALARMS / max(figures, 1), count - 1))
    return quantile * spread * math.sqrt(1 / count + 1 / runs)


def parse_tolerances(settings: Iterable[str]) -> dict[str, float]:
    """`metric=value` as a table; UserError for an unknown metric or no number of at least 0."""
    known = (*METRICS, *chance_levels())
    tolerances = {}
    for setting in settings:
        metric, _, text = setting.partition("=")
        if metric not in known:
            raise unknown("metric", metric, known)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UserError(f"expected a tolerance such as {metric}=0.02, got {setting!r}; give a number of at least 0")
        tolerances[metric] = value
    return tolerances
