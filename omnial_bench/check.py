"""Rows against a baseline: what got worse, better, lost or new. No torch here."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from omnial_bench.errors import UserError, unknown
from omnial_bench.store import KEY, METRICS, read_rows

TOLERANCES: Mapping[str, float] = {
    **dict.fromkeys(METRICS, 0.02),
    "psnr": 0.5,
    "image_ap_chance": 0.02,
    "pixel_ap_chance": 0.02,
}
"""How far a figure may move either way and count as unmoved: fractions, and dB for PSNR."""
MOVED = (*KEY, "baseline", "value", "change", "tolerance", "verdict")
FAILING = ("regression", "missing", "other pictures")
_VERDICTS = (*FAILING, "improvement", "new")


def compare(rows: pd.DataFrame, baseline: pd.DataFrame, tolerances: Mapping[str, float] = TOLERANCES) -> pd.DataFrame:
    """What moved by more than the tolerance of its metric, the worst verdicts first; columns `MOVED`.

    Higher is better for every metric but the `*_chance` levels, of which any move is a regression. An undefined figure
    that was defined is a regression, the reverse an improvement. `other pictures`: the figure is made of another number
    of pictures, whatever its value. UserError where the baseline is empty or either side holds a row twice.
    """
    if baseline.empty:
        raise UserError("expected rows in the baseline, got none; a baseline is a results.csv that was good")
    for name, table in (("run", rows), ("baseline", baseline)):
        twice = table[table.duplicated(list(KEY))]
        if len(twice):
            raise UserError(f"the {name} holds a row twice: {', '.join(str(twice.iloc[0][key]) for key in KEY)}")
    sides = [table.loc[:, [*KEY, "value", "n"]] for table in (baseline, rows)]
    both = sides[0].merge(sides[1], on=list(KEY), how="outer", suffixes=("_old", "_new"), indicator=True)
    records = []
    for record in both.to_dict("records"):
        tolerance = tolerances.get(record["metric"], 0.02)
        verdict = _verdict(record, tolerance)
        if verdict:
            old, new = float(record["value_old"]), float(record["value_new"])
            key = {str(name): record[name] for name in KEY}
            figures = {"baseline": old, "value": new, "change": new - old, "tolerance": tolerance}
            records.append({**key, **figures, "verdict": verdict})
    records.sort(key=lambda record: (_VERDICTS.index(record["verdict"]), *(str(record[name]) for name in KEY)))
    return pd.DataFrame(records, columns=list(MOVED))


def failed(moved: pd.DataFrame) -> bool:
    """Whether anything of what moved fails a check: a regression, a missing row, or a figure of other pictures."""
    return bool(moved["verdict"].isin(FAILING).any())


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


def compare_files(
    run: Path, baseline: Path, tolerances: Mapping[str, float] = TOLERANCES, *, seed: int | None = None
) -> pd.DataFrame:
    """`compare` on a run folder (or a results.csv) and a baseline file; `seed` keeps the rows of one seed."""
    rows, known = read_rows(run), read_rows(baseline)
    if seed is not None:
        rows, known = rows[rows["seed"] == seed], known[known["seed"] == seed]
    return compare(rows, known, tolerances)


def _verdict(record: Mapping[Any, Any], tolerance: float) -> str:
    """One of the verdicts, or nothing where the figure stayed."""
    if record["_merge"] == "left_only":
        return "missing"
    if record["_merge"] == "right_only":
        return "new"
    old, new = float(record["value_old"]), float(record["value_new"])
    if math.isnan(old) or math.isnan(new):
        if math.isnan(old) and math.isnan(new):
            return ""
        return "improvement" if math.isnan(old) else "regression"
    if record["n_old"] != record["n_new"]:
        return "other pictures"
    # Decimal tolerances are not exact in binary: a move of just the tolerance is within it.
    if abs(new - old) <= tolerance + 1e-9:
        return ""
    two_sided = str(record["metric"]).endswith("_chance")
    return "improvement" if new > old and not two_sided else "regression"
