"""`check`: a run against a baseline, exit 1 where something got worse; `--update` makes it the new baseline."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnial_bench.cli import options

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {"regression": "red", "missing": "red", "other pictures": "red", "improvement": "green", "new": "cyan"}
FILE = click.Path(path_type=Path, dir_okay=False)


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
@click.option("--seed", type=options.SEEDS, default=None, help="Compare the rows of this seed alone.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write what was compared as JUnit XML.")
@click.option("--markdown", type=FILE, metavar="FILE", help="Write a summary as Markdown.")
@click.option("--update", is_flag=True, help="Make the rows of RUN the new baseline, with its provenance; exit 0.")
@options.as_json
def check(
    run: Path,
    baseline: Path,
    tolerances: tuple[str, ...],
    seed: int | None,
    junit: Path | None,
    markdown: Path | None,
    update: bool,
    as_json: bool,
) -> None:
    """Compare the rows of RUN with a baseline: a table of what moved, exit 1 where a row got worse or is missing.

    Where both hold several seeds, means over the seeds are compared, with the spread over seeds allowed for.
    """
    from omnial_bench.baseline import update as renew
    from omnial_bench.check import counts, failed, judge_files, moved, parse_tolerances, summary
    from omnial_bench.errors import UserError
    from omnial_bench.reports import gate
    from omnial_bench.store import check_folder, write_text

    if update and seed is not None:
        raise UserError("expected --update without --seed, for a new baseline takes every row; leave one out")
    allowed = parse_tolerances(tolerances)
    for file in (junit, markdown):
        if file is not None:
            check_folder(file.parent)
    first = update and not baseline.exists()
    judged = judge_files(run, baseline, allowed, seed=seed, first=first)
    fails, changed, said = failed(judged), moved(judged), summary(judged)
    note = f"provenance in {renew(run, baseline, said).name}" if update else ""
    if junit is not None:
        write_text(junit, gate.junit(judged))
    if markdown is not None:
        text = gate.markdown(judged, allowed, baseline.name, f"The run is the new baseline, {note}." if update else "")
        write_text(markdown, text)
    if as_json:
        rows = json.loads(changed.to_json(orient="records", double_precision=15))
        answer = {"passed": not fails, "compared": len(judged), "counts": counts(judged), "updated": update}
        click.echo(json.dumps({**answer, "moved": rows}, indent=2))
    else:
        if len(changed) and not first:
            _show(changed)
        verdict = "updated" if update else "FAILED" if fails else "passed"
        click.echo(f"{verdict}: {said} (baseline {baseline}{f', {note}' if note else ''})")
    if fails and not update:
        click.get_current_context().exit(1)


def _show(changed: "pd.DataFrame") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from omnial_bench.reports.gate import number, seed_words

    means = changed["seed"].isna().any()
    view = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("verdict", "model", "category", "set", "metric", *(["seed"] if means else [])):
        view.add_column(name, overflow="fold")
    for name in ("baseline", "now", "change", "tolerance"):
        view.add_column(name, justify="right")
    for row in changed.to_dict("records"):
        white_box = " (white-box)" if row["source"] == "self" else ""
        view.add_row(
            Text(row["verdict"], style=COLOURS[row["verdict"]]),
            Text(f"{row['detector']}-{row['paradigm']}"),
            Text(row["category"]),
            Text(row["set"] + white_box),
            Text(row["metric"]),
            *([Text(seed_words(row))] if means else []),
            number(row["baseline"]),
            number(row["value"]),
            number(row["change"], sign="+"),
            f"{row['tolerance']:.3g}",
        )
    console = Console()
    # A pipe has no width of its own: rows there must not be cut at 80 columns.
    (console if console.is_terminal else Console(width=160)).print(view)
