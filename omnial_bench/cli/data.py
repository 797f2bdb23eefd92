"""`omnial-bench data`: what data sets there are, where they come from, and whether a folder is sound."""

import json
from pathlib import Path

import click

from omnial_bench.cli import options
from omnial_bench.errors import UserError, unknown


@click.group()
def data() -> None:
    """List, obtain, verify and draw data sets."""


@data.command("list")
@options.together(options.no_seed, options.as_json)
def list_command(seed: int | None, as_json: bool) -> None:  # noqa: ARG001
    """The data sets that are known by name."""
    from omnial_bench.data.catalog import CATALOG

    if as_json:
        entries = [
            {
                "name": entry.name,
                "title": entry.title,
                "url": entry.url,
                "licence": entry.licence,
                "notice": entry.notice,
                "layout": entry.layout,
                "categories": {
                    name: {"kind": c.kind, "train": c.train, "test_good": c.test_good, "test_defect": c.test_defect}
                    for name, c in entry.categories.items()
                },
            }
            for entry in CATALOG.values()
        ]
        click.echo(json.dumps(entries, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "objects", "textures", "train", "test good", "test defect", "licence", box=None)
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
    for entry in CATALOG.values():
        console.print(f"{entry.name}: {entry.url or f'omnial-bench data {entry.name} DIR'}", highlight=False)


@data.command()
@click.argument("name")
@options.no_seed
def download(name: str, seed: int | None) -> None:  # noqa: ARG001
    """Say where the data set NAME is obtained; it is not fetched by this version."""
    from omnial_bench.data.catalog import CATALOG
    from omnial_bench.data.folder import LOOKED_FOR

    if name not in CATALOG:
        raise unknown("data set", name, CATALOG)
    entry = CATALOG[name]
    if not entry.url:
        raise UserError(f"{name} is drawn, not downloaded; try: omnial-bench data {name} DIR")
    raise UserError(
        f"{entry.title} ({entry.licence}) cannot be fetched by this version; obtain it from {entry.url}, "
        f"unpack it to {LOOKED_FOR}, and try: omnial-bench data verify DIR"
    )


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.together(options.no_seed, options.as_json)
@click.pass_context
def verify(context: click.Context, folder: Path, seed: int | None, as_json: bool) -> None:  # noqa: ARG001
    """Count the pictures in DIR and look for files that cannot be used; exit 1 where there are any."""
    from omnial_bench.data.verify import verify as look_through

    found = look_through(folder)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        context.exit(1 if found.problems else 0)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"{found.name} in {escape(str(folder))}, {found.layout} layout", highlight=False)
    table = Table("category", "train", "test good", "test defect", "defects", box=None)
    for count in found.counts:
        rows = [f"{name} {number}" for name, number in count.defects.items()] or ["none"]
        numbers = [str(number) for number in (count.train, count.test_good, count.test_defect)]
        table.add_row(escape(count.category), *numbers, escape("\n".join(rows)))
    console.print(table)
    for count in found.counts:
        pairs = zip(
            ("train", "test good", "test defect"),
            (count.train, count.test_good, count.test_defect),
            count.published,
            strict=True,
        )
        parts = [f"{number} of {known} {part}" for part, number, known in pairs if known not in (None, number)]
        if parts:
            console.print(f"not as published: {count.category}, {', '.join(parts)}", highlight=False)
    if found.problems:
        problems = Table("file", "problem", box=None, title=f"problems: {len(found.problems)}")
        for problem in found.problems:
            problems.add_row(escape(problem.path), escape(problem.what))
        console.print(problems)
        context.exit(1)
    console.print("every picture can be read and every defect has a mask of its size", highlight=False)


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--size", type=int, default=64, show_default=True, help="Side of the pictures in pixels.")
@options.seed
def toy(folder: Path, size: int, seed: int) -> None:
    """Draw the embedded data set into DIR, in MVTec AD's layout."""
    from omnial_bench.data.toy import draw_toy

    draw_toy(folder, size=size, seed=seed)
    click.echo(f"drew the toy data set in {folder}")
