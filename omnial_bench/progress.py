"""Progress of long work on a terminal, and silence where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a note for the reader."""
Watch = Callable[[str], Progress | None]
"""Given the name of a task, what its progress is told to; None where nobody looks."""


@contextmanager
def watching(*, notebook: bool = False) -> Iterator[Watch]:
    """A function that gives each named task a bar with its rate, note and time left; in a notebook too, on request."""
    console = Console(stderr=not notebook)
    if not (console.is_terminal or (notebook and console.is_jupyter)):
        yield lambda _: None
        return
    columns = (
        rich_progress.TextColumn("{task.description}"), rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(), rich_progress.TimeElapsedColumn(), rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("[dim]{task.fields[note]}"),
    )  # fmt: skip
    with rich_progress.Progress(*columns, console=console) as bars:

        def watch(name: str) -> Progress:
            # A bar appears with the first news of its task, so a task that was done before shows none.
            started: list[int] = []

            def tell(done: int, total: int, note: str) -> None:
                if not started:
                    started.append(bars.add_task(name, total=total, note=""))
                changes = {"note": note} if note else {}
                bars.update(started[0], completed=done, total=total, **changes)  # type: ignore[arg-type]

            return tell

        yield watch
