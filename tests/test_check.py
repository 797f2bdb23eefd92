"""The regression check: verdicts, means over seeds, JUnit and Markdown, new baselines, the command's exit status."""

import json
import math
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from fake_run import DETECTORS, PARADIGMS, fake_rows, fake_run

from omnial_bench.check import COMPARED, TOLERANCES, compare, failed, judge, parse_tolerances
from omnial_bench.cli.check import check
from omnial_bench.errors import UserError
from omnial_bench.reports.gate import SHOWN, junit, markdown
from omnial_bench.store import sha256, write_rows


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
    assert list(moved.columns) == list(COMPARED)
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


def seeds(metric: str = "pixel_ap", **values: float | None) -> pd.DataFrame:
    """One figure of several seeds: `seeds(s0=0.5, s1=0.6)`."""
    tables = []
    for name, value in values.items():
        table = one(metric, value)
        table["seed"] = int(name[1:])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


SPREAD = seeds(s0=0.40, s1=0.50, s2=0.60)
"""Mean 0.5, spread 0.1: two standard errors against three seeds are 0.2 sqrt(2/3) = 0.1633, against one 0.2309."""


def test_means_over_seeds_are_compared_with_two_standard_errors() -> None:
    (row,) = judge(seeds(s0=0.34, s1=0.44, s2=0.24), SPREAD).to_dict("records")
    assert row["tolerance"] == pytest.approx(0.2 * math.sqrt(2 / 3))
    assert (row["baseline"], row["value"]) == (pytest.approx(0.5), pytest.approx(0.34))
    assert row["verdict"] == "unmoved" and pd.isna(row["seed"])
    assert (row["baseline_seeds"], row["seeds"]) == ("0,1,2", "0,1,2")
    assert verdicts(seeds(s0=0.33, s1=0.43, s2=0.23), SPREAD) == ["regression"]
    assert verdicts(seeds(s7=0.67, s8=0.77, s9=0.57), SPREAD) == ["improvement"]
    assert verdicts(seeds(s7=0.66, s8=0.76, s9=0.56), SPREAD) == []
    assert verdicts(seeds(s7=0.30, s8=0.40, s9=0.20), SPREAD, pixel_ap=0.25) == []


def test_a_small_spread_leaves_the_tolerance_of_the_metric() -> None:
    (row,) = judge(seeds(s0=0.5, s1=0.49), seeds(s0=0.5, s1=0.5)).to_dict("records")
    assert row["tolerance"] == 0.02


def test_a_run_does_not_widen_its_own_tolerance() -> None:
    steady = seeds(s0=0.89, s1=0.90, s2=0.91)
    assert verdicts(seeds(s0=0.9, s1=0.9, s2=0.3), steady) == ["regression"]


def test_another_seed_is_compared_by_the_spread_of_the_baseline_where_that_is_known() -> None:
    (row,) = judge(seeds(s3=0.3), SPREAD).to_dict("records")
    assert row["tolerance"] == pytest.approx(0.2 * math.sqrt(4 / 3)) and row["verdict"] == "unmoved"
    assert verdicts(seeds(s3=0.26), SPREAD) == ["regression"]
    assert verdicts(seeds(s3=0.5), seeds(s0=0.5)) == ["missing", "new"]
    assert verdicts(SPREAD, seeds(s9=0.5)) == ["missing", "new", "new", "new"]


def test_a_seed_of_both_sides_is_compared_with_itself() -> None:
    assert verdicts(seeds(s0=0.37), SPREAD) == ["regression", "missing", "missing"]
    assert verdicts(SPREAD, seeds(s1=0.5)) == ["new", "new"]


def test_seeds_that_are_undefined_or_of_other_pictures() -> None:
    whole, part = seeds(s0=0.5, s1=0.5, s2=0.5), seeds(s0=0.5, s1=None, s2=0.5)
    assert verdicts(part, whole) == ["regression"]
    assert verdicts(whole, part) == ["improvement"]
    assert verdicts(part, part) == []
    assert verdicts(seeds(s0=0.3, s1=0.3, s2=0.3), part) == ["regression"]
    other = whole.copy()
    other.loc[1, "n"] = 40
    assert verdicts(other, whole) == ["other pictures"]


def test_infinite_figures_that_stay_are_unmoved() -> None:
    assert verdicts(one("psnr", math.inf), one("psnr", math.inf)) == []
    assert verdicts(one("psnr", 30.0), one("psnr", math.inf)) == ["regression"]


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
    assert sorted(found.attrib["type"] for found in root.iter("failure")) == ["missing", "other pictures", "regression"]
    assert sorted((found.text or "").split(":")[0] for found in root.iter("system-out")) == ["improvement", "new"]
    (nasty,) = (case for case in cases if case.find("failure[@type='regression']") is not None)
    assert NASTY.replace("\x00", "\ufffd").replace("\ufffe", "\ufffd") in nasty.attrib["name"]


def test_markdown_says_what_fails_first_and_keeps_its_table() -> None:
    judged = judge(*mixed())
    text = markdown(judged, TOLERANCES, "base|line.csv")
    assert "check: failed" in text
    assert "regression 1, missing 1, other pictures 1, improvement 1, new 1; " in text and "base\\|line.csv" in text
    lines = [line for line in text.split("\n") if line.startswith("|")]
    # Bars that are not escaped: as many in each line as in the head.
    bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]
    assert bars[:7] == [bars[0]] * 7 and set(bars[7:]) == {3}
    assert [line.split("|")[1].strip("* ") for line in lines[2:7]] == list(judge(*mixed())["verdict"][:5])
    assert "\r" not in text and "<" not in text and "&lt;&amp;" in text
    assert "| pixel\\_ap | 0.02 |" in lines and "| psnr | 0.5 |" in lines
    same = markdown(judge(fake_rows(), fake_rows()), TOLERANCES, "b.csv")
    assert "check: passed" in same and "nothing moved" in same and "verdict" not in same


def test_markdown_of_everything_moved_stays_short_and_says_so() -> None:
    rows = fake_rows()
    text = markdown(judge(rows.assign(value=0.0), rows), TOLERANCES, "b.csv")
    assert f"{len(rows) - SHOWN} more moved" in text
    assert text.count("**regression**") == SHOWN


def test_markdown_tells_means_from_single_seeds() -> None:
    text = markdown(judge(seeds(s3=0.2), SPREAD), TOLERANCES, "b.csv")
    assert "mean of 3 against 0,1,2" in text and "two standard errors" in text
    assert "seed" not in markdown(judge(one("ssim", 0.2), one("ssim", 0.3)), TOLERANCES, "b.csv")


def test_rows_that_only_their_preset_tells_apart_are_told_apart() -> None:
    rows = pd.concat([one("ssim", 0.2), one("ssim", 0.2).assign(preset="paper")], ignore_index=True)
    text = markdown(judge(rows, rows.assign(value=0.9)), TOLERANCES, "b.csv")
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


@pytest.mark.parametrize(("value", "side"), [(37.5, "run"), (1e308, "run"), (-5.0, "baseline")])
def test_a_percentage_is_no_improvement(run: Path, tmp_path: Path, value: float, side: str) -> None:
    rows = fake_rows()
    write_rows(tmp_path / "baseline.csv", rows)
    rows.loc[rows.index[rows["metric"] == "pixel_ap"][0], "value"] = value
    write_rows(run / "results.csv" if side == "run" else tmp_path / "baseline.csv", rows)
    said = invoke(run, "--baseline", tmp_path / "baseline.csv")
    assert isinstance(said.exception, UserError) and "expected a fraction" in str(said.exception)


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


def no_environment(run: Path) -> None:
    (run / "environment.json").unlink()


def broken_environment(run: Path) -> None:
    (run / "environment.json").write_text("[" * 9999, encoding="utf-8")


def listed_environment(run: Path) -> None:
    (run / "environment.json").write_text("[]", encoding="utf-8")


def silent_environment(run: Path) -> None:
    (run / "environment.json").write_text("{}", encoding="utf-8")


def no_rows(run: Path) -> None:
    write_rows(run / "results.csv", fake_rows().head(0))


def no_values(run: Path) -> None:
    write_rows(run / "results.csv", fake_rows().assign(value=math.nan))


def one_value_less(run: Path) -> None:
    rows = fake_rows()
    rows.loc[0, "value"] = math.nan
    write_rows(run / "results.csv", rows)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_environment, "found no"),
        (broken_environment, "cannot read"),
        (listed_environment, "expected a table, got list"),
        (silent_environment, "does not say 'commit'"),
        (no_rows, "expected defined rows"),
        (no_values, "expected defined rows"),
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


def test_a_figure_undefined_from_the_start_is_counted(run: Path, tmp_path: Path) -> None:
    one_value_less(run)
    assert invoke(run, "--baseline", tmp_path / "base.csv", "--update").exit_code == 0
    assert json.loads((tmp_path / "base.provenance.json").read_text(encoding="utf-8"))["undefined"] == 1
    assert invoke(run, "--baseline", tmp_path / "base.csv", "--update").exit_code == 0


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
