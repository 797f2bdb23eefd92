"""A baseline of another protocol is refused with what differs; several runs make one baseline."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_run import fake_rows, fake_run

from omnial_bench.cli.check import check
from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_json, write_text
from omnial_bench.reports.protocol import protocol_of
from omnial_bench.results import read_rows, write_rows

ATTEMPT = "suite,set,attack,objective,goal,norm,eps,where,steps,restarts,options\n"
WHITE_BOX = ATTEMPT + "quick,quick-any,pgd,balanced,any,linf,8/255,frame,10,1,decay\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("original"))


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


def invoke(*words: object) -> Result:
    return CliRunner().invoke(check, [str(word) for word in words])


def environment(run: Path, **changes: Any) -> None:
    path = run / "environment.json"
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **changes})


def set_changed(run: Path) -> None:
    path = next(run.glob("sets/pgd-8/manifest.json"))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["threat"]["steps"] = 99
    write_json(path, manifest)


def attack_changed(run: Path) -> None:
    write_text(run / "attacks.csv", WHITE_BOX.replace(",10,1,", ",50,1,"))


def other_images(run: Path) -> None:
    environment(run, dataset={"name": "mvtec_ad", "fingerprint": "f" * 64})


def other_precision(run: Path) -> None:
    environment(run, precision="bf16-mixed")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_changed, "threats pgd-8 steps 10, now 99"),
        (attack_changed, "threats quick-any steps 10, now 50"),
        (other_images, "dataset fingerprint"),
        (other_precision, "precision 32-true, now bf16-mixed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_baseline_of_another_protocol_is_refused_with_what_differs(
    run: Path, tmp_path: Path, change: Any, words: str
) -> None:
    environment(run, precision="32-true", dataset={"name": "mvtec_ad", "fingerprint": "0" * 64})
    file = tmp_path / "base.csv"
    assert invoke(run, "--baseline", file, "--update").exit_code == 0
    assert invoke(run, "--baseline", file).exit_code == 0
    before = file.read_bytes()
    change(run)
    refused = invoke(run, "--baseline", file)
    assert isinstance(refused.exception, UserError) and words in str(refused.exception)
    assert "\n" not in str(refused.exception) and file.read_bytes() == before
    # A file of rows alone, and a baseline without provenance, tell no protocol.
    assert invoke(run / "results.csv", "--baseline", file).exit_code == 0
    assert invoke(run, "--baseline", file, "--update").exit_code == 0
    assert invoke(run, "--baseline", file).exit_code == 0


def test_a_protocol_is_read_from_what_a_run_leaves(run: Path) -> None:
    protocol = protocol_of(run)
    assert protocol["threats"]["quick-any"] == {
        "attack": "pgd", "objective": "balanced", "goal": "any", "norm": "linf", "eps": "8/255", "where": "frame",
        "steps": "10", "restarts": "1", "options": "decay",
    }  # fmt: skip
    assert protocol["threats"]["pgd-8"]["attack"] == "pgd"
    assert protocol_of(run / "results.csv") == {}


def test_sets_of_one_side_alone_are_no_other_protocol(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.csv"
    assert invoke(run, "--baseline", file, "--update").exit_code == 0
    (run / "attacks.csv").unlink()
    assert invoke(run, "--baseline", file).exit_code == 0


def without(path: Path, *keys: str) -> None:
    table = json.loads(path.read_text(encoding="utf-8"))
    inner = table
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    write_json(path, table)


@pytest.mark.parametrize(
    ("file", "keys", "words"),
    [
        ("environment.json", ("precision",), "the precision"),
        ("environment.json", ("dataset",), "the name of the data set; the fingerprint of the data set"),
        ("environment.json", ("dataset", "fingerprint"), "the fingerprint of the data set"),
        ("sets/pgd-8/manifest.json", ("threat", "steps"), "steps of pgd-8"),
        ("sets/pgd-8/manifest.json", ("threat",), "attack of pgd-8; objective of pgd-8; goal of pgd-8 (and 6 more)"),
        ("attacks.csv", (), "restarts of quick-any"),
    ],
)
def test_what_a_file_does_not_tell_is_said_in_one_line(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, keys: tuple[str, ...], words: str
) -> None:
    environment(run, precision="32-true", dataset={"name": "mvtec_ad", "fingerprint": "0" * 64})
    base = tmp_path / "base.csv"
    assert invoke(run, "--baseline", base, "--update").exit_code == 0
    assert invoke(run, "--baseline", base).exit_code == 0
    assert not [record for record in caplog.records if "does not tell" in record.message]
    if keys:
        without(run / file, *keys)
    else:
        write_text(run / file, WHITE_BOX.replace("restarts,", "").replace(",10,1,", ",10,"))
    assert invoke(run, "--baseline", base).exit_code == 0
    (said,) = [record.message for record in caplog.records]
    assert said == f"{run} does not tell {words}, which is not compared with a baseline or a run"


def test_a_provenance_that_does_not_tell_is_said_in_one_line(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment(run, precision="32-true", dataset={"name": "mvtec_ad", "fingerprint": "0" * 64})
    base = tmp_path / "base.csv"
    assert invoke(run, "--baseline", base, "--update").exit_code == 0
    without(tmp_path / "base.provenance.json", "protocol")
    assert invoke(run, "--baseline", base).exit_code == 0
    (said,) = [record.message for record in caplog.records]
    assert "base.provenance.json does not tell the name of the data set; " in said and "\n" not in said


def test_several_runs_are_seeds_of_one_baseline(run: Path, tmp_path: Path) -> None:
    runs, file = [], tmp_path / "base.csv"
    for seed, shift in enumerate((0.0, 0.02, 0.01)):
        folder = tmp_path / f"run-{seed}"
        shutil.copytree(run, folder)
        rows = fake_rows().assign(seed=seed)
        rows.loc[~rows["metric"].str.endswith("_chance"), "value"] -= shift
        write_rows(folder / "results.csv", rows)
        runs.append(folder)
    assert invoke(*runs, "--baseline", file, "--update").exit_code == 0
    assert set(read_rows(file)["seed"]) == {0, 1, 2}
    passed = invoke(runs[1], "--baseline", file)
    assert passed.exit_code == 0 and "passed" in passed.output
    assert isinstance(invoke(runs[0], runs[0], "--baseline", file).exception, UserError)
    other_precision(runs[2])
    refused = invoke(*runs, "--baseline", tmp_path / "other.csv", "--update")
    assert isinstance(refused.exception, UserError) and not (tmp_path / "other.csv").exists()
