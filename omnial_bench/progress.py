"""What long work tells, and how it is shown: bars on a terminal, a line for each finished task where there is none, and
a log file in the run folder."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Column
from rich.text import Text

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a note for the reader."""
Watch = Callable[[str], Progress | None]
"""Given the name of a task, what its progress is told to; None where nobody looks."""
RUN = "run"
"""The name under which a run tells of its tasks: those done, those in all, and the title of the last with the time."""
LOG = "run.log"
_APART = "  "
"""Between the title of a task and the time, in what a run tells."""

log = logging.getLogger("omnial_bench.run")


def overall(
    watch: Watch, titles: Sequence[str], alike: Sequence[str], jobs: int | None
) -> Callable[[int, float | None], None]:
    """What is told the place of each task that ends and the seconds that it took, None where it had been done before:
    it goes on to the watcher of the run, and into the log. `alike` has one name for all tasks that should take as long;
    `jobs` run at once, None where nobody knows."""
    run, clock = watch(RUN), Clock(alike, jobs)

    def tell(index: int, seconds: float | None) -> None:
        note = f"{titles[index]}{_APART}{clock.ended(index, seconds, time.monotonic())}"
        log.info("[%d/%d] %s", clock.done, len(titles), note)
        if run is not None:
            run(clock.done, len(titles), note)

    return tell


def by_task(watch: Watch, title: str) -> Callable[..., None]:
    """A stream of news of several tasks as one progress a task, under a `title` with {} in the place of its name."""
    watched: dict[str, Progress | None] = {}

    def tell(name: str, done: int, total: int, note: str = "") -> None:
        if name not in watched:
            watched[name] = watch(title.format(name))
        if (progress := watched[name]) is not None:
            progress(done, total, note)

    return tell


class Clock:
    """The time since tasks began, and what is left: each that is not done takes the mean time of those that are alike,
    and those under way are half done."""

    def __init__(self, alike: Sequence[str], jobs: int | None = 1, now: float | None = None) -> None:
        self._alike, self._left, self._jobs = alike, Counter(alike), jobs
        self._took: dict[str, list[float]] = {}
        self._began = time.monotonic() if now is None else now

    @property
    def done(self) -> int:
        return len(self._alike) - self._left.total()

    def ended(self, index: int, took: float | None, now: float) -> str:
        """Take the end of a task, and the seconds that it took, None where it had been done before: `2:41, about 9 min
        left`. It is `more than about` where none like some that are left has been timed, and nothing is said of what is
        left where that holds for all."""
        kind, seconds = self._alike[index], now - self._began
        self._left[kind] -= 1
        if took is not None:
            self._took.setdefault(kind, []).append(took)
        means = {name: fmean(self._took[name]) for name in self._left if self._left[name] and name in self._took}
        rest = ""
        if means:
            jobs = self._jobs or max(1, round(sum(map(sum, self._took.values())) / max(seconds, 1e-9)))
            known = sum(self._left[name] for name in means)
            work = sum(mean * self._left[name] for name, mean in means.items())
            work -= work / known * (min(jobs, known) - 1) / 2
            more = "" if known == self._left.total() else "more than "
            rest = f", {more}about {_words(work / min(jobs, known))} left"
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}{rest}"


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"


@contextmanager
def logged(out: Path) -> Iterator[None]:
    """Have what is logged meanwhile stand in `run.log` of a folder too, each line with its time."""
    package = logging.getLogger("omnial_bench")
    handler = logging.FileHandler(out / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    # The tasks' lines are for the file; what is shown of them the watcher says.
    before, log.propagate = (log.level, log.propagate), False
    log.setLevel(logging.INFO)
    for logger in (package, log):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in (package, log):
            logger.removeHandler(handler)
        log.level, log.propagate = before
        handler.close()


@contextmanager
def watching(*, notebook: bool = False) -> Iterator[Watch]:
    """A function that gives each named task a bar with its rate, note and time left; in a notebook too, on request."""
    console = Console(stderr=not notebook)
    if not (console.is_terminal or (notebook and console.is_jupyter)):
        yield lambda name: _lines(console) if name == RUN else None
        return
    wide, narrow = (Column(ratio=ratio, no_wrap=True, overflow="ellipsis") for ratio in (3, 2))
    columns = (
        rich_progress.TextColumn("{task.description}", table_column=wide),
        rich_progress.BarColumn(bar_width=8),
        rich_progress.MofNCompleteColumn(),
        _TimeLeft(compact=True, elapsed_when_finished=True),
        rich_progress.TextColumn("[dim]{task.fields[note]}", table_column=narrow),
    )
    with rich_progress.Progress(*columns, console=console, expand=True) as bars:

        def watch(name: str) -> Progress:
            # A bar appears with the first news of its task, so a task that was done before shows none.
            started: list[int] = []

            def tell(done: int, total: int, note: str) -> None:
                if not started:
                    started.append(bars.add_task(name, total=total, note=""))
                # A line has no room for the title and the time.
                shown = note.rpartition(_APART)[2] if name == RUN else note
                changes = {"note": shown} if note else {}
                ended = done >= total and name != RUN
                bars.update(started[0], completed=done, total=total, visible=not ended, **changes)  # type: ignore[arg-type]

            return tell

        yield watch


class _TimeLeft(rich_progress.TimeRemainingColumn):
    """Of a task, from its steps; that of a run stands in its note, for its tasks differ."""

    def render(self, task: rich_progress.Task) -> Text:
        return Text("") if task.description == RUN else super().render(task)


def _lines(console: Console) -> Progress:
    def tell(done: int, total: int, note: str) -> None:
        console.print(f"[{done}/{total}] {note}", markup=False, highlight=False, soft_wrap=True)

    return tell
