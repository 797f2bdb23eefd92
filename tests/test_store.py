"""Files whole or not there, and rows that come back to the bit."""

import errno
import json
import math
import os
import resource
import stat
from pathlib import Path

import pandas as pd
import pytest
from fake_run import fake_rows

from omnial_bench.errors import UserError
from omnial_bench.io import whole as files
from omnial_bench.io.whole import check_folder, make_folder, whole
from omnial_bench.results import COLUMNS, frame, read_rows, size_of, write_rows


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "one\n")
    files.write_text(path, "two\n")
    assert path.read_bytes() == b"two\n"
    assert names(path.parent) == ["a.txt"]


def test_an_interrupt_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "one")

    def interrupted() -> None:
        with whole(path) as aside:
            aside.write_text("tw")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "one"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_names_the_file_and_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "one")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match=r"a\.txt") as caught:
            files.write_text(path, "x" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_text() == "one"
    assert names(tmp_path) == ["a.txt"]


def test_a_private_file_put_aside_becomes_an_ordinary_one(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with whole(tmp_path / "a") as aside:
        aside.unlink()
        os.close(os.open(aside, os.O_CREAT | os.O_WRONLY, 0o600))
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "ordinary")]
    assert modes[0] == modes[1]


def test_json_has_no_nan_and_one_order(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": [None, 0.1]})
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["a", "b"]
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "b.json", math.nan)
    assert names(tmp_path) == ["a.json"]


def test_files_of_earlier_versions_have_no_intervals_and_do_not_say_what_attacked(tmp_path: Path) -> None:
    intervals, told = ["low", "high"], ["attack", "norm", "eps", "goal"]
    write_rows(tmp_path / "results.csv", fake_rows())
    table = pd.read_csv(tmp_path / "results.csv", dtype=str, keep_default_na=False)
    assert list(table.columns[-4:]) == told and set(table["eps"]) == {"", "4/255", "8/255"}
    table.drop(columns=[*intervals, *told]).to_csv(tmp_path / "results.csv", index=False)
    rows = read_rows(tmp_path)
    assert list(rows.columns) == list(COLUMNS) and rows[intervals].isna().all(axis=None)
    assert set(rows[told].to_numpy().ravel()) == {""}
    table.assign(low="about 0.4").to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(UserError, match="no number") as caught:
        read_rows(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("eps", ["8/0", "-1/255", "1e-99999999", "8 / 255", "eight", "1/255/2", "inf"])
def test_an_eps_that_is_no_size_is_refused(tmp_path: Path, eps: str) -> None:
    write_rows(tmp_path / "results.csv", fake_rows().assign(eps=eps))
    with pytest.raises(UserError, match="expected an eps such as 8/255"):
        read_rows(tmp_path)
    assert [size_of(text) for text in ("8/255", "0.25", "3")] == [8 / 255, 0.25, 3]


@pytest.mark.parametrize("inside", ["file/run", "file", "file/deep/er"])
def test_a_folder_that_cannot_be_is_told_before_and_after(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("kept")
    for function in (check_folder, make_folder):
        with pytest.raises(UserError, match="cannot write to") as caught:
            function(tmp_path / inside)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, who may do everything.
    monkeypatch.setattr(os, "access", lambda *_: False)
    for function in (check_folder, make_folder):
        with pytest.raises(UserError, match="permission denied"):
            function(tmp_path)


def test_rows_come_back_to_the_bit(tmp_path: Path) -> None:
    rows = fake_rows()
    rows.loc[0, "value"] = math.nan
    rows.loc[1, "value"] = 1 / 3
    rows.loc[1, ["low", "high"]] = 1 / 7, 2 / 3
    rows.loc[2, "category"] = 'with, comma and "quotes"'
    write_rows(tmp_path / "results.csv", rows)
    again = read_rows(tmp_path)
    assert list(again.columns) == list(COLUMNS)
    assert (again.dtypes == frame([]).dtypes).all()
    assert again.equals(rows)
    first = (tmp_path / "results.csv").read_text().splitlines()[1]
    assert ",,83," in first, "an undefined value is an empty cell"
    write_rows(tmp_path / "again.csv", again)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "results.csv").read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no results"),
        ("", "cannot read"),
        ("a,b\n1,2\n", "lacks the column 'detector'"),
        (",".join(COLUMNS) + "\n" + ",".join("x" for _ in COLUMNS) + "\n", "no number"),
        (",".join(COLUMNS) + "\n" + ",".join("1" for _ in COLUMNS) + '\n1,2\n"', "results.csv"),
        ("\udcff", "cannot read"),
    ],
)
def test_what_is_no_table_of_rows_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "results.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as caught:
        read_rows(tmp_path)
    assert words in str(caught.value)


def test_what_is_damaged_is_kept_under_another_name_once(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "file").write_text(content)
        assert files.set_aside(tmp_path / "file") == tmp_path / "file.damaged"
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / content).touch()
        files.set_aside(tmp_path / "set")
    assert (tmp_path / "file.damaged").read_text() == "two"
    assert names(tmp_path / "set.damaged") == ["two"]
    assert sorted(names(tmp_path)) == ["file.damaged", "set.damaged"]
    (tmp_path / "set").touch()
    files.set_aside(tmp_path / "set")
    assert (tmp_path / "set.damaged").is_file()


def test_a_folder_without_sync_is_no_error_and_a_full_disk_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("")

    def refuse(number: int) -> None:
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(number, os.strerror(number))))

    refuse(errno.EINVAL)
    files.sync_folder(tmp_path)
    refuse(errno.ENOSPC)
    for work, path in ((files.sync_folder, tmp_path), (files.sync_tree, tmp_path / "a")):
        with pytest.raises(OSError, match="No space left") as caught:
            work(tmp_path)
        assert caught.value.filename == str(path)
