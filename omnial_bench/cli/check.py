"""`check`: a run against a baseline, exit 1 where something got worse; `--update` makes it the new baseline."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnial_bench.cli import flags

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {
    "regression": "red", "changed": "red", "missing": "red", "other images": "red", "improvement": "green",
    "new": "cyan", "not held": "dim",
}  # fmt: skip
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--baseline", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A results.csv that was good."
)
@click.option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="METRIC=VALUE",
    help="How far a metric may move, in place of what docs/ci.md says.",
)
@click.option("--strict", is_flag=True, help="Hold what no attack goes for, and single categories, too.")
@click.option("--seed", type=flags.SEEDS, default=None, help="Compare the rows of this seed alone.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write what was compared as JUnit XML.")
@click.option("--markdown", type=FILE, metavar="FILE", help="Write a summary as Markdown.")
@click.option("--update", is_flag=True, help="Make the rows of the RUNs the new baseline, with provenance; exit 0.")
@flags.as_json
def check(
    runs: tuple[Path, ...],
    baseline: Path,
    tolerances: tuple[str, ...],
    strict: bool,
    seed: int | None,
    junit: Path | None,
    markdown: Path | None,
    update: bool,
    as_json: bool,
) -> None:
    """Compare the rows of RUNs with a baseline: a table of what moved, exit 1 where a figure got worse or is missing.

    Several RUNs are seeds of one plan. The same weights may move a figure by rounding alone, networks trained anew by
    their spread over the seeds of the baseline; figures that an attack does not go for are shown and not held.
    """
    from omnial_bench.errors import UserError
    from omnial_bench.io.whole import check_folder, write_text
    from omnial_bench.reports import gate
    from omnial_bench.reports.baseline import judge_files
    from omnial_bench.reports.baseline import update as renew
    from omnial_bench.reports.pairing import parse_tolerances
    from omnial_bench.reports.verdicts import counts, failed, moved, summary

    if update and seed is not None:
        raise UserError("expected --update without --seed, for a new baseline takes every row; leave one out")
    allowed = parse_tolerances(tolerances)
    for file in (junit, markdown):
        if file is not None:
            check_folder(file.parent)
    first = update and not baseline.exists()
    judged = judge_files(runs, baseline, allowed, seed=seed, first=update, strict=strict)
    fails, changed, summary_text = failed(judged), moved(judged), summary(judged)
    note = f"provenance in {renew(runs, baseline, summary_text).name}" if update else ""
    if junit is not None:
        write_text(junit, gate.junit(judged))
    if markdown is not None:
        text = gate.markdown(judged, baseline.name, f"The run is the new baseline, {note}." if update else "")
        write_text(markdown, text)
    if as_json:
        rows = json.loads(changed.to_json(orient="records", double_precision=15))
        answer = {"passed": not fails, "compared": len(judged), "counts": counts(judged), "updated": update}
        click.echo(json.dumps({**answer, "moved": rows}, indent=2))
    else:
        if len(changed) and not first:
            _show(changed)
        verdict = "updated" if update else "FAILED" if fails else "passed"
        click.echo(f"{verdict}: {summary_text} (baseline {baseline}{f', {note}' if note else ''})")
    if fails and not update:
        click.get_current_context().exit(1)


def _show(changed: "pd.DataFrame") -> None:
    from rich.text import Text

    from omnial_bench.cli.terminal import bare_table, print_table
    from omnial_bench.reports.gate import FIGURES, cells_of

    heads = ["verdict", "model", "category", "set", "metric", *(["seed"] if changed["seed"].isna().any() else [])]
    view = bare_table()
    for name in heads:
        view.add_column(name, overflow="fold")
    for name in FIGURES:
        view.add_column(name, justify="right")
    for row in changed.to_dict("records"):
        cells, style = cells_of(row), COLOURS[row["verdict"]]
        texts = [Text(cells[head], style=style if head == "verdict" else "") for head in heads]
        view.add_row(*texts, *(cells[name] for name in FIGURES))
    print_table(view)
