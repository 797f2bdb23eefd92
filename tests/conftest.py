"""What several test files share: one thread, a small data set drawn once, a narrow detector and a short suite."""

import io
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from omnial_bench.cli.main import main
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.io.whole import write_text

RECORD = """
detector = "draem"
title = "Mini"
source = "none"
family = "thicket"
[presets.tiny]
size = [32, 32]
training = { epochs = 9, max_iterations = 2, batch = 2 }
options = { width = 4, loc_width = 4, pooling = 5 }
[presets.endless]
size = [32, 32]
training = { epochs = 1e9, batch = 2 }
options = { width = 4, loc_width = 4, pooling = 5 }
[presets.wide]
size = [32, 64]
training = { epochs = 9, max_iterations = 2, batch = 2 }
options = { width = 4, loc_width = 4, pooling = 5 }
[presets.odd]
size = [40, 40]
[presets.wrong]
size = [32, 32]
options = { wdth = 4 }
"""
SUITE = """
name = "two"
title = "Control and one attack"
limit = 3
anomalous = 0.6
[[threats]]
name = "unattacked"
eps = "0"
[[threats]]
name = "pgd-8"
eps = "8/255"
steps = 2
"""

PLAN = """
name = "mini"
title = "Mini"
dataset = "toy"
categories = ["cap"]
detectors = ["mini.toml"]
preset = "tiny"
suites = ["two.toml"]
"""

# Several processes share the cores. OMP_NUM_THREADS=2 runs all that does not set it itself with two threads.
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))
# Of several processes none is to work alone at the end: a process takes a file at a time, these first.
LONGEST = ("test_gate.py", "test_crash.py", "test_ray.py", "test_runner.py", "test_leftovers.py", "test_spread.py")
# No test cuts the power, and a run waits hundreds of times until the disk has written.
os.fsync = lambda _: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


class Said(NamedTuple):
    status: int
    out: str
    err: str


Command = Callable[[str], Said]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Gives a line to the command, as a user does."""

    def call(line: str) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["omnial-bench", *line.split()])
        with pytest.raises(SystemExit) as caught:
            main()
        heard = capsys.readouterr()
        return Said(int(caught.value.code or 0), heard.out, heard.err)

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pack(files: dict[str, bytes], mode: str = "w", **changes: object) -> bytes:
    """A tar file; `changes` are attributes given to every member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a test decodes is kept in a folder of its own, outside what it looks at."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch with one thread in all of a file, its fixtures too: another number may give other bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded data set in 32x32, a category five normals, and two and one of each defect to test; not changed."""
    data = tmp_path_factory.mktemp("toy") / "data"
    draw_toy(data, size=32, train=5, test_good=2, test_defect=1)
    return data


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory, toy_data: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for one test file: `data`, the record `mini.toml`, `two.toml` and `plan.toml`, a cache; one thread."""
    request.getfixturevalue("one_thread")
    root = tmp_path_factory.mktemp("mini")
    shutil.copytree(toy_data, root / "data")
    for name, text in (("mini", RECORD), ("two", SUITE), ("plan", PLAN)):
        write_text(root / f"{name}.toml", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIAL_BENCH_CACHE", str(root / "cache"))
        yield root
