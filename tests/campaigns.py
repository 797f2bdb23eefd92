"""Campaigns of invented rows and records, spoilt as a test needs them, and what reports say and mark of them."""

from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from fake_run import DETECTORS, PARADIGMS, fake_differences, fake_health, fake_rows, fake_suites, write_records

from omnial_bench.reports import lessons, opening
from omnial_bench.reports.campaign import Campaign, campaign_of
from omnial_bench.reports.table import Table

WHITE_BOX = "nder white-box attack"
"""What the sentence on it begins with, in any case."""


@cache
def _rows() -> pd.DataFrame:
    return pd.concat([fake_rows(), fake_suites()], ignore_index=True)


def invented_rows() -> pd.DataFrame:
    """Of the fixed sets and of the suites, to be changed."""
    return _rows().copy()


def campaign(rows: pd.DataFrame | None = None, **records: pd.DataFrame) -> Campaign:
    """The campaign of invented rows and records, without images; what is given is in their place."""
    with TemporaryDirectory() as folder:
        write_records(Path(folder), **records)
        return campaign_of(Path(folder), invented_rows() if rows is None else rows)


def several(seeds: tuple[int, ...]) -> pd.DataFrame:
    return pd.concat([fake_suites(seeds=seeds), *(fake_rows().assign(seed=seed) for seed in seeds)], ignore_index=True)


def raised(rows: pd.DataFrame, value: float, metric: str, **where: str) -> pd.DataFrame:
    """Rows with the class mean of one metric set where every named column fits."""
    fits = (rows["metric"] == metric) & (rows["category"] == "mean")
    for name, wanted in where.items():
        fits &= rows[name] == wanted
    assert fits.any()
    rows.loc[fits, "value"] = value
    return rows


def failing(*failures: tuple[str, str, str], alone: bool = False) -> pd.DataFrame:
    """The invented checks; failed too, or alone, are those of these names and models, each for a set."""
    health = fake_health()
    if alone:
        health["status"] = health["status"].replace("failed", "passed")
    for check, model, name in failures:
        mine = (health["check"] == check) & (health["detector"] + "-" + health["paradigm"] == model)
        health.loc[mine, ["status", "set"]] = ["failed", name]
    return health


def unlearnt(*where: tuple[str, str, str], health: pd.DataFrame | None = None) -> pd.DataFrame:
    """The checks with `has learnt` passed by every model and failed at these detectors, paradigms and categories."""
    asked = {(*model, "mean") for model in product(DETECTORS, PARADIGMS)} | set(where)
    rows = [
        {
            "check": "has learnt", "detector": detector, "paradigm": paradigm, "category": category, "set": "clean",
            "figure": 0.04, "reference": 0.03,
            "status": "failed" if (detector, paradigm, category) in where else "passed",
            "note": "pixel AP 1.3 times chance and more in every category",
        }
        for detector, paradigm, category in sorted(asked)
    ]  # fmt: skip
    return pd.concat([fake_health() if health is None else health, pd.DataFrame(rows)], ignore_index=True)


def compared(width: float, rows: pd.DataFrame | None = None, **records: pd.DataFrame) -> Campaign:
    """The campaign with the differences of its rows, each interval as far as `width` to both sides."""
    rows = invented_rows() if rows is None else rows
    table = fake_differences(rows, width, ("clean", "white-box-any", "white-box-score"))
    return campaign(rows, differences=table, **records)


def sentences(made: Campaign) -> tuple[str, ...]:
    first = opening.opening(made)
    return (*first.finding, *first.sure, *lessons.lessons(made))


def said(made: Campaign, begins: str) -> str:
    found = [sentence for sentence in sentences(made) if begins in sentence]
    assert len(found) == 1, begins
    return found[0]


def marked(table: Table, column: str = "model", *, strong: bool = False) -> set[tuple[str, str]]:
    """Where letters stand in a table, or what is bold in it: what its rows hold in a column, and the other's key."""
    return {(str(table.frame.loc[row, column]), key) for row, key in (table.strong if strong else table.letters)}
