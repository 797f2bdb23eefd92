"""Freed memory is kept in processes of our own, and a user's process stays as it was."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from omnial_bench.memory import keep_freed_memory
from omnial_bench.processes import crew

GLIBC = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
MAPPED = """
import ctypes


class Usage(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_int) for name in names.split()]


def hands_back():
    library = ctypes.CDLL(None)
    library.mallinfo.restype, library.malloc.restype = Usage, ctypes.c_void_p
    library.malloc.argtypes, library.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    before = library.mallinfo().hblks
    # Never written to, so it takes no memory; a mapping of its own goes back to the system as soon as it is freed.
    block = library.malloc(2**28)
    mapped = library.mallinfo().hblks - before
    library.free(block)
    return bool(mapped)
"""
USER = """
from pathlib import Path

import torch

import omnial_bench as ob
from omnial_bench.data.toy.make import draw_toy


class Bright(torch.nn.Module):
    def forward(self, images):
        return images.mean(1)


draw_toy(Path("data"), size=32, train=40, test_good=4, test_defect=2)
before = hands_back()
rows = ob.benchmark(Bright(), Path("data"), size=(32, 32), limit=2, categories=["cap"], suite="quick", device="cpu")
print(before, len(rows) > 0, hands_back())
"""
COMMAND = """
import sys

from omnial_bench.cli.main import main

sys.argv = ["omnial-bench", "--help"]
try:
    main()
except SystemExit:
    print(hands_back())
"""


def said(script: str, folder: Path) -> list[str]:
    """The words of the last line that a process of its own prints."""
    (folder / "script.py").write_text(MAPPED + script, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_kept_where_glibc_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep_freed_memory() is GLIBC
    for answer in (lambda _: None, lambda _: "musl 1.2", int):
        monkeypatch.setattr(os, "confstr", answer)
        assert keep_freed_memory.__wrapped__() is False


def test_taken_again_without_new_pages() -> None:
    resource = pytest.importorskip("resource")
    if not keep_freed_memory():
        return
    for _ in range(10):
        torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)
    # Each is 16,384 pages of 4 KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2_000


def test_a_users_process_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    before, scored, after = said(USER, tmp_path) if GLIBC else ("True", "True", "True")
    assert (before, scored, after) == ("True", "True", "True")


def test_the_command_line_and_workers_keep_it(tmp_path: Path) -> None:
    if not GLIBC:
        return
    assert said(COMMAND, tmp_path) == ["False"]
    with crew(dict, (), 2, lambda _: None) as each:
        assert each(_in_worker, [0, 1]) == [False, False]


def _in_worker(*_: object) -> bool:
    scope: dict[str, object] = {"ctypes": ctypes}
    exec(MAPPED, scope)
    return scope["hands_back"]()  # type: ignore[operator, no-any-return]
