"""What a run says of itself."""

import shutil
import sys
from pathlib import Path

import pytest

from omnial_bench import provenance
from omnial_bench.pipeline.tasks import BUILDING_CODE, EVALUATION_CODE, SCORING_CODE, TRAINING_CODE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", str(Path.cwd() / "mvtec")], "--data mvtec"),
        (["--mirror", "sftp://me:sec@ret@host/run"], "--mirror sftp://host/run"),
        (["--mirror=s3://key:pass@bucket/run"], "--mirror=s3://bucket/run"),
    ],
)
def test_the_command_line_names_no_place_of_the_machine_and_no_password(
    monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path.cwd() / "omnial-bench"), "run", "demo", *words])
    assert provenance.command_line() == f"omnial-bench run demo {said}"


def test_a_change_counts_in_every_task_that_reaches_it_and_in_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "omnial_bench"
    shutil.copytree(Path(provenance.__file__).parent, package)
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))

    def versions() -> list[str]:
        provenance.code_version.cache_clear()
        provenance.imported_by.cache_clear()
        return [
            provenance.code_version(*starts) for starts in (TRAINING_CODE, BUILDING_CODE, SCORING_CODE, EVALUATION_CODE)
        ]

    def changed_by(path: str) -> list[bool]:
        before = versions()
        with (package / path).open("a") as file:
            file.write("\n# Changed.\n")
        return [one != other for one, other in zip(before, versions(), strict=True)]

    assert changed_by("data/decode.py") == [True, True, True, True]
    assert changed_by("models/draem.py") == [True, True, True, True]
    assert changed_by("models/training.py") == [True, False, False, False]
    assert changed_by("synthesis/jnld.py")[0]
    assert changed_by("attacks/pgd.py") == [False, True, False, True]
    assert changed_by("metrics/regions.py") == [False, False, True, True]
    assert changed_by("evaluation/worst.py") == [False, False, False, True]
    assert changed_by("reports/table.py") == [False, False, False, False]
    assert changed_by("errors.py") == [False, False, False, False]


def test_versions_are_there() -> None:
    assert provenance.versions()["torch"] != "not installed"
    assert provenance.commit()
