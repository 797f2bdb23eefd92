"""Tables and bars on the terminal, or tables as JSON."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def bare_table(title: str | None = None) -> Table:
    """A table without lines, to be filled."""
    return Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")


def print_table(table: Table, *, width: int = 160) -> None:
    """Print a table; where there is no terminal in `width` columns, for a pipe must not cut what it is given at 80."""
    console = Console()
    (console if console.is_terminal else Console(width=width)).print(table)


@contextmanager
def bars(*columns: ProgressColumn, transient: bool = False) -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar, with these columns behind it, for each step that news comes of; None where there is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), *columns)
    with Progress(*columns, console=console, transient=transient) as progress:
        started: dict[str, TaskID] = {}

        def tell(step: str, done: int, total: int | None) -> None:
            if step not in started:
                started[step] = progress.add_task(step, total=total)
            progress.update(started[step], completed=done, total=total)

        yield tell


def show(table: "pd.DataFrame", *, title: str, as_json: bool) -> None:
    """A frame as a rich table; floats with four digits, missing values as a dash. JSON: a list of rows."""
    if as_json:
        click.echo(json.dumps(json.loads(table.to_json(orient="records", double_precision=15)), indent=2))
        return
    view, on_terminal = bare_table(escape(title)), Console().is_terminal
    for name in map(str, table.columns):
        # Narrow as a terminal may be, a figure is never cut, and a long name goes on below.
        numeric = table[name].dtype.kind in "if"
        view.add_column(
            name.replace("_", " ") if on_terminal else name, justify="right" if numeric else "left",
            min_width=6 if numeric else None, overflow="fold",
        )  # fmt: skip
    for row in table.itertuples(index=False):
        view.add_row(*(Text(_text(value)) for value in row))
    print_table(view, width=200)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return str(value)
