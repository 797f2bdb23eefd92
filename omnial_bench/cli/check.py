"""`check`: a run against a baseline, exit 1 where something got worse."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnial_bench.cli import options

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {"regression": "red", "missing": "red", "other pictures": "red", "improvement": "green", "new": "cyan"}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--baseline", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A results.csv that was good."
)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="METRIC=VALUE",
    help="How far a metric may move; default 0.02, and 0.5 for psnr (dB).",
)
@click.option("--seed", type=click.IntRange(0), default=None, help="Compare the rows of this seed alone.")
@options.as_json
def check(run: Path, baseline: Path, tolerances: tuple[str, ...], seed: int | None, as_json: bool) -> None:
    """Compare the rows of RUN with a baseline: a table of what moved, exit 1 where a row got worse or is missing."""
    from omnial_bench.check import compare_files, failed, parse_tolerances

    moved = compare_files(run, baseline, parse_tolerances(tolerances), seed=seed)
    fails = failed(moved)
    counts = {str(name): int(count) for name, count in moved["verdict"].value_counts(sort=False).items()}
    if as_json:
        rows = json.loads(moved.to_json(orient="records", double_precision=15))
        click.echo(json.dumps({"passed": not fails, "counts": counts, "moved": rows}, indent=2))
    else:
        if len(moved):
            _show(moved)
        said = ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing moved"
        click.echo(f"{'FAILED' if fails else 'passed'}: {said} (baseline {baseline})")
    if fails:
        click.get_current_context().exit(1)


def _show(moved: "pd.DataFrame") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    view = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("verdict", "model", "category", "set", "metric"):
        view.add_column(name, overflow="fold")
    for name in ("baseline", "now", "change", "tolerance"):
        view.add_column(name, justify="right")
    for row in moved.to_dict("records"):
        white_box = " (white-box)" if row["source"] == "self" else ""
        view.add_row(
            Text(row["verdict"], style=COLOURS[row["verdict"]]),
            Text(f"{row['detector']}-{row['paradigm']}"),
            Text(row["category"]),
            Text(row["set"] + white_box),
            Text(row["metric"]),
            _number(row["baseline"]),
            _number(row["value"]),
            _number(row["change"], sign="+"),
            f"{row['tolerance']:g}",
        )
    console = Console()
    # A pipe has no width of its own: rows there must not be cut at 80 columns.
    (console if console.is_terminal else Console(width=160)).print(view)


def _number(value: float, *, sign: str = "") -> str:
    return "-" if value != value else f"{value:{sign}.4f}"
