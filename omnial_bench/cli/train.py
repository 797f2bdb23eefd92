"""`train`: one detector, unified or separate."""

from typing import Any

import click

from omnial_bench.cli import flags
from omnial_bench.progress import watching


@click.command()
@click.argument("detector")
@flags.together(
    flags.data, flags.reader,
    click.option(
        "--category", "categories", multiple=True, metavar="C",
        help="Category to train on; repeat for several; default: all.",
    ),
    click.option("--paradigm", type=click.Choice(["unified", "separate"]), default="unified", show_default=True),
    flags.preset, flags.textures, flags.out, flags.device, flags.devices, flags.precision,
    flags.recompute, flags.trust, flags.seed,
)  # fmt: skip
def train(detector: str, preset: str, categories: tuple[str, ...], **given: Any) -> None:
    """Train or fit DETECTOR, a record of models/ or the path of a TOML file.

    Unified: one model in --out. Separate: one model a category, each in a folder of its own under --out.
    """
    from omnial_bench.pipeline.early import check_train

    where = {name: given[name] for name in ("data", "textures", "reader")}
    check_train(detector, preset, categories=categories, **where)
    # After it, for it brings torch along.
    from omnial_bench.pipeline.train_and_attack import train_models

    with watching() as watch:
        folders = train_models(detector, preset=preset, categories=categories or None, watch=watch, **given)
    for folder in folders:
        click.echo(f"model {folder}")
