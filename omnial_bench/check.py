"""Rows against a baseline: what got worse, better, lost or new. No torch here."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from omnial_bench.baseline import FIGURE, figures, warn_of_changes
from omnial_bench.errors import UserError, unknown
from omnial_bench.links import check_links
from omnial_bench.store import KEY, METRICS, read_rows

TOLERANCES: Mapping[str, float] = {
    **dict.fromkeys(METRICS, 0.02),
    "psnr": 0.5,
    "image_ap_chance": 0.02,
    "pixel_ap_chance": 0.02,
}
"""How far a figure may move either way and count as unmoved: fractions, and dB for PSNR."""
COMPARED = (*KEY, "baseline_seeds", "seeds", "baseline", "value", "change", "tolerance", "verdict")
"""Columns of what was compared: `seed` is empty where means over the seeds of each side were."""
FAILING = ("regression", "missing", "other pictures")
UNMOVED = "unmoved"
ROUNDING = 1e-6
"""By which a fraction may pass its bounds."""
VERDICTS = (*FAILING, "improvement", "new", UNMOVED)

_Side = dict[int, tuple[float, int]]
"""Value and number of pictures of one figure by seed."""


def judge(rows: pd.DataFrame, baseline: pd.DataFrame, tolerances: Mapping[str, float] = TOLERANCES) -> pd.DataFrame:
    """Every figure of either side with its verdict, the worst first and the unmoved last; columns `COMPARED`.

    Higher is better for every metric but the `*_chance` levels, of which any move is a regression. An undefined figure
    that was defined is a regression, the reverse an improvement. `other pictures`: the figure is made of another number
    of pictures, whatever its value.

    Where the baseline holds several seeds of a figure, and the run holds several too or one that the baseline has not,
    the means over the seeds are compared, and the tolerance is at least two standard errors of their difference,
    `s sqrt(1/m + 1/n)` with `m` seeds in the baseline and `n` in the run. The spread `s` is the baseline's alone:
    that is the spread to expect of a run that is as good as the baseline, and a run of which one seed collapsed would
    otherwise widen its own tolerance until it passes. Everywhere else each seed is compared with itself, and a seed of
    one side alone is missing or new: where the baseline has one seed, nobody knows how far another may lie from it,
    and a seed that both sides have is a repetition, for which no allowance is needed.

    UserError where the baseline is empty or either side holds a row twice.
    """
    if baseline.empty:
        raise UserError("expected rows in the baseline, got none; a baseline is a results.csv that was good")
    return _judge(rows, baseline, tolerances)


def moved(judged: pd.DataFrame) -> pd.DataFrame:
    """The part of what was compared that did not stay."""
    return judged[judged["verdict"] != UNMOVED].reset_index(drop=True)


def compare(rows: pd.DataFrame, baseline: pd.DataFrame, tolerances: Mapping[str, float] = TOLERANCES) -> pd.DataFrame:
    """What moved by more than its tolerance, as `judge` finds it."""
    return moved(judge(rows, baseline, tolerances))


def failed(judged: pd.DataFrame) -> bool:
    """Whether anything fails a check: a regression, a missing row, or a figure of other pictures."""
    return bool(judged["verdict"].isin(FAILING).any())


def counts(judged: pd.DataFrame) -> dict[str, int]:
    """How many figures got each verdict but `unmoved`, the worst first."""
    found = judged["verdict"].value_counts().to_dict()
    return {name: int(found[name]) for name in VERDICTS if name in found and name != UNMOVED}


def summary(judged: pd.DataFrame) -> str:
    """The counts in words."""
    return ", ".join(f"{name} {count}" for name, count in counts(judged).items()) or "nothing moved"


def parse_tolerances(settings: Iterable[str]) -> dict[str, float]:
    """`TOLERANCES` with `metric=value` replaced; UserError for an unknown metric or no number of at least 0."""
    tolerances = dict(TOLERANCES)
    for setting in settings:
        metric, _, text = setting.partition("=")
        if metric not in tolerances:
            raise unknown("metric", metric, tolerances)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UserError(f"expected a tolerance such as {metric}=0.02, got {setting!r}; give a number of at least 0")
        tolerances[metric] = value
    return tolerances


def judge_files(
    run: Path,
    baseline: Path,
    tolerances: Mapping[str, float] = TOLERANCES,
    *,
    seed: int | None = None,
    first: bool = False,
) -> pd.DataFrame:
    """`judge` on a run folder (or a results.csv) and a baseline file; `seed` keeps the rows of one seed.

    With `first` a baseline that does not exist is an empty one: every row is new.
    """
    check_links(run)
    rows = _read(run)
    if first and not baseline.exists():
        return _judge(rows, rows.head(0), tolerances)
    known = _read(baseline)
    warn_of_changes(baseline)
    if seed is not None:
        rows, known = rows[rows["seed"] == seed], known[known["seed"] == seed]
        if known.empty:
            raise UserError(f"expected rows of seed {seed} in {baseline}, got none; name a seed that it has")
    return judge(rows, known, tolerances)


def _read(path: Path) -> pd.DataFrame:
    """The rows of a run or a baseline; UserError for a value that its metric cannot have: a percentage, say."""
    rows = read_rows(path)
    lowest = rows["metric"].map({"psnr": -math.inf, "ssim": -1.0}).fillna(0.0) - ROUNDING
    highest = rows["metric"].map({"psnr": math.inf}).fillna(1.0) + ROUNDING
    strange = rows[(rows["value"] < lowest) | (rows["value"] > highest)]
    if len(strange):
        one = strange.iloc[0]
        raise UserError(
            f"{path} says {one['value']:g} for {one['metric']} of {one['detector']}-{one['paradigm']}, "
            f"{one['category']}, {one['set']}; expected a fraction from 0 to 1"
        )
    return rows


def _judge(rows: pd.DataFrame, baseline: pd.DataFrame, tolerances: Mapping[str, float]) -> pd.DataFrame:
    for name, table in (("run", rows), ("baseline", baseline)):
        twice = table[table.duplicated(list(KEY))]
        if len(twice):
            raise UserError(f"the {name} holds a row twice: {', '.join(repr(twice.iloc[0][key])[:100] for key in KEY)}")
    old, new = _by_figure(baseline), _by_figure(rows)
    records = []
    for figure in old.keys() | new.keys():
        named = dict(zip(FIGURE, figure, strict=True))
        tolerance = tolerances.get(named["metric"], 0.02)
        two_sided = named["metric"].endswith("_chance")
        pairs = _pairs(old.get(figure, {}), new.get(figure, {}))
        records += [{**named, **_record(*pair, tolerance, two_sided=two_sided)} for pair in pairs]
    records.sort(key=lambda one: (VERDICTS.index(one["verdict"]), *(one[name] for name in FIGURE), one["seed"] or 0))
    return pd.DataFrame(records, columns=list(COMPARED)).astype({"seed": "Int64"})


def _by_figure(table: pd.DataFrame) -> dict[tuple[str, ...], _Side]:
    found: dict[tuple[str, ...], _Side] = {}
    for figure, seed, value, n in zip(figures(table), table["seed"], table["value"], table["n"], strict=True):
        found.setdefault(figure, {})[int(seed)] = (float(value), int(n))
    return found


def _pairs(old: _Side, new: _Side) -> list[tuple[_Side, _Side]]:
    """What is compared with what: all seeds of a figure together, or each with itself."""
    if len(old) > 1 and new and (len(new) > 1 or not old.keys() & new.keys()):
        return [(old, new)]
    return [
        tuple({seed: side[seed]} if seed in side else {} for side in (old, new))  # type: ignore[misc]
        for seed in old.keys() | new.keys()
    ]


def _record(old: _Side, new: _Side, tolerance: float, *, two_sided: bool) -> dict[str, Any]:
    seeds = sorted(old.keys() | new.keys())
    before, now = _mean(old), _mean(new)
    allowed = max(tolerance, 2 * _standard_error(old, new))
    return {
        "seed": seeds[0] if len(seeds) == 1 else None,
        "baseline_seeds": ",".join(map(str, sorted(old))),
        "seeds": ",".join(map(str, sorted(new))),
        "baseline": before,
        "value": now,
        "change": now - before,
        "tolerance": allowed,
        "verdict": _verdict(old, new, before, now, allowed, two_sided=two_sided),
    }


def _verdict(old: _Side, new: _Side, before: float, now: float, tolerance: float, *, two_sided: bool) -> str:
    if not old or not new:
        return "new" if not old else "missing"
    # Shares, for the sides may have different numbers of seeds.
    lost = _undefined(new) / len(new) - _undefined(old) / len(old)
    if lost > 0:
        return "regression"
    if _undefined(old) < len(old) and {n for _, n in old.values()} != {n for _, n in new.values()}:
        return "other pictures"
    # Decimal tolerances are not exact in binary: a move of just the tolerance is within it.
    if before == now or abs(now - before) <= tolerance + 1e-9 or math.isnan(before):
        return "improvement" if lost < 0 else UNMOVED
    return "improvement" if now > before and not two_sided else "regression"


def _defined(side: _Side) -> list[float]:
    return [value for value, _ in side.values() if not math.isnan(value)]


def _undefined(side: _Side) -> int:
    return len(side) - len(_defined(side))


def _mean(side: _Side) -> float:
    values = _defined(side)
    return sum(values) / len(values) if values else math.nan


def _standard_error(old: _Side, new: _Side) -> float:
    """Of the difference of the means, by the spread over the baseline's seeds; 0 where it is not known."""
    values, count = _defined(old), len(_defined(new))
    if len(values) < 2 or not count:
        return 0.0
    mean = _mean(old)
    variance = sum((value - mean) * (value - mean) for value in values) / (len(values) - 1)
    return math.sqrt(variance * (1 / len(values) + 1 / count)) if math.isfinite(variance) else 0.0
