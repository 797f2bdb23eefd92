"""`train`: one detector, unified or separate."""

from pathlib import Path
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
def train(
    detector: str, data: Path, reader: str | None, categories: tuple[str, ...], paradigm: Any, preset: str,
    textures: Path | None, out: Path, device: str, devices: int, precision: Any, recompute: bool,
    trusted: tuple[str, ...], seed: int,
) -> None:  # fmt: skip
    """Train or fit DETECTOR, a record of models/ or the path of a TOML file.

    Unified: one model in --out. Separate: one model a category, each in a folder of its own under --out.
    """
    from omnial_bench.pipeline.early import check_train

    check_train(detector, preset, data=data, categories=categories, textures=textures, reader=reader)
    # After it, for it brings torch along.
    from omnial_bench.pipeline.train_models import train_models

    with watching() as watch:
        folders = train_models(
            detector, data=data, categories=categories or None, paradigm=paradigm, preset=preset, textures=textures,
            out=out, device=device, devices=devices, precision=precision, recompute=recompute, trusted=trusted,
            seed=seed, watch=watch, reader=reader,
        )  # fmt: skip
    for folder in folders:
        click.echo(f"model {folder}")
