"""`omnial-bench data`: data sets listed and drawn, and what is kept of them; `download` and `verify` have own files."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from omnial_bench.cli import flags
from omnial_bench.cli.data_download import download, facts
from omnial_bench.cli.data_verify import verify
from omnial_bench.errors import printable

SHOWN = 20
"""Kinds of kept files that are listed."""


@click.group(commands=[download, verify])
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


@data.command("list")
@flags.together(flags.no_seed, flags.as_json)
def list_command(as_json: bool) -> None:
    """The data sets that are known by name."""
    from omnial_bench.data.catalog import CATALOG, TEXTURES, obtainable

    if as_json:
        parts = ("kind", "train", "test_good", "test_defect")
        entries = [
            facts(entry)
            | {"layout": entry.layout}
            | {"categories": {name: {part: getattr(c, part) for part in parts} for name, c in entry.categories.items()}}
            for entry in CATALOG.values()
        ]
        entries += [facts(source) | {"layout": "textures", "categories": {}} for source in TEXTURES.values()]
        click.echo(json.dumps(entries, indent=2))
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("name", "objects", "textures", "train", "good", "defects", "licence", box=None)
    for entry in CATALOG.values():
        categories = entry.categories.values()
        shares = [str(sum(category.kind == kind for category in categories)) for kind in ("object", "texture")]
        counts = zip(*((c.train, c.test_good, c.test_defect) for c in categories), strict=True)
        totals = ["any" if None in numbers else f"{sum(numbers):,}" for numbers in counts]
        table.add_row(entry.name, *shares, *totals, entry.licence)
    console = Console()
    console.print(table)
    console.print()
    # As plain lines: an address or a hash that is broken over two cells cannot be copied.
    for entry in CATALOG.values():
        click.echo(f"{entry.name}: {entry.url or f'omnial-bench data {entry.name} DIR'}")
    for source in TEXTURES.values():
        click.echo(f"{source.name}: {source.url} (textures, {source.licence})")
    for name, known in obtainable().items():
        if known.archive is not None and known.archive.name == name:
            size = decimal(known.archive.size)
            click.echo(f"omnial-bench data download {name}: {known.archive.file}, {size}, {known.archive.digest}")


@data.command("cache")
@click.option("--empty", "emptied", is_flag=True, help="Remove all of it; runs make what they want again.")
@flags.together(flags.no_seed, flags.as_json)
def cache_command(emptied: bool, as_json: bool) -> None:
    """Show where decoded images are kept and how much there is, or remove it."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    from omnial_bench.data.cache import cache_folder
    from omnial_bench.data.kept import contents, empty

    folder, kinds = cache_folder(), contents()
    removed = empty() if emptied else (0, 0)
    if as_json:
        summary = {"folder": str(folder), "kept": [asdict(kind) for kind in kinds], "removed": removed[0]}
        click.echo(json.dumps(summary, indent=2))
        return
    console = Console(highlight=False)
    files, size = sum(kind.files for kind in kinds), sum(kind.size for kind in kinds)
    state = "removed" if emptied else "kept"
    console.print(f"{escape(printable(str(folder)))}: {files} files, {decimal(size)} {state}")
    if kinds and not emptied:
        table = Table("kept", "files", "size", box=None)
        for kind in kinds[:SHOWN]:
            table.add_row(escape(printable(kind.what)), str(kind.files), decimal(kind.size))
        console.print(table)
        if len(kinds) > SHOWN:
            console.print(f"and {len(kinds) - SHOWN} more kinds")
