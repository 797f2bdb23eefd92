"""The page on detectors from elsewhere: its code runs as it stands, in Python and on the command line."""

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command

from omnial_bench.data.toy.make import draw_toy
from omnial_bench.results import ATTEMPT_COLUMNS, read_rows

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/your-detector.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.usefixtures("one_thread")
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the demo's data and the page's code in gaussian.py, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    draw_toy(tmp_path / "demo-run/data", size=64, train=16, test_good=4, test_defect=2)
    (tmp_path / "gaussian.py").write_text(CODE, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("gaussian", None)


def test_it_is_under_thirty_lines_and_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(CODE.strip().splitlines()) < 30
    runpy.run_path(str(place / "gaussian.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert {"clean", "quick-unattacked", "quick-any", "quick-hide", "quick-fabricate", "quick-noise"} <= set(
        said.split()
    )


def test_the_readme_prints_every_set_once_as_it_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```\n\n```\n.*?```", README, re.DOTALL)
    (printed,) = re.findall(r"```python\n.*?```\n\n```\n(.*?)```", README, re.DOTALL)
    (place / "shown.py").write_text(shown, encoding="utf-8")
    runpy.run_path(str(place / "shown.py"))

    def names(text: str) -> list[str]:
        return [line.split()[0] for line in text.partition("\nstatus\n")[0].splitlines()]

    assert names(capsys.readouterr().out) == names(printed)


def test_the_command_line_does_the_same(place: Path, command: Command) -> None:
    done = command(
        "score --detector gaussian:PixelGaussian --data demo-run/data --category cap --size 64x64 --white-box quick "
        "--limit 4 --out run --device cpu"
    )
    assert done.status == 0, done.err
    rows = read_rows(place / "run")
    assert set(rows["detector"]) == {"pixelgaussian"}
    figures = rows[(rows["category"] == "cap") & (rows["metric"] == "pixel_auroc")].set_index("set")["value"]
    assert figures["quick-any"] < figures["quick-unattacked"]
    assert figures["quick-any"] < figures["quick-noise"]
    assert rows[rows["metric"].isin(["psnr", "ssim"])]["value"].isna().all()
    attempts = pd.read_csv(place / "run/attacks.csv")
    assert list(attempts.columns) == list(ATTEMPT_COLUMNS)
    assert (place / "run/health.csv").is_file()
    assert (place / "run/environment.json").is_file()
    assert command("report run --format md").status == 0
    assert "quick-any" in (place / "run/report.md").read_text(encoding="utf-8")
