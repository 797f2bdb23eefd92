"""No text of a CSV file is a formula to a spreadsheet, and whoever reads the file has the same text."""

import csv
import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from fake_run import fake_attempts, fake_campaign
from hypothesis import given
from hypothesis import strategies as st

from omnial_bench.errors import is_printable
from omnial_bench.evaluation.examples import Example, write_index
from omnial_bench.io.csv import csv_text, escape, unescape
from omnial_bench.io.whole import write_text
from omnial_bench.models.gradient import LOG, write_log
from omnial_bench.reports import document
from omnial_bench.reports.baseline import judge_files
from omnial_bench.reports.document import write_report
from omnial_bench.reports.example_images import Examples
from omnial_bench.reports.origins import read_attempts, read_health
from omnial_bench.results import read_rows, read_texts, write_rows

BEGINNINGS = "=+-@\t\r"
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
TEXTS = st.text() | st.text("'=+-@\t\r0.5e", max_size=6) | st.floats(allow_nan=False).map(repr)
LINES = TEXTS.filter(is_printable)
STRANGE = {"bottle": "=SUM(A1)", "draem": "+cmd|' /C calc'!A0", "pgd-8": "@pgd", "unattacked": "'-none"}
"""What is renamed in a drawn run: a category, a detector, two sets."""


def harmless(text: str) -> bool:
    return not text.startswith(tuple(BEGINNINGS)) or re.fullmatch(NUMBER, text, re.ASCII | re.IGNORECASE) is not None


@given(text=TEXTS)
def test_a_text_is_harmless_and_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text
    assert harmless(escape(text))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=SUM(A1)", "'=SUM(A1)"), ("'=SUM(A1)", "''=SUM(A1)"), ("''@x", "'''@x"), ("'s", "'s"), ("'", "'"), ("", ""),
        ("-0.5", "-0.5"), ("+1e-05", "+1e-05"), ("'-0.5", "''-0.5"), ("-0.5 -0.4", "'-0.5 -0.4"), ("-", "'-"),
        ("-inf", "'-inf"), ("a=b", "a=b"), ("\tx", "'\tx"),
    ],
)  # fmt: skip
def test_cells(text: str, cell: str) -> None:
    assert (escape(text), unescape(cell)) == (cell, text)


@given(cells=st.lists(st.tuples(LINES, LINES), min_size=1), name=LINES)
def test_a_table_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], name: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "cells.csv"
    names = ["=first", f"second {name}"]
    write_text(file, csv_text(pd.DataFrame(cells, columns=names)))
    table = read_texts(file, names)
    assert table is not None and list(table.itertuples(index=False, name=None)) == cells


def test_numbers_and_what_is_undefined_stay() -> None:
    table = pd.DataFrame(
        {"a": [-0.5, float("nan")], "b": [-3, 4], "c": pd.Series([-1, None], dtype="object"), "d": ["-", None]}
    )
    assert csv_text(table) == "a,b,c,d\n-0.5,-3,-1,'-\n,4,,\n"


def cells_of(folder: Path) -> dict[str, list[str]]:
    """Every cell of every CSV file below a folder."""
    return {
        path.relative_to(folder).as_posix(): [
            cell for line in csv.reader(io.StringIO(path.read_text(encoding="utf-8"))) for cell in line
        ]
        for path in sorted(folder.rglob("*.csv"))
    }


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn run whose names begin like formulas, written by what writes them in a run."""
    root = tmp_path_factory.mktemp("strange")
    run = fake_campaign(root / "run", size=(16, 16))
    rows = read_rows(run)
    for column in ("category", "detector", "set", "source"):
        rows[column] = rows[column].replace(STRANGE)
    write_rows(run / "results.csv", rows)
    for name in ("attacks", "health"):
        table = pd.read_csv(run / f"{name}.csv", dtype=str, keep_default_na=False)
        if name == "attacks":
            table["losses"] = "-0.5 -0.25"
        write_text(run / f"{name}.csv", csv_text(table.replace(STRANGE)))
    index = pd.read_csv(run / "examples" / "index.csv", dtype=str, keep_default_na=False)
    shown = index.replace(STRANGE).replace({"model": {"draem-unified": "+cmd-unified"}})
    write_index(run, (Example(**row) for row in shown.to_dict("records")))
    write_log(run / "models" / "draem-unified", [{"iteration": 1, "loss": -0.5, "=SUM(A1)": -0.5}])
    return run


def test_no_cell_that_is_written_begins_a_formula(strange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "save", lambda *_: None)
    write_report(strange, ["md"])
    files = cells_of(strange)
    assert {"results.csv", "attacks.csv", "health.csv", "examples/index.csv", f"models/draem-unified/{LOG}"} < set(
        files
    )
    assert sum(name.startswith("tables/") for name in files) > 5
    wrong = [(name, cell) for name, cells in files.items() for cell in cells if not harmless(cell)]
    assert wrong == []
    tables = {cell for name, cells in files.items() if name.startswith("tables/") for cell in cells}
    assert "'=SUM(A1)" in tables


def test_what_is_read_back_is_what_was_written(strange: Path) -> None:
    rows = read_rows(strange)
    assert set(STRANGE.values()) <= {*rows["category"], *rows["detector"], *rows["set"]}
    attempts = read_attempts(strange)
    assert STRANGE["bottle"] in set(attempts["category"]) and set(attempts["losses"]) == {"-0.5 -0.25"}
    assert STRANGE["draem"] in set(read_health(strange)["detector"])
    assert {STRANGE["bottle"], "=SUM(A1)"} <= set(Examples(strange / "examples").index["category"])
    assert fake_attempts().columns.tolist() == attempts.columns.drop("size").tolist()


def test_a_run_of_such_names_equals_a_baseline_of_them(strange: Path, tmp_path: Path, command: Command) -> None:
    """One that this version writes, and one that an earlier one wrote, without apostrophes."""
    shutil.copy(strange / "results.csv", tmp_path / "now.csv")
    read_rows(strange).to_csv(tmp_path / "before.csv", index=False)
    assert set(judge_files([strange], tmp_path / "now.csv")["verdict"]) == {"unmoved"}
    judged = judge_files([strange], tmp_path / "before.csv")
    # An apostrophe that an earlier version wrote as it was is one too few.
    assert set(judged.loc[judged["verdict"] != "unmoved", "set"]) == {"'-none", "-none"}
    assert "=SUM(A1)" in set(judged.loc[judged["verdict"] == "unmoved", "category"])
    assert command(f"check {strange} --baseline {tmp_path}/n.csv --update").status == 0
    assert (tmp_path / "n.csv").read_bytes() == (strange / "results.csv").read_bytes()
