"""A plan that runs in seconds, and a process that runs it again and again in children which it may kill.

`python tiny_study.py` reads one order a line as JSON, forks a child for it, and answers with the child's exit status.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from omnial_bench.config.load import read_plan
from omnial_bench.data.cache import cache_folder
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.io.whole import beside, write_text
from omnial_bench.models import gradient
from omnial_bench.models.draem import DRAEM, Options
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.run_plan import run
from omnial_bench.reports.document import write_report

RECORD = """
detector = "tiny_study:small"
title = "Mini"
source = "none"
[presets.tiny]
size = [32, 32]
training = { epochs = 50, max_iterations = 3, batch = 2, lr = 1e-3 }
"""
SETS = """
name = "sets"
title = "Control and one attack"
limit = 3
[[threats]]
name = "unattacked"
eps = "0"
[[threats]]
name = "pgd-8"
eps = "8/255"
steps = 2
"""
SELF = """
name = "spot"
title = "White-box"
against = "self"
limit = 3
[[threats]]
name = "spot-any"
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
suites = ["sets.toml", "self.toml"]
"""


def small() -> DRAEM:
    """A detector whose recipe is not tried on the meta device first, which takes half of such a run.

    Whoever builds it takes a file out of `deadly`, where there is one, and dies of it while it writes to the run folder
    of that name, but for the process that the file names. Its training is saved after each step, to be stopped between
    two saves and not before the first.
    """
    gradient.SAVE_SECONDS = 0.0
    for poison in Path("deadly").glob("*"):
        if poison.read_text() != str(os.getpid()):
            # Another may have taken it at the same time, and dies as well.
            poison.unlink(missing_ok=True)
            leave(Path(poison.name))
            os.kill(os.getpid(), signal.SIGKILL)
    return DRAEM(Options(width=4, loc_width=4, pooling=5))


def leave(out: Path) -> list[Path]:
    """What one leaves who is killed while he writes to a run folder and to the cache: files and folders."""
    files = [out / name for name in ("results.csv", "models/mini-unified/log.csv", "examples/deep/a.png")]
    left = [beside(path, "part") for path in (*files, cache_folder() / "decoded.json")]
    left += [beside(out / "sets" / "pgd-8", "old") / "image.png"]
    left += [beside(folder / "a.safetensors", "part") / ".tmpAbCdEf" for folder in (out / "models", cache_folder())]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    return left


def left_in(folder: Path) -> list[Path]:
    """What nobody is to find in a folder where all work has ended."""
    ends = (".part", ".old", ".lock", "last.safetensors")
    return sorted(path for path in folder.rglob("*") if path.name.endswith(ends))


def prepare(root: Path) -> None:
    """`data` and the records, with which `study` runs in `root`."""
    draw_toy(root / "data", size=32, train=4, test_good=1, test_defect=1)
    for name, text in (("mini", RECORD), ("sets", SETS), ("self", SELF), ("plan", PLAN)):
        write_text(root / f"{name}.toml", text)


def settings(out: str, jobs: int = 1) -> Settings:
    return Settings(data=Path("data"), out=Path(out), device="cpu", jobs=jobs, trusted=("tiny_study:small",))


def study(
    out: str, *, jobs: int = 1, threads: int = 1, wait: str | None = None, full_after: int | None = None,
    document: bool = False,
) -> None:  # fmt: skip
    """Run the plan in the working folder. With `wait` it begins its report and ends when a file of that name is there;
    with `full_after` the disk is full from that many syncs on; the report is written with `document` alone."""
    torch.set_num_threads(threads)
    if full_after is not None:
        _fill(full_after)

    def report(_: Path) -> list[Path]:
        if wait is not None:
            Path(f"{wait}.begun").touch()
        while wait is not None and not Path(wait).exists():
            time.sleep(0.05)
        return write_report(Path(out)) if document else []

    run(read_plan("plan.toml"), settings(out, jobs), report=report)


def _fill(after: int) -> None:
    sync, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    os.fsync = full  # type: ignore[assignment]


class Nursery:
    """The process that forks; what it imports is imported once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, __file__], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={
                **os.environ, "OMNIAL_BENCH_CACHE": str(root / "cache"), "PYTHONPATH": os.pathsep.join(paths),
                # Two threads that wait for each other else turn as fast as they can: five times the processor time.
                "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive",
            },
        )  # fmt: skip

    def begin(self, out: str, *, kill_after: float | None = None, kill_group: bool = True, **how: Any) -> None:
        assert self.process.stdin is not None
        order = {"out": out, "kill_after": kill_after, "kill_group": kill_group, "how": how}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, float, str]:
        """Exit status (minus the signal where one ended it), seconds, and what was said."""
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], answer["seconds"], answer["said"]

    def run(self, out: str, **how: Any) -> tuple[int, float, str]:
        self.begin(out, **how)
        return self.end()


@contextmanager
def nursery(root: Path) -> Iterator[Nursery]:
    one = Nursery(root)
    try:
        yield one
    finally:
        one.process.communicate()


def _serve() -> None:
    # Each child would import it for its optimiser.
    import_module("torch._dynamo")

    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        said = Path(f"said-{number}")
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            _live(order, said)
        os.setpgid(child, child)
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            (os.killpg if order["kill_group"] else os.kill)(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = {"status": status, "seconds": time.monotonic() - begun, "said": said.read_text()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _live(order: dict[str, Any], said: Path) -> None:
    os.setpgid(0, 0)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    status = 1
    try:
        study(order["out"], **order["how"])
        status = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
