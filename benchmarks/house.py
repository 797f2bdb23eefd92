"""The size of the house, and what its demo and its tests take, beside a former build.

`python -m benchmarks.house FORMER` counts the lines of this checkout and of the one in the folder FORMER (`git worktree
add FORMER COMMIT`), times `omnial-bench demo` and what `make test` runs in each, by the clock and a turn each, counts
what one image passes here (`benchmarks.walk`), and writes house.md beside this file. On two cores with nothing else to
do: twenty minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.starting import COMMAND, HERE, head_of
from benchmarks.walk import down_to_detector, modules_of, walk_a_run, with_an_image
from omnial_bench.io.whole import write_text
from omnial_bench.provenance import commit, versions

TESTS = {
    True: ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not slow"),
    False: (),
}
"""What `make test` gives pytest: where tests are marked slow, and in builds that mark none."""


def lines(folder: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


def seconds(checkout: Path, place: Path, *words: str, statuses: Sequence[int] = (0,)) -> float:
    """Of one command by the clock, with an empty cache; RuntimeError where it ends otherwise than in `statuses`."""
    environment = {
        **os.environ, "PYTHONPATH": str(checkout), "OMNIAL_BENCH_CACHE": tempfile.mkdtemp(dir=place),
    }  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in statuses:
        raise RuntimeError(f"{' '.join(words)} in {checkout}: status {done.returncode}: {done.stdout[-800:]}")
    return time.perf_counter() - began


def demo(checkout: Path, place: Path) -> float:
    return seconds(checkout, place, "-P", "-c", COMMAND, "demo", "--out", str(place / f"demo-{checkout.name}"))


def tests(checkout: Path, place: Path) -> float:
    marked = "slow" in (checkout / "pyproject.toml").read_text(encoding="utf-8")
    words = "-m", "pytest", "--basetemp", str(place / "tests"), *TESTS[marked]
    # In the environment of today some tests of a former build fail, which takes no less time.
    return seconds(checkout, place, *words, statuses=(0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("former", type=Path, help="a checkout of the build to measure beside")
    former = parser.parse_args().former.resolve()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            timed("`omnial-bench demo`, s", [demo(side, Path(folder)) for side in (former, HERE)], 0.7),
            timed("`make test`, s", [tests(side, Path(folder)) for side in (former, HERE)], 0.4),
        ]
    for name, goal in (("omnial_bench", 13_500), ("tests", 11_000)):
        before, now = lines(former / name), lines(HERE / name)
        rows.append((f"lines of `{name}/`", f"{before:,}", f"{now:,}", f"<= {goal:,}: {met(now <= goal)}"))
    stacks = walk_a_run()
    depth, modules = max(map(len, map(down_to_detector, stacks))), len(modules_of(with_an_image(stacks)))
    rows.append(("calls until a detector sees an image", "", str(depth), f"<= 12: {met(depth <= 12)}"))
    rows.append(("modules that an image passes", "", str(modules), f"<= 35: {met(modules <= 35)}"))
    write(rows, former)


def timed(name: str, times: Sequence[float], goal: float) -> tuple[str, ...]:
    before, now = times
    return name, f"{before:.0f}", f"{now:.0f}", f"<= {goal} of it: {now / before:.2f}, {met(now <= goal * before)}"


def met(is_met: bool) -> str:
    return "met" if is_met else "NOT met"


def write(rows: Sequence[tuple[str, ...]], former: Path) -> None:
    where = machine()
    about = (
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, torch {versions()['torch']}; commit "
        f"{commit()} beside {head_of(former)}. Times by the clock, a turn each."
    )
    table = [("what", "former", "now", "goal"), ("---",) * 4, *rows]
    text = "\n".join(["# The size of the house, beside a former build", "", about, "", *(
        f"| {' | '.join(row)} |" for row in table
    ), ""])  # fmt: skip
    write_text(HERE / "benchmarks" / "house.md", text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
