"""The regression check: verdicts, means over seeds, JUnit and Markdown."""

import math
import re
from functools import cache
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from fake_run import DETECTORS, PARADIGMS, fake_rows

from omnial_bench.errors import UserError
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
    return pd.concat(
        [one(metric, value).assign(seed=int(name[1:])) for name, value in values.items()], ignore_index=True
    )


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
    known = one("pixel_ap", 0.5).assign(weights="abc")
    unknown, before = (one("latency", value).assign(weights="abc") for value in (31.0, 30.0))
    rows, baseline = (pd.concat([known, each], ignore_index=True) for each in (unknown, before))
    write_rows(tmp_path / "rows.csv", rows)
    write_rows(tmp_path / "baseline.csv", baseline)
    judged = judge_files([tmp_path / "rows.csv"], tmp_path / "baseline.csv")
    found = moved(judged)
    assert (list(found["metric"]), list(found["verdict"])) == (["latency"], ["not held"]) and not failed(judged)
    assert caplog.messages == [
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


def test_rows_that_are_missing_or_new_in_any_order() -> None:
    rows = fake_rows()
    changed = moved(judge(rows.iloc[5:], rows.iloc[:-3]))
    assert list(changed.columns) == list(COMPARED)
    assert changed["verdict"].value_counts().to_dict() == {"missing": 5, "new": 3}
    assert failed(changed) and not failed(changed[changed["verdict"] == "new"])
    assert moved(judge(rows.sample(frac=1, random_state=0), rows)).empty


def test_an_empty_baseline_and_a_row_twice_are_refused() -> None:
    rows = fake_rows()
    with pytest.raises(UserError, match="baseline"):
        moved(judge(rows, rows.head(0)))
    with pytest.raises(UserError, match="twice"):
        moved(judge(pd.concat([rows, rows.head(1)]), rows))


def test_means_over_seeds_are_compared_by_the_spread_of_the_baseline() -> None:
    for rows, value, share in ((seeds(s0=0.34, s1=0.44, s2=0.24), 0.34, 2 / 3), (seeds(s3=0.3), 0.3, 4 / 3)):
        (row,) = judge(rows, SPREAD).to_dict("records")
        assert row["tolerance"] == pytest.approx(T2 * 0.1 * math.sqrt(share), rel=1e-5)
        assert (row["baseline"], row["value"]) == (pytest.approx(0.5), pytest.approx(value))
        assert row["verdict"] == "unmoved" and pd.isna(row["seed"])
        assert (row["baseline_seeds"], row["seeds"]) == ("0,1,2", ",".join(map(str, rows["seed"])))
    close = seeds(s0=0.49, s1=0.50, s2=0.51)
    assert verdicts(seeds(s0=0.44, s1=0.44, s2=0.44), close) == ["regression"]
    assert verdicts(seeds(s0=0.45, s1=0.45, s2=0.45), close) == []
    assert verdicts(seeds(s7=0.56, s8=0.56, s9=0.56), close) == ["improvement"]
    assert verdicts(seeds(s7=0.30, s8=0.40, s9=0.20), close, pixel_ap=0.25) == []


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


def test_of_networks_trained_anew_the_class_means_are_held(caplog: pytest.LogCaptureFixture) -> None:
    before = pd.concat([one("pixel_ap", 0.5), one("pixel_ap", 0.5).assign(category="mean")]).assign(weights="abc")
    assert verdicts(before.assign(weights="def", value=0.4), before) == ["regression", "not held"]
    assert "the baseline holds one seed" in caplog.messages[0]


def test_figures_of_few_images_may_move_by_two_ranks() -> None:
    """Of 12 normal and 12 anomalous images a change of places is worth 1/144 of AUROC."""
    assert of_same_weights("image_auroc", 24, 0.5) == pytest.approx(2 / 144)
    assert of_same_weights("image_auroc", 96, 0.5) == of_same_weights("image_auroc", 24, None) == 0.002
    assert of_same_weights("pixel_ap", 24, 0.5) == of_same_weights("image_ap", 24, 1.0) == 0.002
    table = pd.concat([one("image_auroc", 0.5, 24), one("image_ap_chance", 0.5, 24)]).assign(weights="abc")
    for places, expected in ((2, []), (3, ["changed"])):
        assert verdicts(table.assign(value=[0.5 - places / 144, 0.5]), table) == expected


def test_a_mean_over_categories_may_move_by_their_ranks_over_their_number() -> None:
    """Four categories of 4 and 4 images: two changes of places in one move the mean by 2/16/4."""
    figures = [(c, metric, 8) for c in "abcd" for metric in ("image_auroc", "image_ap_chance")]
    figures += [("mean", "image_auroc", 32), ("mean", "image_ap_chance", 32)]
    parts = [one(metric, 0.5, n).assign(category=category, weights="abc") for category, metric, n in figures]
    rows = pd.concat(parts, ignore_index=True)
    mean = (rows["category"] == "mean") & (rows["metric"] == "image_auroc")
    for places, expected in ((2, []), (3, ["changed"])):
        assert verdicts(rows.assign(value=rows["value"] - mean * places / 16 / 4), rows) == expected


@cache
def ranked(*anomalous: bool) -> dict[str, float]:
    """Image figures of images that are ranked in this order, the most anomalous first."""
    ranking = Ranking()
    ranking.update(torch.arange(len(anomalous), 0, -1).float(), torch.tensor(anomalous))
    scores = ranking.compute()
    return {"image_auroc": scores.auroc or 0.0, "image_ap": scores.ap or 0.0, "image_f1max": scores.f1max or 0.0}


def test_neighbours_that_change_places_move_no_figure_by_more() -> None:
    """Every ranking of eight images and every pair of neighbours, by the metrics themselves; some move as far."""
    reached = dict.fromkeys(("image_auroc", "image_ap", "image_f1max"), 0.0)
    for labels in product((False, True), repeat=8):
        if not 0 < sum(labels) < 8:
            continue
        for at in range(7):
            swapped = ranked(*labels[:at], labels[at + 1], labels[at], *labels[at + 2 :])
            for metric, value in ranked(*labels).items():
                share = SWAPS * abs(swapped[metric] - value) / of_same_weights(metric, 8, sum(labels) / 8)
                reached[metric] = max(reached[metric], share)
    assert all(0.5 < share <= 1 + 1e-9 for share in reached.values())


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
    fake_rows().head(1).drop(columns=["aim", "weights"]).to_csv(tmp_path / "old.csv", index=False)
    known = read_rows(tmp_path / "old.csv")
    assert set(known["aim"]) == set(known["weights"]) == {""}
    for fall, expected in ((0.03, ["regression"]), (0.01, [])):
        assert verdicts(known.assign(value=known["value"] - fall), known) == expected


NASTY = 'a|b\r\n\x00<&">`*_[x](y) \ufffe é'


def mixed() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run and a baseline with every verdict, and a category whose name tries to break out."""
    baseline = fake_rows()
    baseline.loc[0, "category"] = NASTY
    rows = baseline.copy()
    rows.loc[[0, 1], "value"] += [-0.1, 0.1]
    rows.loc[2, "n"] = 3
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


def test_markdown_tells_means_from_single_seeds_and_presets_apart() -> None:
    text = markdown(judge(seeds(s3=0.2), seeds(s0=0.49, s1=0.50, s2=0.51)), "b.csv")
    assert "mean of 3 against 0,1,2" in text and "spread over the baseline's seeds" in text
    rows = pd.concat([one("ssim", 0.2), one("ssim", 0.2).assign(preset="paper")], ignore_index=True)
    text = markdown(judge(rows, rows.assign(value=0.9)), "b.csv")
    assert "| paper |" in text and "| small |" in text and "seed" not in text


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
def test_a_value_outside_its_range_is_told_with_the_range(
    tmp_path: Path, metric: str, column: str, value: float, words: str
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    write_rows(right, one(metric, 0.5))
    write_rows(wrong, one(metric, 0.5).assign(**{column: value}))
    for rows, baseline in ((wrong, right), (right, wrong)):
        with pytest.raises(UserError, match=words):
            judge_files([rows], baseline)
