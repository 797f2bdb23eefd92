"""What long work tells, and how it is shown: bars on a terminal, a line for each finished task where there is none, and
a log file in the run folder."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Column

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a note for the reader."""
Watch = Callable[[str], Progress | None]
"""Given the name of a task, what its progress is told to; None where nobody looks."""
RUN = "run"
"""The name under which a run tells of its tasks: those done, those in all, and the title of the last."""
LOG = "run.log"

log = logging.getLogger("omnial_bench.run")


def overall(watch: Watch, titles: Sequence[str]) -> Callable[[int], None]:
    """What is told the place of each task that ends: it goes on to the watcher of the run, and into the log."""
    run, done, began = watch(RUN), list[int](), time.monotonic()

    def tell(index: int) -> None:
        done.append(index)
        log.info(line_of(len(done), len(titles), titles[index], time.monotonic() - began))
        if run is not None:
            run(len(done), len(titles), titles[index])

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


def line_of(done: int, total: int, title: str, seconds: float) -> str:
    """`[7/26] title  2:41, about 9 min left`, from the time since the first task began."""
    left = seconds / done * (total - done)
    rest = f", about {_words(left)} left" if done < total else ""
    return f"[{done}/{total}] {title}  {int(seconds) // 60}:{int(seconds) % 60:02d}{rest}"


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
        rich_progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        rich_progress.TextColumn("[dim]{task.fields[note]}", table_column=narrow),
    )
    with rich_progress.Progress(*columns, console=console, expand=True) as bars:

        def watch(name: str) -> Progress:
            # A bar appears with the first news of its task, so a task that was done before shows none.
            started: list[int] = []

            def tell(done: int, total: int, note: str) -> None:
                if not started:
                    started.append(bars.add_task(name, total=total, note=""))
                changes = {"note": note} if note else {}
                ended = done >= total and name != RUN
                bars.update(started[0], completed=done, total=total, visible=not ended, **changes)  # type: ignore[arg-type]

            return tell

        yield watch


def _lines(console: Console) -> Progress:
    began = time.monotonic()

    def tell(done: int, total: int, note: str) -> None:
        line = line_of(done, total, note, time.monotonic() - began)
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return tell
