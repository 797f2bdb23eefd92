"""Progress of long work on a terminal, and silence where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Told = Callable[[int, int, str], None]


@contextmanager
def watching(*, notebook: bool = False) -> Iterator[Callable[[str], Told | None]]:
    """A function that gives each named task a bar with its rate, note and time left; in a notebook too, on request."""
    console = Console(stderr=not notebook)
    if not (console.is_terminal or (notebook and console.is_jupyter)):
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("[dim]{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:

        def watch(name: str) -> Told:
            # A bar appears with the first news of its task, so a task that was done before shows none.
            started: list[int] = []

            def tell(done: int, total: int, note: str) -> None:
                if not started:
                    started.append(bars.add_task(name, total=total, note=""))
                changes = {"note": note} if note else {}
                bars.update(started[0], completed=done, total=total, **changes)  # type: ignore[arg-type]

            return tell

        yield watch
