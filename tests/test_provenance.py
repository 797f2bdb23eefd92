"""What a run says of itself."""

import sys
from pathlib import Path

import pytest

from omnial_bench import provenance


def test_the_command_line_names_no_place_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "omnial-bench"), "run", "demo", "--data", str(tmp_path / "mvtec")])
    assert provenance.command_line() == "omnial-bench run demo --data mvtec"


def test_code_versions_tell_parts_apart_and_repeat() -> None:
    models, attacks = provenance.code_version("models"), provenance.code_version("attacks")
    assert models != attacks
    assert provenance.code_version("models", "attacks") not in (models, attacks)
    provenance.code_version.cache_clear()
    assert provenance.code_version("models") == models


def test_versions_are_there() -> None:
    assert provenance.versions()["torch"] != "not installed"
    assert provenance.commit()
