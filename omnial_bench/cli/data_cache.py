"""`omnial-bench data cache`: what is kept of decoded images."""

import json
from dataclasses import asdict

import click

from omnial_bench.cli import flags
from omnial_bench.errors import printable

SHOWN = 20
"""Kinds of kept files that are listed."""


@click.command("cache")
@click.option("--empty", "emptied", is_flag=True, help="Remove all of it; runs make what they want again.")
@flags.together(flags.no_seed, flags.as_json)
def cache_command(emptied: bool, seed: int | None, as_json: bool) -> None:  # noqa: ARG001
    """Show where decoded images are kept and how much there is, or remove it."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    from omnial_bench.data.cache import cache_folder
    from omnial_bench.data.kept import contents, empty

    folder, kept = cache_folder(), contents()
    removed = empty() if emptied else (0, 0)
    if as_json:
        summary = {"folder": str(folder), "kept": [asdict(one) for one in kept], "removed": removed[0]}
        click.echo(json.dumps(summary, indent=2))
        return
    console = Console()
    files, size = sum(one.files for one in kept), sum(one.size for one in kept)
    done = "removed" if emptied else "kept"
    console.print(f"{escape(printable(str(folder)))}: {files} files, {decimal(size)} {done}", highlight=False)
    if kept and not emptied:
        table = Table("kept", "files", "size", box=None)
        for one in kept[:SHOWN]:
            table.add_row(escape(printable(one.what)), str(one.files), decimal(one.size))
        console.print(table)
        if len(kept) > SHOWN:
            console.print(f"and {len(kept) - SHOWN} more kinds", highlight=False)
