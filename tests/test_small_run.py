"""A run of seconds: its models compared on the same images, and its report from a copy without weights and sets."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tiny_study

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
