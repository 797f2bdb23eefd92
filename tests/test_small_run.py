"""A run of seconds: its models compared on the same images, and its report from a copy without weights and sets."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tiny_study

from omnial_bench.pipeline.run_plan import REPORT_INPUTS
from omnial_bench.reports.document import write_report

README = Path(__file__).parents[1] / "reports" / "README.md"
ROWS = ("results.csv", "differences.csv")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with a whole run in `run`, its report too; the working folder of these tests."""
    request.getfixturevalue("one_thread")
    root = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("OMNIAL_BENCH_CACHE", str(root / "cache"))
        tiny_study.prepare(root)
        tiny_study.study("run", document=True)
        yield root


def test_differences_are_those_of_the_rows(small: Path) -> None:
    rows, table = (pd.read_csv(small / "run" / name) for name in ROWS)
    assert set(zip(table["set"], table["metric"], strict=True)) == {
        *(("clean", metric) for metric in ("image_auroc", "pixel_auroc", "pixel_ap")),
        ("spot-any", "pixel_auroc"), ("spot-any", "pixel_ap"),
    }  # fmt: skip
    assert set(table["category"]) == {"cap", "mean"}
    values = rows.set_index(["paradigm", "set", "source", "category", "metric"])["value"]
    for row in table.itertuples():
        key = (row.set, row.source, row.category, row.metric)
        mine, other = values[(row.paradigm, *key)], values[(row.other_paradigm, *key)]
        assert (row.paradigm, row.other_paradigm) == ("unified", "separate") and row.difference == mine - other


def test_a_run_that_goes_on_gives_the_same_bytes(small: Path) -> None:
    shutil.copytree(small / "run", small / "again")
    before = [(small / "again" / name).read_bytes() for name in ROWS]
    (small / "again" / ".tasks" / "score-mini-separate-cap-clean.json").unlink()
    (small / "again" / "differences.csv").unlink()
    tiny_study.study("again")
    assert [(small / "again" / name).read_bytes() for name in ROWS] == before


def test_a_copy_without_weights_sets_and_notes_makes_the_same_report(small: Path) -> None:
    """The copy that reports/README.md tells how to make: every file that a report reads, and none besides."""
    (command,) = re.findall(r"```\n(mkdir COPY .*)\n```", README.read_text(encoding="utf-8"))
    subprocess.run(["bash", "-c", f"set -e; {command.replace('COPY', 'copy').replace('RUN', 'run')}"], check=True)
    run, copy = small / "run", small / "copy"
    copied = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()}
    wanted = {path.relative_to(run) for pattern in REPORT_INPUTS for path in run.glob(pattern) if path.is_file()}
    assert copied == wanted and {"differences.csv", "health.csv"} <= {path.name for path in copied}
    assert not [path for path in copied if path.suffix == ".safetensors" or path.match("sets/*/*/**/*.png")]
    write_report(copy)
    made = {path.relative_to(copy) for path in copy.rglob("*") if path.is_file()} - copied
    assert len(made) > 20 and {Path(f"report.{name}") for name in ("md", "pdf", "html")} < made
    assert [path for path in made if (run / path).read_bytes() != (copy / path).read_bytes()] == []


def test_without_the_kept_images_all_but_their_figures_is_the_same(small: Path) -> None:
    """What is committed of data whose images may not be: a report on it says which figures it leaves out."""
    run, bare = small / "run", small / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("examples", "figures", "tables", "report.*"))
    left_out: list[str] = []
    write_report(bare, ("md",), tell=left_out.append)
    lost = {path.name for path in (run / "figures").iterdir()} - {path.name for path in (bare / "figures").iterdir()}
    assert lost and all(name.startswith(("images_", "synthesis_")) for name in lost)
    assert len([line for line in left_out if "examples/" in line]) == 4
    for table in (run / "tables").iterdir():
        assert (bare / "tables" / table.name).read_bytes() == table.read_bytes()
