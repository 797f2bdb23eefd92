"""`score`: models on clean and attacked images."""

import sys
from pathlib import Path
from typing import Any

import click

from omnial_bench.cli import flags
from omnial_bench.progress import watching


@click.command()
@click.argument("checkpoints", nargs=-1, metavar="[CHECKPOINT]...")
@flags.together(
    flags.detectors, flags.made_with, flags.paradigm, flags.held_out, flags.trust,
    flags.metrics, flags.defence,
    flags.data, flags.reader, flags.labels,
    click.option(
        "--set", "sets", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="An adversarial set."
    ),
    click.option(
        "--white-box", "suites", multiple=True, metavar="SUITE",
        help="Attack each model itself on the test split; see `show attacks`.",
    ),
    click.option("--limit", type=click.IntRange(2), help="Test images a category under attack at the most."),
    click.option(
        "--false-alarms", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
        help="Of normal images, the share that decision thresholds let raise an alarm.",
    ),
    click.option("--category", "categories", multiple=True, metavar="C", help="Of a --detector; default: all."),
    flags.size, flags.out, flags.device, flags.precision, flags.jobs, flags.row_seed, flags.as_json,
)  # fmt: skip
def score(checkpoints: tuple[str, ...], categories: tuple[str, ...], as_json: bool, out: Path, **given: Any) -> None:
    """Score CHECKPOINTs and --detectors on the clean test split of --data, on every --set and under every --white-box
    suite.

    Rows go to results.csv in --out; `omnial-bench report` makes a report of them.
    """
    from omnial_bench.pipeline.early import check_attacked

    where = {name: given[name] for name in ("data", "reader")}
    check_attacked(given["suites"], checkpoints, given["sets"], out=out, categories=categories, **where)
    try:
        # After it, for they bring torch along.
        from omnial_bench.cli.terminal import show
        from omnial_bench.metrics.metric import METRICS
        from omnial_bench.pipeline.request import Request
        from omnial_bench.pipeline.score_models import assess
        from omnial_bench.results import AT_THRESHOLD, HEADLINE

        with watching() as watch:
            rows = assess(
                Request(checkpoints=checkpoints, categories=categories or None, out=out, **given), watch=watch
            )
    except KeyboardInterrupt:
        if not given["detectors"]:
            raise
        raise KeyboardInterrupt("the same command scores detectors from elsewhere from the beginning") from None
    means = rows[rows["category"] == "mean"]
    shown = means[~means["metric"].str.endswith(("_chance", "_held"))].pivot_table(
        index=["detector", "paradigm", "set", "source"], columns="metric", values="value", sort=False
    )
    if sys.stdout.isatty():
        # All are in the file; these fit eighty columns.
        few = (*HEADLINE, *AT_THRESHOLD)
        shown = shown[[name for name in shown if name in few or name not in METRICS]]
    show(rows if as_json else shown.reset_index(), title="class means", as_json=as_json)
    if not as_json:
        click.echo(f"rows {out / 'results.csv'}")
