"""`omnial-bench data list`: what data sets there are and where they come from."""

import json
from dataclasses import asdict
from typing import Any

import click

from omnial_bench.cli import flags


@click.command("list")
@flags.together(flags.no_seed, flags.as_json)
def list_command(seed: int | None, as_json: bool) -> None:  # noqa: ARG001
    """The data sets that are known by name."""
    from omnial_bench.data.catalog import CATALOG, TEXTURES, obtainable

    if as_json:
        entries = [
            {
                **facts(entry),
                "layout": entry.layout,
                "categories": {
                    name: {"kind": c.kind, "train": c.train, "test_good": c.test_good, "test_defect": c.test_defect}
                    for name, c in entry.categories.items()
                },
            }
            for entry in CATALOG.values()
        ]
        entries += [{**facts(source), "layout": "textures", "categories": {}} for source in TEXTURES.values()]
        click.echo(json.dumps(entries, indent=2))
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("name", "objects", "textures", "train", "good", "defects", "licence", box=None)
    console = Console()
    for entry in CATALOG.values():
        totals = [
            [getattr(category, part) for category in entry.categories.values()]
            for part in ("train", "test_good", "test_defect")
        ]
        numbers = ["any" if None in values else f"{sum(values):,}" for values in totals]
        kinds = [category.kind for category in entry.categories.values()]
        shares = [str(kinds.count(kind)) for kind in ("object", "texture")]
        table.add_row(entry.name, *shares, *numbers, entry.licence)
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


def facts(entry: Any) -> dict[str, Any]:
    """What is said of a data set or a source of textures before it is fetched."""
    names = ("name", "title", "url", "licence", "notice")
    archive = None if entry.archive is None else asdict(entry.archive)
    return {name: getattr(entry, name) for name in names} | {"archive": archive}
