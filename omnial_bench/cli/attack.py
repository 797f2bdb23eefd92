"""`attack`: adversarial sets from trained models."""

from dataclasses import fields
from typing import Any

import click

from omnial_bench.cli import flags
from omnial_bench.progress import watching


@click.command()
@click.argument("suite")
@flags.together(
    click.option(
        "--source", "sources", multiple=True, metavar="CHECKPOINT",
        help="Model to attack; several, with any --detector: their mean loss.",
    ),
    flags.detectors, flags.made_with, flags.paradigm, flags.held_out, flags.size, flags.trust,
    flags.data, flags.reader,
    click.option(
        "--category", "categories", multiple=True, metavar="C", help="Default: the sources', or all of a --detector."
    ),
    click.option("--limit", type=click.IntRange(2), help="Images a category at the most; default: the suite's."),
    flags.out, flags.device, flags.precision, flags.seed,
)  # fmt: skip
def attack(suite: str, sources: tuple[str, ...], categories: tuple[str, ...], **given: Any) -> None:
    """Build the adversarial sets of SUITE, a record of attacks/ or the path of a TOML file."""
    from omnial_bench.pipeline.early import check_attacked

    where = {name: given[name] for name in ("data", "out", "reader")}
    check_attacked([suite], sources, (), categories=categories, as_sets=True, **where)
    # After it, for it brings torch along.
    from omnial_bench.pipeline.own_detector import Elsewhere
    from omnial_bench.pipeline.train_and_attack import attack_models

    own = Elsewhere(**{field.name: given.pop(field.name) for field in fields(Elsewhere)})
    with watching() as watch:
        folders = attack_models(suite, sources, own=own, categories=categories or None, watch=watch, **given)
    for folder in folders:
        click.echo(f"set {folder}")
