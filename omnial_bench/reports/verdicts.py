"""Rows against a baseline: what got worse, better, lost or new. No torch here."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from omnial_bench.errors import UserError
from omnial_bench.metrics.metric import is_chance, kind_of, metric_of
from omnial_bench.reports.pairing import (
    CHANCE_MOVES,
    FIGURE,
    Figures,
    Pair,
    Side,
    all_pairs,
    by_figure,
    of_same_weights,
    of_seeds,
)
from omnial_bench.results import KEY

log = logging.getLogger(__name__)

COMPARED = (*KEY, "baseline_seeds", "seeds", "baseline", "value", "change", "tolerance", "verdict")
"""Columns of what was compared: `seed` is empty where means over the seeds of each side were."""
FAILING = ("regression", "changed", "missing", "other images")
UNMOVED = "unmoved"
NOT_HELD = "not held"
"""Moved by more than its tolerance, in a figure that says nothing by moving."""
VERDICTS = (*FAILING, "improvement", "new", NOT_HELD, UNMOVED)


def judge(
    rows: pd.DataFrame,
    baseline: pd.DataFrame,
    tolerances: Mapping[str, float] | None = None,
    *,
    first: bool = False,
    strict: bool = False,
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

    UserError where the baseline is empty and this is not the `first` one, or either side holds a row twice.
    """
    if baseline.empty and not first:
        raise UserError("expected rows in the baseline, got none; a baseline is a results.csv that was good")
    new, old = by_figure(rows, "run"), by_figure(baseline, "baseline")
    pairs = all_pairs(old, new)
    _warn_of(pairs)
    shares, many = _shares(new), sum(pair.held_by_spread(strict) for pair in pairs)
    judged = [(pair, _tolerance(pair, shares, tolerances or {}, many)) for pair in pairs]
    blind = [pair for pair, tolerance in judged if pair.held_by_spread(strict) and tolerance >= _to_worst(pair)]
    if blind:
        log.warning(
            "%d of %d figures could fall to nothing unnoticed, for they are spread too widely over the %d seeds of the "
            "baseline; make one of more seeds, and run several",
            len(blind), many, max(len(pair.old) for pair in blind),
        )  # fmt: skip

    def place(record: dict[str, Any]) -> tuple[Any, ...]:
        return VERDICTS.index(record["verdict"]), *(record[name] for name in FIGURE), record["seed"] or 0

    records = sorted((_record(*each, strict=strict) for each in judged), key=place)
    return pd.DataFrame(records, columns=list(COMPARED)).astype({"seed": "Int64"})


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


def _warn_of(pairs: Sequence[Pair]) -> None:
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


def _to_worst(pair: Pair) -> float:
    """How far the baseline's mean may get worse: down to nothing, or up to the most that a metric can be that is better
    when it is lower."""
    known, before = metric_of(pair.metric), _mean(pair.old)
    return known.high - before if known and known.better == "lower" else abs(before)


_Images = Mapping[tuple[str, ...], Mapping[str, tuple[int, float]]]
"""By what names the images and the kind of metric: each category's number of images and anomalous share."""


def _shares(new: Figures) -> _Images:
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


def _tolerance(pair: Pair, shares: _Images, tolerances: Mapping[str, float], many: int) -> float:
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
    known = metric_of(metric)
    return max(tolerances.get(metric, known.anew if known else 0.0), by_seeds)


def _record(pair: Pair, tolerance: float, *, strict: bool) -> dict[str, Any]:
    seeds, before, now = sorted(pair.old.keys() | pair.new.keys()), _mean(pair.old), _mean(pair.new)
    return {
        **pair.figure,
        "seed": seeds[0] if len(seeds) == 1 else None,
        "baseline_seeds": ",".join(map(str, sorted(pair.old))),
        "seeds": ",".join(map(str, sorted(pair.new))),
        "baseline": before,
        "value": now,
        "change": now - before,
        "tolerance": tolerance,
        "verdict": _verdict(pair, before, now, tolerance, strict=strict),
    }


def _verdict(pair: Pair, before: float, now: float, tolerance: float, *, strict: bool) -> str:
    old, new, known, chance = pair.old, pair.new, metric_of(pair.metric), is_chance(pair.metric)
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
    if _undefined(old) == _undefined(new) == 0:
        if not (strict or pair.held):
            return NOT_HELD
        if known is None or (pair.same_weights and not chance):
            return "changed"
    # No move of a level of chance is one for the better.
    better = known and not chance and known.better == ("higher" if now > before else "lower")
    return "improvement" if better else "regression"


def _defined(side: Side) -> list[float]:
    return [entry.value for entry in side.values() if not math.isnan(entry.value)]


def _undefined(side: Side) -> int:
    return len(side) - len(_defined(side))


def _mean(side: Side) -> float:
    values = _defined(side)
    return sum(values) / len(values) if values else math.nan
