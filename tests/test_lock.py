"""One process at a time in a folder, and folders that nobody works in any more."""

import fcntl
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest

from omnial_bench.errors import UserError
from omnial_bench.io import lock
from omnial_bench.io.lock import abandoned, claimed, locked, occupied, shared, taken, waited_for

HOLD = """
import sys
from pathlib import Path
from omnial_bench.io.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_leaves_the_lock_however_it_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError) as caught, locked(tmp_path):
            pass
        assert re.search(rf"in use by process {holder.pid} on \S+ since \S+; expected one run", str(caught.value))
        holder.kill()
    with locked(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / lock.NAME).read_text()
    with locked(tmp_path):
        pass


def test_the_file_goes_with_its_holder_and_one_of_a_killed_holder_with_the_next(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        assert (tmp_path / lock.NAME).is_file()
        raise KeyError
    assert not list(tmp_path.iterdir())
    (tmp_path / lock.NAME).write_text("process 1 on elsewhere\n")
    with locked(tmp_path), pytest.raises(UserError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
        pass
    (tmp_path / lock.NAME).write_text("process 1 on elsewhere, and a longer line\n" * 9)
    with locked(tmp_path):
        words = (tmp_path / lock.NAME).read_text()
        assert words.startswith(f" process {os.getpid()} on ") and words.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    """Who comes after that has one of his own, which stays when the first one goes."""
    path = tmp_path / "a.lock"
    with taken(path):
        path.unlink()
        with taken(path, busy=lambda: UserError("busy")), ExitStack() as third:
            theirs = path.stat()
            with pytest.raises(UserError, match="busy"):
                third.enter_context(taken(path, busy=lambda: UserError("busy")))
            assert os.path.samestat(theirs, path.stat())
    with taken(path):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


@pytest.mark.parametrize("waits", [True, False])
def test_one_alone_has_a_lock_whose_file_comes_and_goes(tmp_path: Path, waits: bool) -> None:
    inside, most = [], []

    def work(_: int) -> int:
        for turn in range(1, 10_000):
            try:
                with waited_for(tmp_path / "a.lock") if waits else locked(tmp_path):
                    inside.append(1)
                    # Another thread's turn, which a lock that holds lets pass.
                    time.sleep(0)
                    most.append(len(inside))
                    inside.pop()
                    if not waits or turn == 50:
                        return turn
            except UserError:
                continue
        raise AssertionError("never got the lock")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert set(most) == {1} and len(most) == (8 * 50 if waits else 8)
    assert not list(tmp_path.iterdir())


def test_a_claimed_folder_is_not_abandoned(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert abandoned(folder)
    with claimed(folder):
        assert not abandoned(folder)
    assert abandoned(folder)
    assert not abandoned(tmp_path / "nowhere")
    assert not list(folder.iterdir())


def test_one_at_a_time_in_a_run_and_in_its_folders(tmp_path: Path) -> None:
    inner = tmp_path / "models" / "one"
    inner.mkdir(parents=True)
    with locked(tmp_path):
        for folder in (tmp_path, tmp_path / "models", inner):
            with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on"), claimed(folder, alone=True):
                pass
        with claimed(inner):
            pass
    with claimed(inner, alone=True), pytest.raises(UserError, match="in use by another"), claimed(inner, alone=True):
        pass
    with claimed(tmp_path, alone=True), pytest.raises(UserError, match="in use by another"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_runs_in_folders_beside_each_other_begin_at_once(tmp_path: Path) -> None:
    """In a folder where a run once was: those who look for it do not take each other for it."""
    with locked(tmp_path):
        pass
    for name in "abcd":
        (tmp_path / name).mkdir()

    def begin(name: str) -> None:
        for _ in range(200):
            with locked(tmp_path / name):
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, "abcd"))


def test_a_lock_file_of_another_program_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "inner" / "er").mkdir(parents=True)
    os.mkfifo(tmp_path / "inner" / lock.NAME)
    with claimed(tmp_path / "inner" / "er", alone=True):
        pass
    (tmp_path / lock.NAME).write_text("theirs")
    with (tmp_path / lock.NAME).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with claimed(tmp_path / "inner", alone=True):
            pass


def test_a_file_system_without_locks_is_a_warning(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(38, "Function not implemented")))
    with locked(tmp_path):
        assert not abandoned(tmp_path)
    assert "see to it that one run at a time uses the folder" in caplog.text
    with shared(tmp_path):
        assert not abandoned(tmp_path) and not occupied(tmp_path)
    assert not list(tmp_path.iterdir())


def test_several_share_a_folder_and_what_a_killed_one_left_goes_with_the_next_look(tmp_path: Path) -> None:
    with shared(tmp_path), shared(tmp_path):
        assert occupied(tmp_path) and not abandoned(tmp_path) and len(list(tmp_path.iterdir())) == 2
        with pytest.raises(UserError, match="in use by another"), claimed(tmp_path, alone=True):
            pass
    assert not occupied(tmp_path) and not list(tmp_path.iterdir())
    (tmp_path / ".0123abcd.lock").touch()
    (tmp_path / "theirs.lock").touch()
    assert abandoned(tmp_path) and [path.name for path in tmp_path.iterdir()] == ["theirs.lock"]
