"""Tables on the terminal, or the same as JSON."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd


def show(table: "pd.DataFrame", *, title: str, as_json: bool) -> None:
    """A frame as a rich table; floats with four digits, missing values as a dash. JSON: a list of rows."""
    if as_json:
        click.echo(json.dumps(json.loads(table.to_json(orient="records", double_precision=15)), indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    view = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    console = Console()
    for name in table.columns:
        # Narrow as a terminal may be, a figure is never cut, and a long name goes on below.
        numeric, header = table[name].dtype.kind in "if", str(name)
        view.add_column(
            header.replace("_", " ") if console.is_terminal else header, justify="right" if numeric else "left",
            min_width=6 if numeric else None, overflow="fold",
        )  # fmt: skip
    for row in table.itertuples(index=False):
        view.add_row(*(Text(_text(value)) for value in row))
    # A pipe has no width of its own: figures there must not be cut at 80 columns.
    (console if console.is_terminal else Console(width=200)).print(view)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4f}"
    return str(value)
