"""`attack`: adversarial sets from trained models."""

from pathlib import Path
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
def attack(
    suite: str, data: Path, reader: str | None, categories: tuple[str, ...], limit: int | None, out: Path, device: str,
    precision: Any, seed: int, sources: tuple[str, ...], trusted: tuple[str, ...], **own: Any,
) -> None:  # fmt: skip
    """Build the adversarial sets of SUITE, a record of attacks/ or the path of a TOML file."""
    from omnial_bench.pipeline.early import check_attacked

    check_attacked([suite], sources, data=data, out=out, categories=categories, reader=reader)
    # After it, for it brings torch along.
    from omnial_bench.pipeline.attack_models import attack_models
    from omnial_bench.pipeline.own_detector import Elsewhere

    with watching() as watch:
        folders = attack_models(
            suite, sources, own=Elsewhere(**own), data=data, categories=categories or None, limit=limit, out=out,
            device=device, precision=precision, seed=seed, watch=watch, trusted=trusted, reader=reader,
        )  # fmt: skip
    for folder in folders:
        click.echo(f"set {folder}")
