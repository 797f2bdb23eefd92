"""The regression check: verdicts, means over seeds, JUnit and Markdown, new baselines, the command's exit status."""

import json
import math
import re
import shlex
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from fake_run import DETECTORS, PARADIGMS, fake_rows, fake_run

from omnial_bench.cli.check import check
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256, write_text
from omnial_bench.metrics.metric import METRICS, Metric
from omnial_bench.metrics.ranking import Ranking
from omnial_bench.reports.baseline import judge_files
from omnial_bench.reports.gate import SHOWN, junit, markdown
from omnial_bench.reports.pairing import FALSE_ALARMS, SWAPS, of_same_weights, of_seeds, parse_tolerances
from omnial_bench.reports.verdicts import COMPARED, failed, judge, moved
from omnial_bench.results import read_rows, write_rows


def one(metric: str, value: float | None, n: int = 83) -> pd.DataFrame:
    rows = fake_rows().head(1).copy()
    rows["metric"], rows["value"], rows["n"] = metric, math.nan if value is None else value, n
    return rows


def verdicts(rows: pd.DataFrame, baseline: pd.DataFrame, **tolerances: float) -> list[str]:
    return list(moved(judge(rows, baseline, tolerances))["verdict"])


def seeds(metric: str = "pixel_ap", **values: float | None) -> pd.DataFrame:
    """One figure of several seeds: `seeds(s0=0.5, s1=0.6)`."""
    tables = []
    for name, value in values.items():
        table = one(metric, value)
        table["seed"] = int(name[1:])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


SPREAD = seeds(s0=0.40, s1=0.50, s2=0.60)
"""Mean 0.5, spread 0.1: Student's t of two degrees of freedom at 0.01 is 6.9646, so that three seeds may lie
6.9646 x 0.1 sqrt(2/3) = 0.5687 off, and one 0.8042."""
T2 = 6.964557
STEADY = seeds(s0=0.89, s1=0.90, s2=0.91)
WHOLE, PART = seeds(s0=0.5, s1=0.5, s2=0.5), seeds(s0=0.5, s1=None, s2=0.5)
LEVELS = seeds("pixel_ap_chance", s0=0.050, s1=0.025, s2=0.031)
SAME = seeds(s0=0.90, s1=0.92, s2=0.88).assign(weights="abc", category="mean")


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        # One seed, within what another training may move.
        (one("pixel_ap", 0.50), one("pixel_ap", 0.50), []),
        (one("pixel_ap", 0.48), one("pixel_ap", 0.50), []),
        (one("pixel_ap", 0.479), one("pixel_ap", 0.50), ["regression"]),
        (one("pixel_ap", 0.53), one("pixel_ap", 0.50), ["improvement"]),
        (one("psnr", 29.6), one("psnr", 30.0), []),
        (one("psnr", 29.4), one("psnr", 30.0), ["regression"]),
        (one("ssim", 0.87), one("ssim", 0.90), ["regression"]),
        (one("pixel_ap_chance", 0.06), one("pixel_ap_chance", 0.03), ["regression"]),
        (one("pixel_ap_chance", 0.03), one("pixel_ap_chance", 0.06), ["regression"]),
        (one("image_auroc", None), one("image_auroc", 0.9), ["regression"]),
        (one("image_auroc", 0.9), one("image_auroc", None), ["improvement"]),
        (one("image_auroc", None), one("image_auroc", None), []),
        (one("psnr", math.inf), one("psnr", math.inf), []),
        (one("psnr", 30.0), one("psnr", math.inf), ["regression"]),
        # The worst comes first.
        (
            pd.concat([one("pixel_ap", 0.6), one("image_ap", 0.4)], ignore_index=True),
            pd.concat([one("pixel_ap", 0.5), one("ssim", 0.5), one("image_ap", 0.5)], ignore_index=True),
            ["regression", "missing", "improvement"],
        ),
        # Several seeds of either side are compared together; a run does not widen its own tolerance.
        (seeds(s0=0.37), SPREAD, []),
        (SPREAD, seeds(s1=0.5), ["new", "new"]),
        (seeds(s3=0.5), seeds(s0=0.5), ["missing", "new"]),
        (SPREAD, seeds(s9=0.5), ["missing", "new", "new", "new"]),
        (seeds(s0=0.9, s1=0.9, s2=0.3), STEADY, ["regression"]),
        (PART, WHOLE, ["regression"]),
        (WHOLE, PART, ["improvement"]),
        (PART, PART, []),
        (seeds(s0=0.3, s1=0.3, s2=0.3), PART, ["regression"]),
        (WHOLE.assign(n=[83, 40, 83]), WHOLE, ["other images"]),
        (PART.head(2).assign(aim="image"), WHOLE.head(2).assign(aim="image"), ["regression"]),
        # Which images of a set are anomalous is drawn by the seed.
        (LEVELS.head(1), LEVELS, []),
        (seeds("pixel_ap_chance", s7=0.041), LEVELS, []),
        (seeds("pixel_ap_chance", s7=0.9), LEVELS, ["regression"]),
        # The same weights are held to what kernels do; under a weaker attack everything looks better.
        (one("pixel_ap", 0.4979).assign(weights="a"), one("pixel_ap", 0.5).assign(weights="a"), ["changed"]),
        (one("pixel_ap", 0.4981).assign(weights="a"), one("pixel_ap", 0.5).assign(weights="a"), []),
        (one("psnr", 30.03).assign(weights="a"), one("psnr", 30.0).assign(weights="a"), ["changed"]),
        (SAME.assign(value=[0.85, 0.87, 0.88], weights="abd"), SAME, []),
        (SAME.assign(value=[0.85, 0.87, 0.88]), SAME, ["changed", "changed"]),
        (SAME.head(1).assign(value=0.85), SAME, ["changed"]),
        (SAME.head(1), SAME, []),
        # What is held is for the baseline to say; a category is held where there is no class mean.
        (
            one("pixel_auroc", 0.4).assign(weights="a", aim="other"),
            one("pixel_auroc", 0.9).assign(weights="a", aim="pixel"),
            ["changed"],
        ),
        (one("pixel_ap", 0.1).assign(weights="a"), one("pixel_ap", 0.9).assign(weights="b"), ["regression"]),
    ],
)
def test_verdict(new: pd.DataFrame, old: pd.DataFrame, expected: list[str]) -> None:
    assert verdicts(new, old) == expected


LATENCY = Metric(
    name="latency", title="Latency", kind="image", unit="ms", high=math.inf, better="lower", anew=5.0, same=1.0
)


@pytest.mark.parametrize(
    ("old", "new", "weights", "expected"),
    [
        (30.0, 34.0, "", []),
        (30.0, 36.0, "", ["regression"]),
        (30.0, 24.0, "", ["improvement"]),
        (30.0, 24.0, "abc", ["changed"]),
        (30.0, 30.5, "abc", []),
        (30.0, None, "", ["regression"]),
    ],
)
def test_a_metric_that_is_better_when_lower_and_no_fraction(
    old: float, new: float | None, weights: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "latency", LATENCY)
    rows, baseline = (one("latency", value).assign(weights=weights) for value in (new, old))
    write_rows(tmp_path / "rows.csv", rows)
    write_rows(tmp_path / "baseline.csv", baseline)
    assert list(moved(judge_files([tmp_path / "rows.csv"], tmp_path / "baseline.csv"))["verdict"]) == expected
    assert parse_tolerances(["latency=9"]) == {"latency": 9.0}


def test_a_spread_up_to_the_worst_value_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "error", Metric(name="error", title="Error", kind="image", better="lower"))
    judge(seeds("error", s0=0.5), seeds("error", s0=0.02, s1=0.01, s2=0.03))
    assert not caplog.records
    judge(seeds("error", s0=0.5), seeds("error", s0=0.98, s1=0.97, s2=0.99))
    assert "could fall to nothing unnoticed" in caplog.text


def test_a_metric_that_is_not_known_is_shown_and_not_held(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = one("pixel_ap", 0.5)
    rows, baseline = (pd.concat([known, one("latency", value)], ignore_index=True) for value in (31.0, 30.0))
    for name, table in (("rows", rows), ("baseline", baseline)):
        write_rows(tmp_path / f"{name}.csv", table.assign(weights="abc"))
    judged = judge_files([tmp_path / "rows.csv"], tmp_path / "baseline.csv")
    found = moved(judged)
    assert (list(found["metric"]), list(found["verdict"])) == (["latency"], ["not held"]) and not failed(judged)
    assert [record.getMessage() for record in caplog.records] == [
        "latency: not known to this version, so neither is which way is better nor how far it may move: shown, not held"
    ]
    assert failed(judge(rows, baseline, strict=True)) and verdicts(rows, baseline, latency=2.0) == []
    assert verdicts(known, baseline) == ["missing"] and verdicts(rows, known) == ["new"]
    assert verdicts(rows.assign(value=math.nan), baseline) == ["regression", "regression"]
    assert "Not known to this version, and not held: latency." in markdown(judged, "baseline.csv")


def test_a_tolerance_of_the_callers_own() -> None:
    assert verdicts(one("pixel_ap", 0.41), one("pixel_ap", 0.5), pixel_ap=0.1) == []
    assert parse_tolerances(["psnr=2", "pixel_ap=0"]) == {"psnr": 2.0, "pixel_ap": 0.0}
    for setting in ("pixel_ap", "pixel_ap=", "pixel_ap=-1", "pixel_ap=nan", "pixel_ap=inf"):
        with pytest.raises(UserError, match="expected a tolerance"):
            parse_tolerances([setting])
    with pytest.raises(UserError, match="did you mean 'pixel_ap'"):
        parse_tolerances(["pixel_pa=0.1"])


def test_rows_that_are_missing_new_or_of_other_images() -> None:
    rows = fake_rows()
    changed = moved(judge(rows.iloc[5:], rows.iloc[:-3]))
    assert list(changed.columns) == list(COMPARED)
    assert changed["verdict"].value_counts().to_dict() == {"missing": 5, "new": 3}
    assert failed(changed) and not failed(changed[changed["verdict"] == "new"])
    assert verdicts(one("pixel_ap", 0.5, n=40), one("pixel_ap", 0.5, n=83)) == ["other images"]
    assert moved(judge(rows.sample(frac=1, random_state=0), rows)).empty


def test_an_empty_baseline_and_a_row_twice_are_refused() -> None:
    rows = fake_rows()
    with pytest.raises(UserError, match="baseline"):
        moved(judge(rows, rows.head(0)))
    with pytest.raises(UserError, match="twice"):
        moved(judge(pd.concat([rows, rows.head(1)]), rows))


def test_means_over_seeds_are_compared_by_the_spread_of_the_baseline() -> None:
    (row,) = judge(seeds(s0=0.34, s1=0.44, s2=0.24), SPREAD).to_dict("records")
    assert row["tolerance"] == pytest.approx(T2 * 0.1 * math.sqrt(2 / 3), rel=1e-5)
    assert (row["baseline"], row["value"]) == (pytest.approx(0.5), pytest.approx(0.34))
    assert row["verdict"] == "unmoved" and pd.isna(row["seed"])
    assert (row["baseline_seeds"], row["seeds"]) == ("0,1,2", "0,1,2")
    close = seeds(s0=0.49, s1=0.50, s2=0.51)
    assert verdicts(seeds(s0=0.44, s1=0.44, s2=0.44), close) == ["regression"]
    assert verdicts(seeds(s0=0.45, s1=0.45, s2=0.45), close) == []
    assert verdicts(seeds(s7=0.56, s8=0.56, s9=0.56), close) == ["improvement"]
    assert verdicts(seeds(s7=0.30, s8=0.40, s9=0.20), close, pixel_ap=0.25) == []


def test_another_seed_is_compared_by_the_spread_of_the_baseline_where_that_is_known() -> None:
    (row,) = judge(seeds(s3=0.3), SPREAD).to_dict("records")
    assert row["tolerance"] == pytest.approx(T2 * 0.1 * math.sqrt(4 / 3), rel=1e-5) and row["verdict"] == "unmoved"
    assert verdicts(seeds(s3=0.5), seeds(s0=0.5)) == ["missing", "new"]
    assert verdicts(SPREAD, seeds(s9=0.5)) == ["missing", "new", "new", "new"]


def test_few_seeds_say_that_they_hold_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert verdicts(seeds(s7=0.0), seeds(s0=0.90, s1=0.92)) == ["regression"]
    assert caplog.messages == []
    assert verdicts(seeds(s7=0.0), seeds(s0=0.85, s1=0.95)) == []
    assert "1 of 1 figures could fall to nothing unnoticed" in caplog.messages[0]


@pytest.mark.parametrize("values", [(1e200, 2.0), (1.7e308, 1.7e308), (math.inf, -math.inf), (math.inf, 3.0)])
def test_numbers_that_cannot_be_squared_end_in_no_traceback(values: tuple[float, float]) -> None:
    judge(seeds("psnr", s7=30.0), seeds("psnr", s0=values[0], s1=values[1]))


def test_more_figures_are_held_more_loosely() -> None:
    values = [0.4, 0.5, 0.6]
    assert of_seeds(values, 1, 1) < of_seeds(values, 1, 10) < of_seeds(values, 1, 100)
    assert of_seeds(values, 3, 10) < of_seeds(values, 1, 10)
    assert of_seeds([0.5], 1, 1) == of_seeds([0.5, 0.5], 1, 1) == of_seeds([0.5, math.inf], 1, 1) == 0.0


def rows_of(values: np.ndarray, first: int = 0) -> pd.DataFrame:
    """Class means of networks trained anew, of as many seeds as there are rows and as many sets as there are
    columns."""
    seeds, places = np.indices(values.shape)
    rows = pd.concat([one("pixel_ap", 0.0).assign(category="mean")] * values.size, ignore_index=True)
    return rows.assign(
        seed=first + seeds.flatten(), value=values.flatten(), set=[f"set-{place}" for place in places.flatten()],
        weights=[f"{seed:012x}" for seed in first + seeds.flatten()],
    )  # fmt: skip


def test_one_run_in_a_hundred_fails_that_is_as_good_as_the_baseline() -> None:
    """Three seeds against sixteen, thirty figures that are independent of each other."""
    rng = np.random.default_rng(0)
    failing = []
    for _ in range(100):
        baseline = rng.standard_normal((16, 30))
        tolerances = np.array([of_seeds(list(values), 3, 30) for values in baseline.T])
        runs = rng.standard_normal((100, 3, 30)).mean(1)
        failing.append(((baseline.mean(0) - runs) > tolerances).any(1).mean())
    # Of 10,000 runs on 100 baselines; the mean of the shares is known to about 0.001.
    assert 0.5 * FALSE_ALARMS < np.mean(failing) < 1.4 * FALSE_ALARMS


def test_a_fall_by_three_spreads_is_caught() -> None:
    baseline = 0.5 + 0.02 * np.random.default_rng(0).standard_normal((16, 30))
    spread = baseline[:, 4].std(ddof=1)
    run = np.tile(baseline.mean(0), (3, 1))
    assert not failed(judge(rows_of(run, first=20), rows_of(baseline)))
    run[:, 4] -= 3 * spread
    (row,) = moved(judge(rows_of(run, first=20), rows_of(baseline))).to_dict("records")
    assert (row["verdict"], row["set"]) == ("regression", "set-4")


def test_of_networks_trained_anew_the_class_means_are_held(caplog: pytest.LogCaptureFixture) -> None:
    one_category, mean = one("pixel_ap", 0.5), one("pixel_ap", 0.5).assign(category="mean")
    before, now = pd.concat([one_category, mean]).assign(weights="abc"), pd.concat([one_category, mean])
    now = now.assign(weights="def", value=[0.4, 0.4])
    assert verdicts(now, before) == ["regression", "not held"]
    assert "the baseline holds one seed" in caplog.messages[0]


def test_figures_of_few_images_may_move_by_two_ranks() -> None:
    """Of 12 normal and 12 anomalous images a change of places is worth 1/144 of AUROC."""
    assert of_same_weights("image_auroc", 24, 0.5) == pytest.approx(2 / 144)
    assert of_same_weights("image_auroc", 96, 0.5) == of_same_weights("image_auroc", 24, None) == 0.002
    assert of_same_weights("pixel_ap", 24, 0.5) == of_same_weights("image_ap", 24, 1.0) == 0.002
    table = pd.concat([one("image_auroc", 0.5, 24), one("image_ap_chance", 0.5, 24)]).assign(weights="abc")
    assert moved(judge(table.assign(value=[0.5 - 2 / 144, 0.5]), table)).empty
    assert list(moved(judge(table.assign(value=[0.5 - 3 / 144, 0.5]), table))["verdict"]) == ["changed"]


def test_a_mean_over_categories_may_move_by_their_ranks_over_their_number() -> None:
    """Four categories of 4 and 4 images: two changes of places in one move the mean by 2/16/4."""
    names = ("a", "b", "c", "d", "mean")
    rows = pd.concat(
        [
            one(metric, 0.5, 32 if name == "mean" else 8).assign(category=name, weights="abc")
            for name in names
            for metric in ("image_auroc", "image_ap_chance")
        ],
        ignore_index=True,
    )
    mean = (rows["category"] == "mean") & (rows["metric"] == "image_auroc")
    assert moved(judge(rows.assign(value=rows["value"] - mean * 2 / 16 / 4), rows)).empty
    assert list(moved(judge(rows.assign(value=rows["value"] - mean * 3 / 16 / 4), rows))["verdict"]) == ["changed"]


def test_neighbours_that_change_places_move_no_figure_by_more() -> None:
    """Every ranking of eight images and every pair of neighbours, by the metrics themselves; some move as far."""
    reached = dict.fromkeys(("image_auroc", "image_ap", "image_f1max"), 0.0)
    for positive in range(1, 8):
        for places in combinations(range(8), positive):
            labels = torch.zeros(8, dtype=torch.bool)
            labels[list(places)] = True
            before = ranked(labels)
            for at in range(7):
                swapped = labels.clone()
                swapped[[at, at + 1]] = labels[[at + 1, at]]
                for metric, value in ranked(swapped).items():
                    share = SWAPS * abs(value - before[metric]) / of_same_weights(metric, 8, positive / 8)
                    reached[metric] = max(reached[metric], share)
    assert all(0.5 < share <= 1 + 1e-9 for share in reached.values())


def ranked(labels: torch.Tensor) -> dict[str, float]:
    """Image figures of images that are ranked in this order, the most anomalous first."""
    ranking = Ranking()
    ranking.update(torch.arange(len(labels), 0, -1).float(), labels)
    scores = ranking.compute()
    return {"image_auroc": scores.auroc or 0.0, "image_ap": scores.ap or 0.0, "image_f1max": scores.f1max or 0.0}


@pytest.mark.parametrize(
    ("metric", "aim", "expected"),
    [
        ("pixel_auroc", "pixel", "changed"),
        ("pixel_auroc", "image", "not held"),
        ("image_auroc", "pixel", "not held"),
        ("image_auroc", "image+pixel", "changed"),
        ("psnr", "reconstruction", "changed"),
        ("ssim", "pixel", "not held"),
        ("pixel_auroc", "other", "not held"),
        ("pixel_auroc", "none", "changed"),
        ("pixel_auroc", "", "changed"),
        ("pixel_ap_chance", "other", "regression"),
    ],
)
def test_what_an_attack_does_not_go_for_is_not_held(metric: str, aim: str, expected: str) -> None:
    before, now = (one(metric, value).assign(aim=aim, weights="abc") for value in (0.9, 0.4))
    assert verdicts(now, before) == [expected]
    assert failed(judge(now, before, strict=True))
    assert verdicts(now.assign(value=math.nan), before) == ["regression"]
    assert verdicts(now.assign(n=3), before) == ["other images"]


def test_rows_of_earlier_versions_are_held_as_they_were(tmp_path: Path) -> None:
    """Files without the columns that came later: whatever the attack, within what another training may move."""
    write_rows(tmp_path / "new.csv", fake_rows().assign(aim="other", weights="abc"))
    text = (tmp_path / "new.csv").read_text(encoding="utf-8")
    (tmp_path / "old.csv").write_text(text.replace(",aim,weights", "").replace(",other,abc", ""), encoding="utf-8")
    known = read_rows(tmp_path / "old.csv")
    assert set(known["aim"]) == set(known["weights"]) == {""}
    assert verdicts(known.assign(value=known["value"] - 0.03).head(1), known.head(1)) == ["regression"]
    assert verdicts(known.assign(value=known["value"] - 0.01).head(1), known.head(1)) == []


NASTY = 'a|b\r\n\x00<&">`*_[x](y) \ufffe é'


def mixed() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run and a baseline with every verdict, and a category whose name tries to break out."""
    baseline = fake_rows()
    rows = baseline.copy()
    rows.loc[0, "value"] -= 0.1
    rows.loc[1, "value"] += 0.1
    rows.loc[2, "n"] = 3
    for table in (rows, baseline):
        table.loc[0, "category"] = NASTY
    return rows.drop(index=3), baseline.drop(index=4)


def test_junit_has_a_case_for_every_figure() -> None:
    judged = judge(*mixed())
    text = junit(judged)
    root = ElementTree.fromstring(text)
    cases = root.findall("testsuite/testcase")
    assert root.tag == "testsuites"
    assert int(root.attrib["tests"]) == len(cases) == len(judged) == len(fake_rows())
    assert int(root.attrib["failures"]) == len(root.findall(".//failure")) == 3
    suites = root.findall("testsuite")
    assert [suite.attrib["name"] for suite in suites] == sorted(f"{d}-{p}" for d in DETECTORS for p in PARADIGMS)
    for suite in suites:
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        assert int(suite.attrib["failures"]) == len(suite.findall(".//failure"))
        names = [case.attrib["name"] for case in suite]
        assert len(set(names)) == len(names)
    assert sorted(found.attrib["type"] for found in root.iter("failure")) == ["missing", "other images", "regression"]
    assert sorted((found.text or "").split(":")[0] for found in root.iter("system-out")) == ["improvement", "new"]
    (nasty,) = (case for case in cases if case.find("failure[@type='regression']") is not None)
    assert NASTY.replace("\x00", "\ufffd").replace("\ufffe", "\ufffd") in nasty.attrib["name"]


def test_markdown_says_what_fails_first_and_keeps_its_table() -> None:
    judged = judge(*mixed())
    text = markdown(judged, "base|line.csv")
    assert "check: failed" in text
    assert "regression 1, missing 1, other images 1, improvement 1, new 1; " in text and "base\\|line.csv" in text
    lines = [line for line in text.split("\n") if line.startswith("|")]
    # Bars that are not escaped: as many in each line as in the head.
    bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]
    assert bars[:7] == [bars[0]] * 7 and set(bars[7:]) == {3}
    assert [line.split("|")[1].strip("* ") for line in lines[2:7]] == list(judge(*mixed())["verdict"][:5])
    assert "\r" not in text and "<" not in text and "&lt;&amp;" in text
    assert "| pixel\\_ap | 0.02 |" in lines and "| psnr | 0.5 |" in lines
    same = markdown(judge(fake_rows(), fake_rows()), "b.csv")
    assert "check: passed" in same and "nothing moved" in same and "verdict" not in same


def test_markdown_of_everything_moved_stays_short_and_says_so() -> None:
    rows = fake_rows()
    text = markdown(judge(rows.assign(value=0.0), rows), "b.csv")
    assert f"{len(rows) - SHOWN} more moved" in text
    assert text.count("**regression**") == SHOWN


def test_markdown_tells_means_from_single_seeds() -> None:
    text = markdown(judge(seeds(s3=0.2), seeds(s0=0.49, s1=0.50, s2=0.51)), "b.csv")
    assert "mean of 3 against 0,1,2" in text and "spread over the baseline's seeds" in text
    assert "seed" not in markdown(judge(one("ssim", 0.2), one("ssim", 0.3)), "b.csv")


def test_rows_that_only_their_preset_tells_apart_are_told_apart() -> None:
    rows = pd.concat([one("ssim", 0.2), one("ssim", 0.2).assign(preset="paper")], ignore_index=True)
    text = markdown(judge(rows, rows.assign(value=0.9)), "b.csv")
    assert "| paper |" in text and "| small |" in text


def invoke(*words: object) -> Result:
    return CliRunner().invoke(check, [str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """Of a run folder, what a check reads."""
    (tmp_path / "run").mkdir()
    for name in ("results.csv", "environment.json"):
        shutil.copy(made / name, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("metric", "column", "value", "words"),
    [
        ("pixel_ap", "value", 37.5, "37.5 for pixel_ap of .*; expected a fraction from 0 to 1$"),
        ("pixel_ap", "value", 1e308, "expected a fraction"),
        ("pixel_ap", "low", -5.0, "says -5 for low of pixel_ap"),
        ("pixel_ap", "high", math.inf, "says inf for high of pixel_ap"),
        ("ssim", "value", 2.0, "expected a number from -1 to 1$"),
        ("psnr", "value", 1e4, "expected a number from -1000 to 1000 dB$"),
        ("pixel_ap_chance", "value", 3.0, "expected a fraction from 0 to 1$"),
    ],
)
@pytest.mark.parametrize("side", ["run", "baseline"])
def test_a_value_outside_its_range_is_told_with_the_range(
    tmp_path: Path, metric: str, column: str, value: float, words: str, side: str
) -> None:
    rows = one(metric, 0.5)
    write_rows(tmp_path / "run", rows.assign(**{column: value}) if side == "run" else rows)
    write_rows(tmp_path / "baseline", rows.assign(**{column: value}) if side == "baseline" else rows)
    with pytest.raises(UserError, match=words):
        judge_files([tmp_path / "run"], tmp_path / "baseline")


def test_the_folder_of_a_baseline(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    assert invoke(".", "--baseline", ".").exit_code == 0


def test_the_files_of_a_failed_check_are_written(run: Path, tmp_path: Path) -> None:
    # A file may hold none of the characters that cannot be printed.
    rows, baseline = (table.replace({"category": {NASTY: 'a|b<&">`*_[x](y) é'}}) for table in mixed())
    write_rows(run / "results.csv", rows)
    write_rows(tmp_path / "baseline.csv", baseline)
    outputs = ("--junit", tmp_path / "new/check.xml", "--markdown", tmp_path / "check.md")
    said = invoke(run, "--baseline", tmp_path / "baseline.csv", *outputs)
    assert said.exit_code == 1 and "improvement 1" in said.output
    assert ElementTree.parse(tmp_path / "new/check.xml").getroot().attrib["failures"] == "3"
    assert "improvement" in (tmp_path / "check.md").read_text(encoding="utf-8")
    answer = json.loads(invoke(run, "--baseline", tmp_path / "baseline.csv", "--json").stdout)
    assert (answer["compared"], answer["counts"]["improvement"], answer["moved"][0]["seed"]) == (len(fake_rows()), 1, 0)
    assert not answer["passed"] and answer["moved"][0]["change"] == pytest.approx(-0.1)
    same = invoke(run, "--baseline", run / "results.csv")
    assert same.exit_code == 0 and "nothing moved" in same.output
    worse = fake_rows()
    worse.loc[0, "value"] -= 0.1
    write_rows(run / "results.csv", worse)
    write_rows(tmp_path / "baseline.csv", fake_rows())
    eased = ("--tolerance", "image_auroc=0.2")
    assert [invoke(run, "--baseline", tmp_path / "baseline.csv", *words).exit_code for words in ((), eased)] == [1, 0]
    assert isinstance(invoke(run, "--baseline", tmp_path / "none.csv").exception, UserError)


def test_update_writes_the_rows_and_where_they_come_from(run: Path, tmp_path: Path) -> None:
    file, beside = tmp_path / "base.csv", tmp_path / "base.provenance.json"
    said = invoke(run, "--baseline", file, "--update")
    assert said.exit_code == 0 and f"updated: new {len(fake_rows())}" in said.output and len(said.output) < 300
    assert file.read_bytes() == (run / "results.csv").read_bytes()
    first = json.loads(beside.read_text(encoding="utf-8"))
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert first["sha256"] == sha256(file) and first["replaces"] is None
    assert all(first[name] == environment[name] for name in ("commit", "versions", "command", "seed"))
    assert first["date"] == environment["started"] and first["seeds"] == [0] and first["runs"] == ["abc123"]

    rows = fake_rows()
    rows.loc[0, "value"] -= 0.1
    rows.loc[1, "value"] += 0.1
    write_rows(run / "results.csv", rows)
    report = tmp_path / "check.md"
    said = invoke(run, "--baseline", file, "--update", "--markdown", report)
    assert said.exit_code == 0 and "updated: regression 1, improvement 1" in said.output
    assert "new baseline" in report.read_text(encoding="utf-8")
    second = json.loads(beside.read_text(encoding="utf-8"))
    assert (second["moved"], second["replaces"]) == ("regression 1, improvement 1", first["sha256"])
    assert invoke(run, "--baseline", file).exit_code == 0


def test_a_baseline_changed_by_hand_is_told(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "base.csv"
    invoke(run, "--baseline", file, "--update")
    invoke(run, "--baseline", file)
    assert caplog.messages == []
    file.write_text(file.read_text(encoding="utf-8").replace(",83,", ",83 ,"), encoding="utf-8")
    assert invoke(run, "--baseline", file).exit_code == 0
    assert "does not describe" in caplog.messages[0]


def one_value_less(run: Path) -> None:
    rows = fake_rows()
    rows.loc[0, "value"] = math.nan
    write_rows(run / "results.csv", rows)


def put(text: str) -> Callable[[Path], None]:
    return lambda run: write_text(run / "environment.json", text)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "environment.json").unlink(), "found no"),
        (put("[" * 9999), "cannot read"),
        (put("[]"), "expected a JSON object in"),
        (put("{}"), "does not say 'commit'"),
        (lambda run: write_rows(run / "results.csv", fake_rows().head(0)), "expected defined rows"),
        (lambda run: write_rows(run / "results.csv", fake_rows().assign(value=math.nan)), "expected defined rows"),
        (one_value_less, "draem unified small mvtec_ad bottle clean none none image_auroc is undefined"),
    ],
)
def test_an_update_from_less_than_a_run_is_refused(
    run: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    invoke(run, "--baseline", tmp_path / "base.csv", "--update")
    before = {path: path.read_bytes() for path in tmp_path.glob("base*")}
    spoil(run)
    said = invoke(run, "--baseline", tmp_path / "base.csv", "--update", "--junit", tmp_path / "check.xml")
    assert isinstance(said.exception, UserError)
    assert words in str(said.exception) and "\n" not in str(said.exception)
    assert {path: path.read_bytes() for path in tmp_path.glob("base*")} == before
    assert not (tmp_path / "check.xml").exists()
    if spoil is one_value_less:
        # Undefined from the start it is counted.
        assert invoke(run, "--baseline", tmp_path / "new.csv", "--update").exit_code == 0
        assert json.loads((tmp_path / "new.provenance.json").read_text(encoding="utf-8"))["undefined"] == 1


def test_update_takes_no_seed_no_folder_and_no_file_of_rows(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.csv"
    for words in ((run, "--seed", 0), (run / "results.csv",)):
        assert isinstance(invoke(*words, "--baseline", file, "--update").exception, UserError)
        assert not file.exists()
    assert isinstance(invoke(run, "--baseline", run, "--update").exception, UserError)


def test_one_seed_of_several(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.csv", seeds(s0=0.40, s1=0.50, s2=0.53))
    write_rows(tmp_path / "base.csv", SPREAD)
    assert invoke(tmp_path, "--baseline", tmp_path / "base.csv").exit_code == 0
    assert invoke(tmp_path, "--baseline", tmp_path / "base.csv", "--seed", 1).exit_code == 0
    assert invoke(tmp_path, "--baseline", tmp_path / "base.csv", "--seed", 2).exit_code == 1
    said = invoke(tmp_path, "--baseline", tmp_path / "base.csv", "--seed", 7)
    assert isinstance(said.exception, UserError) and "expected rows of seed 7" in str(said.exception)


def test_the_workflow_of_the_docs_checks_with_options_that_exist(run: Path, tmp_path: Path) -> None:
    docs = Path(__file__).parents[1] / "docs"
    page = "".join((docs / name).read_text(encoding="utf-8") for name in ("robustness.yml", "ci.md"))
    lines = re.findall(r"omnial-bench check (run .+)", page)
    assert len(lines) == 2 and "--junit" in lines[0] and "--markdown" in lines[0] and "--update" in lines[1]
    write_rows(tmp_path / "baseline.csv", fake_rows())
    given = {"run": str(run), "$BASELINE": str(tmp_path / "baseline.csv"), "baseline.csv": str(tmp_path / "b.csv")}
    for line in lines:
        words = [given.get(word, word) for word in shlex.split(line) if word != "$UPDATE"]
        words = [str(tmp_path / word) if word in ("check.xml", "check.md") else word for word in words]
        assert invoke(*words).exit_code == 0
    assert all((tmp_path / name).is_file() for name in ("check.xml", "check.md", "b.provenance.json"))
