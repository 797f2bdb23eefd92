"""`check` as a command: what it reads, writes and refuses; baselines that are renewed, or of another protocol."""

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
from fake_run import fake_rows, fake_run

from omnial_bench.cli.check import check
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256, write_json, write_text
from omnial_bench.results import read_rows, write_rows

ATTEMPT = "suite,set,attack,objective,goal,norm,eps,where,steps,restarts,options\n"
WHITE_BOX = ATTEMPT + "quick,quick-any,pgd,balanced,any,linf,8/255,frame,10,1,decay\n"
DATASET = "the name of the data set; the fingerprint of the data set"
MANIFEST = "sets/pgd-8/manifest.json"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("original"), size=(8, 8))


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """Of a run folder, what a check reads."""
    folder = tmp_path / "run"
    for path in (original / "results.csv", original / "environment.json", *original.glob("sets/*/manifest.json")):
        target = folder / path.relative_to(original)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    write_text(folder / "attacks.csv", WHITE_BOX)
    return folder


@pytest.fixture
def base(run: Path, tmp_path: Path) -> Path:
    """A baseline of that run."""
    assert invoke(run, "--baseline", tmp_path / "base.csv", "--update").exit_code == 0
    return tmp_path / "base.csv"


def invoke(*words: object) -> Result:
    return CliRunner().invoke(check, [str(word) for word in words])


def refusal(*words: object) -> str:
    """The one line that a command ends in."""
    error = invoke(*words).exception
    assert isinstance(error, UserError) and "\n" not in str(error)
    return str(error)


def change(path: Path, *keys: str, to: object = None) -> None:
    """Another value under the keys of a JSON file, or none; in a table, another text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return write_text(path, text.replace(keys[0], str(to)))
    table = inner = json.loads(text)
    *path_to, last = keys
    for key in path_to:
        inner = inner[key]
    inner.pop(last)
    inner |= {} if to is None else {last: to}
    return write_json(path, table)


def provenance(baseline: Path) -> dict:
    return json.loads(baseline.with_suffix(".provenance.json").read_text(encoding="utf-8"))


def altered(**values: float) -> pd.DataFrame:
    """Rows of which the first ones have other values."""
    rows = fake_rows()
    for row, value in values.items():
        rows.loc[int(row[1:]), "value"] += value
    return rows


def test_files_and_folders_are_compared_and_the_exit_status_says_how_it_went(run: Path, tmp_path: Path) -> None:
    for baseline in (run, run / "results.csv"):
        same = invoke(run, "--baseline", baseline)
        assert same.exit_code == 0 and "nothing moved" in same.output
    baseline, junit, markdown = (tmp_path / name for name in ("baseline.csv", "new/check.xml", "check.md"))
    write_rows(baseline, fake_rows())
    # A file may hold none of the characters that cannot be printed.
    rows = altered(r0=-0.1, r1=0.1).replace({"category": {"grid": 'a|b<&">`*_[x](y) é'}})
    write_rows(run / "results.csv", rows)
    write_rows(baseline, fake_rows().assign(category=rows["category"]))
    said = invoke(run, "--baseline", baseline, "--junit", junit, "--markdown", markdown)
    assert said.exit_code == 1 and "improvement 1" in said.output
    assert ElementTree.parse(junit).getroot().attrib["failures"] == "1"
    assert "improvement" in markdown.read_text(encoding="utf-8")
    answer = json.loads(invoke(run, "--baseline", baseline, "--json").stdout)
    assert (answer["compared"], answer["counts"]["improvement"], answer["moved"][0]["seed"]) == (len(rows), 1, 0)
    assert not answer["passed"] and answer["moved"][0]["change"] == pytest.approx(-0.1)
    assert invoke(run, "--baseline", baseline, "--tolerance", "image_auroc=0.2").exit_code == 0
    assert "none.csv" in refusal(run, "--baseline", tmp_path / "none.csv")


def test_update_writes_the_rows_and_where_they_come_from(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.csv"
    said = invoke(run, "--baseline", file, "--update")
    assert said.exit_code == 0 and f"updated: new {len(fake_rows())}" in said.output and len(said.output) < 300
    assert file.read_bytes() == (run / "results.csv").read_bytes()
    first, environment = provenance(file), json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert first["sha256"] == sha256(file) and first["replaces"] is None
    assert all(first[name] == environment[name] for name in ("commit", "versions", "command", "seed"))
    assert first["date"] == environment["started"] and first["seeds"] == [0] and first["runs"] == ["abc123"]

    write_rows(run / "results.csv", altered(r0=-0.1, r1=0.1))
    report = tmp_path / "check.md"
    said = invoke(run, "--baseline", file, "--update", "--markdown", report)
    assert said.exit_code == 0 and "updated: regression 1, improvement 1" in said.output
    assert "new baseline" in report.read_text(encoding="utf-8")
    second = provenance(file)
    assert (second["moved"], second["replaces"]) == ("regression 1, improvement 1", first["sha256"])
    assert invoke(run, "--baseline", file).exit_code == 0


def test_a_baseline_changed_by_hand_is_told(run: Path, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert invoke(run, "--baseline", base).exit_code == 0 and caplog.messages == []
    change(base, ",83,", to=",83 ,")
    assert invoke(run, "--baseline", base).exit_code == 0 and "does not describe" in caplog.messages[0]


def one_value_less(run: Path) -> None:
    write_rows(run / "results.csv", altered(r0=math.nan))


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
    run: Path, base: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.glob("base*")}
    spoil(run)
    assert words in refusal(run, "--baseline", base, "--update", "--junit", tmp_path / "check.xml")
    assert {path: path.read_bytes() for path in tmp_path.glob("base*")} == before
    assert not (tmp_path / "check.xml").exists()
    if spoil is one_value_less:
        # Undefined from the start it is counted.
        assert invoke(run, "--baseline", tmp_path / "new.csv", "--update").exit_code == 0
        assert provenance(tmp_path / "new.csv")["undefined"] == 1


def test_update_takes_no_seed_no_folder_and_no_file_of_rows(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.csv"
    for words in ((run, "--seed", 0), (run / "results.csv",)):
        refusal(*words, "--baseline", file, "--update")
        assert not file.exists()
    refusal(run, "--baseline", run, "--update")


def test_one_seed_of_several(tmp_path: Path) -> None:
    row = fake_rows().query("metric == 'pixel_ap'").head(1)
    for name, values in (("results.csv", (0.40, 0.50, 0.53)), ("base.csv", (0.40, 0.50, 0.60))):
        table = [row.assign(seed=seed, value=value) for seed, value in enumerate(values)]
        write_rows(tmp_path / name, pd.concat(table, ignore_index=True))
    words = (tmp_path, "--baseline", tmp_path / "base.csv")
    for seed, status in (((), 0), (("--seed", 1), 0), (("--seed", 2), 1)):
        assert invoke(*words, *seed).exit_code == status
    assert "expected rows of seed 7" in refusal(*words, "--seed", 7)


def test_the_workflow_of_the_docs_checks_with_options_that_exist(run: Path, tmp_path: Path) -> None:
    docs = Path(__file__).parents[1] / "docs"
    page = "".join((docs / name).read_text(encoding="utf-8") for name in ("robustness.yml", "ci.md"))
    lines = re.findall(r"omnial-bench check (run .+)", page)
    assert len(lines) == 2 and "--junit" in lines[0] and "--markdown" in lines[0] and "--update" in lines[1]
    write_rows(tmp_path / "baseline.csv", fake_rows())
    given = {"run": str(run), "$BASELINE": str(tmp_path / "baseline.csv"), "baseline.csv": str(tmp_path / "b.csv")}
    given |= {name: str(tmp_path / name) for name in ("check.xml", "check.md")}
    for line in lines:
        assert invoke(*(given.get(word, word) for word in shlex.split(line) if word != "$UPDATE")).exit_code == 0
    assert all((tmp_path / name).is_file() for name in ("check.xml", "check.md", "b.provenance.json"))


@pytest.mark.parametrize(
    ("file", "keys", "value", "words"),
    [
        (MANIFEST, ("threat", "steps"), 99, "threats pgd-8 steps 10, now 99"),
        ("attacks.csv", (",10,1,",), ",50,1,", "threats quick-any steps 10, now 50"),
        ("environment.json", ("dataset", "fingerprint"), "0" * 64, "dataset fingerprint"),
        ("environment.json", ("precision",), "bf16-mixed", "precision 32-true, now bf16-mixed"),
    ],
)
def test_a_baseline_of_another_protocol_is_refused_with_what_differs(
    run: Path, base: Path, file: str, keys: tuple[str, ...], value: object, words: str
) -> None:
    before = base.read_bytes()
    change(run / file, *keys, to=value)
    assert words in refusal(run, "--baseline", base) and base.read_bytes() == before
    # A file of rows alone, and a baseline without provenance, tell no protocol.
    assert invoke(run / "results.csv", "--baseline", base).exit_code == 0
    assert invoke(run, "--baseline", base, "--update").exit_code == 0
    assert invoke(run, "--baseline", base).exit_code == 0


def test_sets_of_one_side_alone_are_no_other_protocol(run: Path, base: Path) -> None:
    (run / "attacks.csv").unlink()
    assert invoke(run, "--baseline", base).exit_code == 0


@pytest.mark.parametrize(
    ("file", "keys", "words"),
    [
        ("environment.json", ("precision",), "the precision"),
        ("environment.json", ("dataset",), DATASET),
        ("environment.json", ("dataset", "fingerprint"), "the fingerprint of the data set"),
        (MANIFEST, ("threat", "steps"), "steps of pgd-8"),
        (MANIFEST, ("threat",), "attack of pgd-8; objective of pgd-8; goal of pgd-8 (and 6 more)"),
        ("attacks.csv", ("restarts",), "restarts of quick-any"),
        (
            "../base.provenance.json",
            ("protocol",),
            "the name of the data set; the fingerprint of the data set; the precision",
        ),
    ],
)
def test_what_a_file_does_not_tell_is_said_in_one_line(
    run: Path, base: Path, caplog: pytest.LogCaptureFixture, file: str, keys: tuple[str, ...], words: str
) -> None:
    assert invoke(run, "--baseline", base).exit_code == 0 and caplog.messages == []
    change(run / file, *keys)
    assert invoke(run, "--baseline", base).exit_code == 0
    (said,) = caplog.messages
    teller = base.with_suffix(".provenance.json") if "base" in file else run
    assert said == f"{teller} does not tell {words}, which is not compared with a baseline or a run"


def test_several_runs_are_seeds_of_one_baseline(run: Path, tmp_path: Path) -> None:
    runs, file = [tmp_path / f"run-{seed}" for seed in range(3)], tmp_path / "base.csv"
    for seed, (folder, shift) in enumerate(zip(runs, (0.0, 0.02, 0.01), strict=True)):
        shutil.copytree(run, folder)
        rows = fake_rows().assign(seed=seed)
        rows.loc[~rows["metric"].str.endswith("_chance"), "value"] -= shift
        write_rows(folder / "results.csv", rows)
    assert invoke(*runs, "--baseline", file, "--update").exit_code == 0
    assert set(read_rows(file)["seed"]) == {0, 1, 2}
    passed = invoke(runs[1], "--baseline", file)
    assert passed.exit_code == 0 and "passed" in passed.output
    refusal(runs[0], runs[0], "--baseline", file)
    change(runs[2] / "environment.json", "precision", to="bf16-mixed")
    refusal(*runs, "--baseline", tmp_path / "other.csv", "--update")
    assert not (tmp_path / "other.csv").exists()
