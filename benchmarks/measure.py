"""Two sides of one figure: seconds in turn, peak memory, and the row that comes of them."""

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from omnial_bench.memory import keep_freed_memory

WARM_UPS = 1
Sense = Literal["theirs / ours", "ours / theirs", "share", "seconds"]
"""How many times as fast ours is; how much longer it takes than a floor; its share of both; ours alone."""
Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Medians in seconds of both sides, the ratio over the repeats, peak memory above the start in MiB."""

    figure: str
    counterpart: str
    ours: float
    theirs: float | None
    sense: Sense
    ratio: float
    lowest: float
    highest: float
    repeats: int
    goal: str = ""
    met: bool | None = None
    ours_mib: float | None = None
    theirs_mib: float | None = None
    errors: dict[str, float] | None = None
    """Largest differences from a reference, by what they are of."""
    precision: str = "float32"
    note: str = ""
    commit: str = ""
    """What it was measured at."""


def side_by_side(
    figure: str,
    counterpart: str,
    ours: Work,
    theirs: Work,
    *,
    repeats: int,
    times: tuple[int, int] = (1, 1),
    sense: Sense = "theirs / ours",
    goal: str = "",
    **more: Any,
) -> Row:
    """Alternate the two after a warm-up, so that whatever else the machine does falls on both.

    `times` is how often each is run in its turn; the seconds are of one run.
    """
    pairs = []
    for turn in range(repeats + WARM_UPS):
        pair = (seconds(ours, times[0]), seconds(theirs, times[1]))
        if turn >= WARM_UPS:
            pairs.append(pair)
    ratios = [ratio_of(own, other, sense) for own, other in pairs]
    own, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    middle = statistics.median(ratios)
    return Row(
        figure=figure, counterpart=counterpart, ours=own, theirs=other, sense=sense, ratio=middle,
        lowest=min(ratios), highest=max(ratios), repeats=repeats, goal=goal, met=reached(middle, goal),
        ours_mib=peak_mib(ours), theirs_mib=peak_mib(theirs), **more,
    )  # fmt: skip


def alone(figure: str, ours: Work, *, repeats: int, goal: str = "", **more: Any) -> Row:
    """A figure without a counterpart: its seconds stand in the place of the ratio."""
    times = [seconds(ours) for _ in range(repeats + WARM_UPS)][WARM_UPS:]
    middle = statistics.median(times)
    return Row(
        figure=figure, counterpart="", ours=middle, theirs=None, sense="seconds", ratio=middle, lowest=min(times),
        highest=max(times), repeats=repeats, goal=goal, met=reached(middle, goal), ours_mib=peak_mib(ours), **more,
    )  # fmt: skip


def ratio_of(own: float, other: float, sense: Sense) -> float:
    if sense == "share":
        return own / (own + other)
    return own / other if sense == "ours / theirs" else other / own


def reached(value: float, goal: str) -> bool | None:
    """Whether a value keeps a goal written as `>= 5` or `<= 1.05`."""
    if not goal:
        return None
    sign, bound = goal.split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)


def seconds(work: Work, times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def peak_mib(work: Work) -> float | None:
    """How far the resident memory rises while `work` runs, once more; None where Linux is not there to tell."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    with suppress(OSError, AttributeError):
        # What was freed but kept would hide the rise.
        ctypes.CDLL(None).malloc_trim(0)
        before = _kib(status.read_text(), "VmRSS")
        reset.write_text("5")
        work()
        return round((_kib(status.read_text(), "VmHWM") - before) / 1024, 1)
    return None


def resident_mib() -> float:
    return _kib(Path("/proc/self/status").read_text(), "VmRSS") / 1024


def _kib(status: str, name: str) -> float:
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith(name + ":"))


@contextmanager
def memory_handed_back() -> Iterator[None]:
    """As if the project had not asked glibc to keep freed memory: its thresholds where they end up by themselves."""
    if not keep_freed_memory():
        yield
        return
    library = ctypes.CDLL(None)
    # In glibc's malloc.h: -3 is M_MMAP_THRESHOLD, -1 is M_TRIM_THRESHOLD.
    library.mallopt(-3, 2**25)
    library.mallopt(-1, 2**26)
    library.malloc_trim(0)
    try:
        yield
    finally:
        keep_freed_memory.__wrapped__()


def missing(*packages: str) -> list[str]:
    """Which of the packages are not installed."""
    return [name for name in packages if find_spec(name) is None]


def machine() -> dict[str, str | int]:
    """Processor, cores and threads, without the machine's name."""
    model, cores = platform.processor() or platform.machine(), 0
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        cores = sum(line.startswith("processor") for line in lines)
    waiting = os.environ.get("OMP_WAIT_POLICY", "default")
    threads = torch.get_num_threads()
    python = platform.python_version()
    return {"processor": model, "cores": cores, "threads": threads, "waiting threads": waiting, "python": python}
