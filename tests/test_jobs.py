"""Tasks in this process and side by side: order, values, errors, news."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_text
from omnial_bench.pipeline.executor import PRELOAD
from omnial_bench.pipeline.task_cache import read_note, write_note
from omnial_bench.processes import THREADS, Each, crew, threads_of
from omnial_bench.progress import Progress, Watch

News = list[tuple[str, int, int, str]]


def make(base: int) -> dict[str, int]:
    return {"base": base, "process": os.getpid()}


def add(shared: dict[str, int], task: int, watch: Watch) -> int:
    progress = watch(f"add {task}")
    if progress is not None:
        for done in (1, 2):
            progress(done, 2, f"note {done}")
    return shared["base"] + task


def where(shared: dict[str, int], *_: object) -> tuple[int, int]:
    return shared["process"], torch.get_num_threads()


def refuse(_: dict[str, int], task: int, __: Watch) -> int:
    if task == 2:
        raise UserError("expected 1, got 2; try 1")
    return task


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def listener(news: News) -> Callable[[str], Progress]:
    return lambda name: lambda done, total, note: news.append((name, done, total, note))


NEWS: News = []


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with modules that leave a trace when they are imported, under names that all processes import."""
    folder = tmp_path_factory.mktemp("trapped")
    for name in ("signal", "multiprocessing", "json"):
        write_text(folder / f"{name}.py", f"open({str(folder / 'imported')!r}, 'w').close()\n")
    return folder


@pytest.fixture(scope="module")
def two(trapped: Path) -> Iterator[Each]:
    """Two processes for all tests that lose none, begun in `trapped`; what they tell is in NEWS."""
    before = os.environ.get("PYTHONSAFEPATH")
    with crew(make, (10,), 2, listener(NEWS)) as each:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(trapped)
            # A process is begun with its first task.
            each(where, [0, 1])
        yield each
    assert os.environ.get("PYTHONSAFEPATH") == before


def folder_of(*_: object) -> Path:
    return Path.cwd()


def test_processes_that_are_begun_import_nothing_from_the_working_folder(two: Each, trapped: Path) -> None:
    assert two(folder_of, [0, 1]) == [trapped, trapped]
    assert not (trapped / "imported").exists()


def seen(*_: object) -> tuple[str | None, bool, bool]:
    return os.environ.get("OMNIAL_BENCH_CACHE"), torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()


def test_processes_have_the_environment_of_their_parent_and_a_gpu_that_nobody_has_touched(
    two: Each, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever server they are copies of: that of the other tests was begun under another environment. A worker's
    mistake is the caller's, and its death is one line."""
    assert two(seen, [0])[0][1:] == (False, False)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", "another")
    with pytest.raises(UserError, match="worker process died"), crew(make, (0,), 2, lambda _: None) as each:
        assert each(seen, [0, 1]) == [("another", False, False)] * 2
        with pytest.raises(UserError, match=r"^expected 1, got 2; try 1$"):
            each(refuse, [1, 2, 3])
        each(die, [1, 2, 3])


def test_what_is_imported_ahead_asks_for_no_gpu_and_leaves_one_thread() -> None:
    code = "import torch\ndef fail(*_): raise SystemExit('a GPU was asked for')\n"
    code += "torch.cuda._lazy_init = torch._C._cuda_getDeviceCount = torch.cuda.is_available = fail\n"
    code += "".join(f"import {name}\n" for name in (*PRELOAD, "omnial_bench.models.training"))
    code += "import threading; raise SystemExit(threading.active_count() - 1)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_two_processes_equal_one_and_tell_their_progress(two: Each) -> None:
    NEWS.clear()
    tasks = list(range(8))
    assert two(add, tasks) == [10 + task for task in tasks]
    found = two(where, tasks)
    assert {threads for _, threads in found} == {THREADS}
    assert os.getpid() not in {process for process, _ in found}
    # News travel beside the values.
    limit = time.monotonic() + 60
    while len(NEWS) < 2 * len(tasks) and time.monotonic() < limit:
        time.sleep(0.01)
    assert sorted(NEWS) == [(f"add {n}", done, 2, f"note {done}") for n in tasks for done in (1, 2)]


def after(_: dict[str, int], task: tuple[str, str, tuple[str, ...]], __: Watch) -> float:
    """Leave a file, once those of the tasks that come before are there."""
    folder, name, others = task
    assert all((Path(folder) / other).exists() for other in others)
    time.sleep(0.05)
    (Path(folder) / name).touch()
    return time.monotonic()


def test_a_task_begins_when_what_it_needs_is_done(tmp_path: Path, two: Each) -> None:
    names = {"a": (), "b": (), "c": ("a", "b"), "d": ("a",), "e": ("c", "d")}
    tasks = [(str(tmp_path), name, others) for name, others in names.items()]
    needs = [{list(names).index(other) for other in others} for others in names.values()]
    ends = dict(zip(names, two(after, tasks, needs), strict=True))
    assert all(ends[name] > ends[other] for name, others in names.items() for other in others)


def test_threads_do_not_depend_on_how_many_processes_there_are() -> None:
    assert threads_of(1) == torch.get_num_threads()
    assert threads_of(2) == threads_of(8) == THREADS


def test_a_note_comes_back_as_it_was_or_is_damaged(tmp_path: Path) -> None:
    write_note(tmp_path, "score", "key", {"rows": [0.1, None]})
    assert read_note(tmp_path, "score") == {"rows": [0.1, None], "key": "key"} and read_note(tmp_path, "set") is None
    path = tmp_path / "score.json"
    for text in ("", '{"key": "key"', "[]", "null", '{"key": "key"}', path.read_text().replace("0.1", "0.2")):
        write_text(path, text)
        with pytest.raises(UserError, match=r"score\.json is damaged"):
            read_note(tmp_path, "score")


ORPHANS = """
import os, time
from pathlib import Path
from omnial_bench.processes import crew

def wait(shared, task, watch):
    Path(f"worker-{task}").write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(120)

if __name__ == "__main__":
    with crew(dict, (), 2, lambda name: None) as each:
        each(wait, [1, 2])
"""


def runs(process: int) -> bool:
    """Whether a process is there and is more than an entry that nobody has read."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_parent_takes_its_workers_along(tmp_path: Path) -> None:
    (tmp_path / "orphans.py").write_text(ORPHANS)
    limit, notes = time.monotonic() + 60, [tmp_path / "worker-1", tmp_path / "worker-2"]
    with subprocess.Popen([sys.executable, "orphans.py"], cwd=tmp_path) as parent:
        try:
            while not all(note.is_file() and note.read_text() for note in notes) and time.monotonic() < limit:
                time.sleep(0.05)
        finally:
            parent.kill()
    # With them the server that they are copies of, where there is one.
    workers = {int(word) for note in notes for word in note.read_text().split()}
    while any(map(runs, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(runs, workers))
