"""Rows against a baseline: what got worse, better, lost or new. No torch here."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from omnial_bench.errors import UserError
from omnial_bench.metrics.metric import is_chance, kind_of, metric_of
from omnial_bench.reports.tolerances import CHANCE_MOVES, is_aimed, of_new_weights, of_same_weights, of_seeds
from omnial_bench.results import KEY

log = logging.getLogger(__name__)

COMPARED = (*KEY, "baseline_seeds", "seeds", "baseline", "value", "change", "tolerance", "verdict")
"""Columns of what was compared: `seed` is empty where means over the seeds of each side were."""
FIGURE = tuple(name for name in KEY if name != "seed")
"""What names a figure; its rows differ in the seed alone."""
FAILING = ("regression", "changed", "missing", "other images")
UNMOVED = "unmoved"
NOT_HELD = "not held"
"""Moved by more than its tolerance, in a figure that says nothing by moving."""
VERDICTS = (*FAILING, "improvement", "new", NOT_HELD, UNMOVED)


class _Value(NamedTuple):
    """A figure of one seed."""

    value: float
    images: int
    weights: str
    aim: str


_Side = Mapping[int, _Value]
"""A figure by seed."""


@dataclass(frozen=True)
class _Pair:
    """What is held against what: a figure of one seed, or of the seeds of either side together."""

    figure: Mapping[str, str]
    old: _Side
    new: _Side
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


def figures(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """The names of the figures of rows, one a row."""
    return list(zip(*(table[name] for name in FIGURE), strict=True))


def judge(
    rows: pd.DataFrame, baseline: pd.DataFrame, tolerances: Mapping[str, float] | None = None, *, strict: bool = False
) -> pd.DataFrame:
    """Every figure of either side with its verdict, the worst first and the unmoved last; columns `COMPARED`.

    Each metric says itself which way is better; of the `*_chance` levels any move is a regression. An undefined figure
    that was defined is a regression, the reverse an improvement. `other images`: the figure is made of another number
    of images, whatever its value. `tolerances` by metric stand in place of the least ones of each.

    How far a figure may move depends on what is behind it. The very same weights: what kernels of another processor do
    (`of_same_weights`), and more is `changed`, whether it is better or worse: scores and attacks are not the same, and
    under a weaker attack every figure looks better. Networks trained anew, where the baseline holds several seeds:
    means over the seeds of either side are compared, within what the baseline's spread over seeds lets expect
    (`of_seeds`). Where it holds one seed, nobody knows how far another training lies from it: each seed is compared
    with itself within what its metric allows, a seed of one side alone is missing or new.

    `not held`: a figure that the attack does not go for, which is left wherever the attack happened to end, a single
    category of networks trained anew, and any that moves of a metric that this version does not know, which is warned
    of. With `strict` these are regressions and improvements, too, and those of an unknown metric `changed`.

    UserError where the baseline is empty or either side holds a row twice.
    """
    if baseline.empty:
        raise UserError("expected rows in the baseline, got none; a baseline is a results.csv that was good")
    return _judge(rows, baseline, tolerances or {}, strict=strict)


def moved(judged: pd.DataFrame) -> pd.DataFrame:
    """The part of what was compared that did not stay."""
    return judged[judged["verdict"] != UNMOVED].reset_index(drop=True)


def failed(judged: pd.DataFrame) -> bool:
    """Whether anything fails a check: a regression, a missing row, or a figure of other images."""
    return bool(judged["verdict"].isin(FAILING).any())


def counts(judged: pd.DataFrame) -> dict[str, int]:
    """How many figures got each verdict but `unmoved`, the worst first."""
    numbers = judged["verdict"].value_counts().to_dict()
    return {name: int(numbers[name]) for name in VERDICTS if name in numbers and name != UNMOVED}


def summary(judged: pd.DataFrame) -> str:
    """The counts in words."""
    return ", ".join(f"{name} {count}" for name, count in counts(judged).items()) or "nothing moved"


def _judge(
    rows: pd.DataFrame, baseline: pd.DataFrame, tolerances: Mapping[str, float], *, strict: bool
) -> pd.DataFrame:
    for name, table in (("run", rows), ("baseline", baseline)):
        twice = table[table.duplicated(list(KEY))]
        if len(twice):
            raise UserError(f"the {name} holds a row twice: {', '.join(repr(twice.iloc[0][key])[:100] for key in KEY)}")
    old, new = _by_figure(baseline), _by_figure(rows)
    pairs = []
    for values in old.keys() | new.keys():
        figure = dict(zip(FIGURE, values, strict=True))
        mean = tuple({**figure, "category": "mean"}.values())
        alone = mean not in old or mean not in new
        pairs += _pairs(figure, old.get(values, {}), new.get(values, {}), alone=alone)
    if any(pair.trained_anew and len(pair.old) == 1 for pair in pairs):
        log.warning(
            "networks were trained anew and the baseline holds one seed: nobody knows how far another training lies "
            "from it, tolerances are a guess; make a baseline of several seeds"
        )
    if unknown := sorted({pair.metric for pair in pairs if metric_of(pair.metric) is None}):
        log.warning(
            "%s: not known to this version, so neither is which way is better nor how far it may move: shown, not held",
            ", ".join(unknown),
        )
    shares = _shares(new)
    spread = [pair.by_seeds and (strict or pair.held) and not is_chance(pair.metric) for pair in pairs]
    allowed = [_tolerance(pair, shares, tolerances, sum(spread)) for pair in pairs]
    records = [_record(pair, tolerance, strict=strict) for pair, tolerance in zip(pairs, allowed, strict=True)]
    blind = [
        pair
        for pair, held, tolerance in zip(pairs, spread, allowed, strict=True)
        if held and tolerance >= _to_worst(pair)
    ]
    if blind:
        log.warning(
            "%d of %d figures could fall to nothing unnoticed, for they are spread too widely over the %d seeds of the "
            "baseline; make one of more seeds, and run several",
            len(blind), sum(spread), max(len(pair.old) for pair in blind),
        )  # fmt: skip
    records.sort(
        key=lambda record: (VERDICTS.index(record["verdict"]), *(record[name] for name in FIGURE), record["seed"] or 0)
    )
    return pd.DataFrame(records, columns=list(COMPARED)).astype({"seed": "Int64"})


def _to_worst(pair: _Pair) -> float:
    """How far the baseline's mean may get worse: down to nothing, or up to the most that a metric can be that is better
    when it is lower."""
    known, before = metric_of(pair.metric), _mean(pair.old)
    return known.high - before if known and known.better == "lower" else abs(before)


def _by_figure(table: pd.DataFrame) -> dict[tuple[str, ...], dict[int, _Value]]:
    sides: dict[tuple[str, ...], dict[int, _Value]] = {}
    columns = (table[name] for name in ("seed", "value", "n", "weights", "aim"))
    for figure, seed, value, images, weights, aim in zip(figures(table), *columns, strict=True):
        sides.setdefault(figure, {})[int(seed)] = _Value(float(value), int(images), str(weights), str(aim))
    return sides


def _pairs(figure: Mapping[str, str], old: _Side, new: _Side, *, alone: bool) -> list[_Pair]:
    """What is compared with what: each seed with itself where the weights are the same, all others of the run together
    with the baseline where that holds several seeds, and else each seed with itself, if it has one."""
    same = {seed for seed in old.keys() & new.keys() if old[seed].weights and old[seed].weights == new[seed].weights}
    pairs = [_Pair(figure, {seed: old[seed]}, {seed: new[seed]}, alone) for seed in same]
    others = _Pair(figure, old, {seed: value for seed, value in new.items() if seed not in same}, alone)
    if others.by_seeds:
        return [*pairs, others]
    if len(old) > 1 and same:
        return pairs
    return pairs + [
        _Pair(figure, {seed: old[seed]} if seed in old else {}, {seed: new[seed]} if seed in new else {}, alone)
        for seed in (old.keys() | new.keys()) - same
    ]


_Images = Mapping[tuple[str, ...], Mapping[str, tuple[int, float]]]
"""By what names the images and the kind of metric: each category's number of images and anomalous share."""


def _shares(new: Mapping[tuple[str, ...], Mapping[int, _Value]]) -> _Images:
    shares: dict[tuple[str, ...], dict[str, tuple[int, float]]] = {}
    for values, side in new.items():
        figure = dict(zip(FIGURE, values, strict=True))
        if is_chance(figure["metric"]) and figure["category"] != "mean" and _defined(side):
            images = next(iter(side.values())).images
            shares.setdefault(_place(figure), {})[figure["category"]] = (images, _mean(side))
    return shares


def _place(figure: Mapping[str, str]) -> tuple[str, ...]:
    """What names the images of a figure but for their category, and the kind of metric."""
    return (*(figure[name] for name in FIGURE if name not in ("metric", "category")), kind_of(figure["metric"]))


def _tolerance(pair: _Pair, shares: _Images, tolerances: Mapping[str, float], many: int) -> float:
    """How far the two may lie apart; `many` figures are held by the spread over seeds."""
    metric, category = pair.metric, pair.figure["category"]
    by_seeds = of_seeds(_defined(pair.old), len(_defined(pair.new)), many) if pair.by_seeds else 0.0
    if is_chance(metric):
        # Which images of a set are anomalous is drawn by the seed.
        return tolerances.get(metric, max(CHANCE_MOVES, by_seeds))
    if pair.same_weights:
        own = shares.get(_place(pair.figure), {})
        if category != "mean":
            return tolerances.get(metric, of_same_weights(metric, *own.get(category, (0, None))))
        each = [of_same_weights(metric, *images) / len(own) for images in own.values()]
        return tolerances.get(metric, max([of_same_weights(metric, 0, None), *each]))
    return max(tolerances.get(metric, of_new_weights(metric)), by_seeds)


def _record(pair: _Pair, tolerance: float, *, strict: bool) -> dict[str, Any]:
    old, new = pair.old, pair.new
    seeds = sorted(old.keys() | new.keys())
    before, now = _mean(old), _mean(new)
    known = metric_of(pair.metric)
    better = known.better if known and not is_chance(pair.metric) else None
    verdict = _verdict(old, new, before, now, tolerance, better=better)
    defined = _undefined(old) == _undefined(new) == 0
    if verdict in ("regression", "improvement") and defined:
        if not (strict or pair.held):
            verdict = NOT_HELD
        elif known is None or (pair.same_weights and not is_chance(pair.metric)):
            verdict = "changed"
    return {
        **pair.figure,
        "seed": seeds[0] if len(seeds) == 1 else None,
        "baseline_seeds": ",".join(map(str, sorted(old))),
        "seeds": ",".join(map(str, sorted(new))),
        "baseline": before,
        "value": now,
        "change": now - before,
        "tolerance": tolerance,
        "verdict": verdict,
    }


def _verdict(old: _Side, new: _Side, before: float, now: float, tolerance: float, *, better: str | None) -> str:
    """`better`: `higher`, `lower`, or None where no move is one for the better."""
    if not old or not new:
        return "new" if not old else "missing"
    # Shares, for the sides may have different numbers of seeds.
    lost = _undefined(new) / len(new) - _undefined(old) / len(old)
    if lost > 0:
        return "regression"
    counted = [{value.images for value in side.values()} for side in (old, new)]
    if _undefined(old) < len(old) and counted[0] != counted[1]:
        return "other images"
    # Decimal tolerances are not exact in binary: a move of just the tolerance is within it.
    if before == now or abs(now - before) <= tolerance + 1e-9 or math.isnan(before):
        return "improvement" if lost < 0 else UNMOVED
    return "improvement" if better == ("higher" if now > before else "lower") else "regression"


def _defined(side: _Side) -> list[float]:
    return [entry.value for entry in side.values() if not math.isnan(entry.value)]


def _undefined(side: _Side) -> int:
    return len(side) - len(_defined(side))


def _mean(side: _Side) -> float:
    values = _defined(side)
    return sum(values) / len(values) if values else math.nan
