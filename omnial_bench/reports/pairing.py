"""Which figures of a run are held against which of a baseline. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from omnial_bench.errors import UserError
from omnial_bench.metrics.metric import is_chance, metric_of
from omnial_bench.reports.tolerances import is_aimed
from omnial_bench.results import KEY

FIGURE = tuple(name for name in KEY if name != "seed")
"""What names a figure; its rows differ in the seed alone."""


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
        aims = {value.aim for value in self.old.values()}
        aimed = any(is_aimed(self.metric, aim) for aim in aims)
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
