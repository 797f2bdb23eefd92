"""`attack`: adversarial sets from trained models."""

from pathlib import Path
from typing import Any

import click

from omnial_bench.cli import options
from omnial_bench.progress import watching


@click.command()
@click.argument("suite")
@options.together(
    click.option(
        "--source", "sources", multiple=True, required=True, metavar="CHECKPOINT",
        help="Model to attack; several: their mean loss.",
    ),
    options.trust,
    options.data,
    click.option("--category", "categories", multiple=True, metavar="C", help="Default: the source's categories."),
    click.option("--limit", type=click.IntRange(2), help="Pictures a category at the most; default: the suite's."),
    options.out, options.device, options.precision, options.seed,
)  # fmt: skip
def attack(
    suite: str, sources: tuple[str, ...], data: Path, categories: tuple[str, ...], limit: int | None, out: Path,
    device: str, precision: Any, seed: int, trusted: tuple[str, ...],
) -> None:  # fmt: skip
    """Build the adversarial sets of SUITE, a record of attacks/ or the path of a TOML file."""
    from omnial_bench.steps import attack_models

    with watching() as watch:
        folders = attack_models(
            suite, sources, data=data, categories=categories or None, limit=limit, out=out, device=device,
            precision=precision, seed=seed, watch=watch, trusted=trusted,
        )  # fmt: skip
    for folder in folders:
        click.echo(f"set {folder}")
