"""The regression check: verdicts by direction and tolerance, missing rows, and the command's exit status."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from fake_run import fake_rows

from omnial_bench.check import MOVED, TOLERANCES, compare, failed, parse_tolerances
from omnial_bench.cli.check import check
from omnial_bench.errors import UserError
from omnial_bench.store import write_rows


def one(metric: str, value: float | None, n: int = 83) -> pd.DataFrame:
    rows = fake_rows().head(1).copy()
    rows["metric"], rows["value"], rows["n"] = metric, math.nan if value is None else value, n
    return rows


def verdicts(rows: pd.DataFrame, baseline: pd.DataFrame, **tolerances: float) -> list[str]:
    return list(compare(rows, baseline, {**TOLERANCES, **tolerances})["verdict"])


@pytest.mark.parametrize(
    ("metric", "old", "new", "expected"),
    [
        ("pixel_ap", 0.50, 0.50, []),
        ("pixel_ap", 0.50, 0.48, []),
        ("pixel_ap", 0.50, 0.479, ["regression"]),
        ("pixel_ap", 0.50, 0.53, ["improvement"]),
        ("psnr", 30.0, 29.6, []),
        ("psnr", 30.0, 29.4, ["regression"]),
        ("ssim", 0.90, 0.87, ["regression"]),
        ("pixel_ap_chance", 0.03, 0.06, ["regression"]),
        ("pixel_ap_chance", 0.06, 0.03, ["regression"]),
        ("image_auroc", 0.9, None, ["regression"]),
        ("image_auroc", None, 0.9, ["improvement"]),
        ("image_auroc", None, None, []),
    ],
)
def test_verdict(metric: str, old: float | None, new: float | None, expected: list[str]) -> None:
    assert verdicts(one(metric, new), one(metric, old)) == expected


def test_a_tolerance_of_the_callers_own() -> None:
    assert verdicts(one("pixel_ap", 0.41), one("pixel_ap", 0.5), pixel_ap=0.1) == []
    assert parse_tolerances(["psnr=2", "pixel_ap=0"]) == {**TOLERANCES, "psnr": 2.0, "pixel_ap": 0.0}


@pytest.mark.parametrize("setting", ["pixel_ap", "pixel_ap=", "pixel_ap=-1", "pixel_ap=nan", "pixel_ap=inf"])
def test_a_tolerance_that_is_no_number(setting: str) -> None:
    with pytest.raises(UserError, match="expected a tolerance"):
        parse_tolerances([setting])


def test_a_tolerance_of_an_unknown_metric_names_the_closest() -> None:
    with pytest.raises(UserError, match="did you mean 'pixel_ap'"):
        parse_tolerances(["pixel_pa=0.1"])


def test_rows_that_are_missing_new_or_of_other_pictures() -> None:
    rows = fake_rows()
    moved = compare(rows.iloc[5:], rows.iloc[:-3])
    assert list(moved.columns) == list(MOVED)
    assert moved["verdict"].value_counts().to_dict() == {"missing": 5, "new": 3}
    assert failed(moved) and not failed(moved[moved["verdict"] == "new"])
    assert verdicts(one("pixel_ap", 0.5, n=40), one("pixel_ap", 0.5, n=83)) == ["other pictures"]
    assert compare(rows.sample(frac=1, random_state=0), rows).empty


def test_the_worst_comes_first() -> None:
    baseline = pd.concat([one("pixel_ap", 0.5), one("ssim", 0.5), one("image_ap", 0.5)], ignore_index=True)
    rows = pd.concat([one("pixel_ap", 0.6), one("image_ap", 0.4)], ignore_index=True)
    assert verdicts(rows, baseline) == ["regression", "missing", "improvement"]


def test_an_empty_baseline_and_a_row_twice_are_refused() -> None:
    rows = fake_rows()
    with pytest.raises(UserError, match="baseline"):
        compare(rows, rows.head(0))
    with pytest.raises(UserError, match="twice"):
        compare(pd.concat([rows, rows.head(1)]), rows)


def test_command(tmp_path: Path) -> None:
    rows = fake_rows()
    baseline = tmp_path / "baseline.csv"
    write_rows(tmp_path / "results.csv", rows)
    write_rows(baseline, rows)
    same = CliRunner().invoke(check, [str(tmp_path), "--baseline", str(baseline)])
    assert same.exit_code == 0 and "nothing moved" in same.output

    rows.loc[0, "value"] += 0.1
    write_rows(baseline, rows)
    worse = CliRunner().invoke(check, [str(tmp_path), "--baseline", str(baseline)])
    assert worse.exit_code == 1 and "regression" in worse.output and "image_auroc" in worse.output
    told = CliRunner().invoke(check, [str(tmp_path), "--baseline", str(baseline), "--json"])
    answer = json.loads(told.stdout)
    assert told.exit_code == 1 and not answer["passed"] and answer["counts"] == {"regression": 1}
    assert answer["moved"][0]["metric"] == "image_auroc" and answer["moved"][0]["change"] == pytest.approx(-0.1)
    eased = ["--tolerance", "image_auroc=0.2"]
    assert CliRunner().invoke(check, [str(tmp_path), "--baseline", str(baseline), *eased]).exit_code == 0


def test_command_propagates_the_users_mistake(tmp_path: Path) -> None:
    found = CliRunner().invoke(check, [str(tmp_path), "--baseline", str(tmp_path / "none.csv")])
    assert isinstance(found.exception, UserError)
