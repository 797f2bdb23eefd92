"""`omnial-bench data`: the commands about data sets, a file each, and the one that draws the embedded data set."""

from pathlib import Path

import click

from omnial_bench.cli import flags
from omnial_bench.cli.data_cache import cache_command
from omnial_bench.cli.data_download import download
from omnial_bench.cli.data_list import list_command
from omnial_bench.cli.data_verify import verify


@click.group(commands=[list_command, download, verify, cache_command])
def data() -> None:
    """List, obtain, verify and draw data sets."""


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--size", type=int, default=64, show_default=True, help="Side of the images in pixels.")
@flags.seed
def toy(folder: Path, size: int, seed: int) -> None:
    """Draw the embedded data set into DIR, in MVTec AD's layout."""
    from omnial_bench.data.toy.make import draw_toy

    draw_toy(folder, size=size, seed=seed)
    click.echo(f"drew the toy data set in {folder}")
