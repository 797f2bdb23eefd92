"""The recipe for a detector by fit in CONTRIBUTING.md: its code, record and commands run as they stand."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnial_bench.cli.main import cli
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.io.whole import write_text
from omnial_bench.results import read_rows

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPE = PAGE.partition("### A detector by fit\n")[2].partition("\n### ")[0]

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_under_twenty_lines_and_runs_from_fit_to_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, record, shell = re.findall(r"^```\w*\n(.*?)^```$", RECIPE, re.DOTALL | re.MULTILINE)
    assert len(code.strip().splitlines()) < 20
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    draw_toy(tmp_path / "demo-run/data", size=64, train=8, test_good=2, test_defect=1)
    write_text(tmp_path / "places.py", code)
    write_text(tmp_path / "places.toml", record)
    setting, *commands = shell.strip().splitlines()
    assert setting == "export PYTHONPATH=."
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "places", raising=False)
    for line in commands:
        program, *words = shlex.split(line)
        done = CliRunner().invoke(cli, [*words, "--device", "cpu"])
        assert program == "omnial-bench" and done.exit_code == 0, done.exception
    monkeypatch.delitem(sys.modules, "places")
    rows = read_rows(tmp_path / "scored")
    means = rows[(rows["category"] == "mean") & (rows["metric"] == "pixel_auroc")].set_index("set")["value"]
    assert set(rows["detector"]) == {"places"} and rows["value"].notna().any()
    assert means["quick-any"] < means["quick-noise"] - 0.01 and means["quick-any"] < means["quick-unattacked"] - 0.01
