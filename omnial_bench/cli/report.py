"""`report`: the documents of a run again, from its rows."""

from contextlib import ExitStack
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "formats", default="md,pdf,html", show_default=True, help="Documents to write, with commas.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Report on the rows of this seed alone.")
def report(run: Path, formats: str, seed: int | None) -> None:
    """Write the report of the run folder RUN again from its rows: report.md, .pdf, .html, figures/ and tables/."""
    from omnial_bench.io.leftovers import swept
    from omnial_bench.io.links import check_links
    from omnial_bench.io.lock import claimed
    from omnial_bench.reports.document import write_report

    chosen = [name.strip() for name in formats.split(",") if name.strip()]
    with ExitStack() as stack:
        if run.is_dir():
            check_links(run)
            stack.enter_context(claimed(run, alone=True))
            stack.enter_context(swept(run))
        paths = write_report(run, chosen, seed=seed, tell=lambda line: click.echo(f"left out: {line}", err=True))
    for path in paths:
        click.echo(f"report {path}")
