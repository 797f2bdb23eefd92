"""What a command costs before its work begins, beside a former build: processor time, user and system together.

`python -m benchmarks.starting FORMER` measures this checkout and the one in the folder FORMER (`git worktree add FORMER
COMMIT`) in turn, each command in a process of its own, on the embedded data set; prints the table and writes
starting.md beside this file. Processor time, for what other processes do moves it least; five minutes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine
from omnial_bench.io.whole import write_text
from omnial_bench.provenance import commit, versions

FOLDER = Path(__file__).parent
HERE = FOLDER.parent
COMMAND = "import sys; from omnial_bench.cli.main import main; sys.argv[0] = 'omnial-bench'; main()"
RECORD = """base = "draem"
[presets.tiny]
size = [64, 64]
training = { max_iterations = 2, batch = 4 }
options = { width = 8, loc_width = 8, pooling = 5 }
"""
JOBS = 3


@dataclass(frozen=True)
class Side:
    """A checkout with a working folder of its own."""

    checkout: Path
    place: Path

    def run(self, *words: str, status: int = 0, cold: bool = False) -> float:
        """Processor seconds of one interpreter, without what it waits for; the output is in `said`."""
        cache = tempfile.mkdtemp(dir=self.place) if cold else str(self.place / "cache")
        environment = {
            **os.environ, "PYTHONPATH": str(self.checkout), "OMNIAL_BENCH_CACHE": cache, "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, *words], cwd=self.place, env=environment, capture_output=True, text=True, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != status:
            raise RuntimeError(f"{' '.join(words)}: status {done.returncode}: {done.stderr[-500:]}")
        (self.place / "said").write_text(done.stdout)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def command(self, words: str, *, status: int = 0, cold: bool = False) -> float:
        return self.run("-c", COMMAND, *words.split(), status=status, cold=cold)

    def worker(self) -> float:
        """What each of several workers has cost by its first task; in `said` that of the process they are copies of."""
        self.run(str(FOLDER / "begin_workers.py"), "../data", "none", str(JOBS))
        return statistics.median(json.loads((self.place / "said").read_text())["workers"])

    def all_workers(self) -> float:
        """Of the same processes, what all have cost together with the one that they are copies of."""
        found = json.loads((self.place / "said").read_text())
        return float(sum(found["workers"]) + found["server"])


Work = Callable[[Side], float]
WORKS: dict[str, tuple[Work, float | None]] = {
    "`score --help`": (lambda side: side.command("score --help"), None),
    "`run demo --dry-run`, nothing done yet": (lambda side: side.command(f"{DRY}"), 0.55),
    "the same, cold cache": (lambda side: side.command(f"{DRY}", cold=True), None),
    "`score` of a model, nothing due": (lambda side: side.command("score model --data ../data --out scores"), 0.55),
    "unknown plan": (lambda side: side.command("run nosuch --data ../data --out none", status=2), None),
    "no data folder": (lambda side: side.command("run demo --data nowhere --out none", status=2), None),
    "unknown suite": (lambda side: side.command("attack no --source model --data ../data --out none", status=2), None),
    "a worker": (Side.worker, 0.1),
    f"{JOBS} such workers and what they are copies of, the last time": (Side.all_workers, None),
}  # fmt: skip
"""What is measured, and the largest ratio that is wished for."""
DRY = "run demo --data ../data --out none --dry-run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("former", type=Path, help="a checkout of the build to measure beside")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(chosen.former.resolve(), Path(folder) / "former"), Side(HERE, Path(folder) / "now")]
        for side in sides:
            side.place.mkdir()
        sides[1].command("data toy ../data --size 128")
        for side in sides:
            prepare(side)
        rows: list[tuple[str, ...]] = []
        for name, (work, goal) in WORKS.items():
            # In turn, so that whatever else the machine does falls on both; what is read was read by `prepare`.
            pairs = [[work(side) for side in sides] for _ in range(chosen.repeats)]
            former, now = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratios = [pair[1] / pair[0] for pair in pairs]
            ratio = statistics.median(ratios)
            wished = "" if goal is None else f"<= {goal}: {'met' if ratio <= goal else 'NOT met'}"
            spread = f"{ratio:.3f} ({min(ratios):.3f}, {max(ratios):.3f})"
            rows.append((name, f"{former:.2f}", f"{now:.2f}", spread, wished))
    write(rows, chosen.former, chosen.repeats)


def prepare(side: Side) -> None:
    """A model of two steps and its scores."""
    (side.place / "own.toml").write_text(RECORD)
    side.command("train own.toml --preset tiny --data ../data --out model")
    side.command("score model --data ../data --out scores")


def write(rows: list[tuple[str, ...]], former: Path, repeats: int) -> None:
    columns = ("what", "former, s", "now, s", "ratio (lowest, highest)", "goal")
    where, head = machine(), head_of(former)
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    about = (
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, torch {versions()['torch']}; commit "
        f"{commit()} beside {head}. Processor seconds, user and system, medians of {repeats} processes of each in turn."
    )
    write_text(FOLDER / "starting.md", "\n".join(["# What starts, beside a former build", "", about, "", *lines, ""]))
    table = Table(*columns, title="processor seconds")
    for row in rows:
        table.add_row(*row)
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


def head_of(checkout: Path) -> str:
    words = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
