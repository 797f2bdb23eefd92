"""`omnial-bench data`: what data sets there are, where they come from, and whether a folder is sound."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from omnial_bench.cli import flags
from omnial_bench.errors import UserError, printable, unknown

SHOWN = 20
"""Kinds of kept files that are listed."""


@click.group()
def data() -> None:
    """List, obtain, verify and draw data sets."""


@data.command("list")
@flags.together(flags.no_seed, flags.as_json)
def list_command(seed: int | None, as_json: bool) -> None:  # noqa: ARG001
    """The data sets that are known by name."""
    from omnial_bench.data.catalog import CATALOG, TEXTURES, obtainable

    if as_json:
        entries = [
            {
                **_facts(entry),
                "layout": entry.layout,
                "categories": {
                    name: {"kind": c.kind, "train": c.train, "test_good": c.test_good, "test_defect": c.test_defect}
                    for name, c in entry.categories.items()
                },
            }
            for entry in CATALOG.values()
        ]
        entries += [{**_facts(source), "layout": "textures", "categories": {}} for source in TEXTURES.values()]
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


@data.command()
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="You have read the licence and keep to it.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="New folder; default: datasets/NAME.")
@click.option("--url", metavar="URL", help="Another place of the same file; its hash decides.")
@flags.together(flags.no_seed, flags.as_json)
def download(
    name: str,
    accept_licence: bool,
    out: Path | None,
    url: str | None,
    seed: int | None,  # noqa: ARG001
    as_json: bool,
) -> None:
    """Fetch, check and unpack the data set NAME: mvtec, visa or the textures dtd.

    What was cut off is gone on with; what is there already is not fetched again.
    """
    from omnial_bench.data.catalog import CATALOG, TEXTURES, obtainable
    from omnial_bench.data.readers.mvtec import LOOKED_FOR

    entry = obtainable().get(name)
    if entry is None and name in CATALOG and (url := CATALOG[name].url):
        raise UserError(f"{name} is not fetched by this command; obtain it from {url}, and see data verify")
    if entry is None and name in CATALOG:
        raise UserError(f"{name} is drawn, not downloaded; try: omnial-bench data {name} DIR")
    if entry is None or entry.archive is None:
        raise unknown("data set", name, obtainable())
    archive, folder = entry.archive, Path("datasets") / entry.name if out is None else out
    facts = _facts(entry) | {"folder": str(folder)}
    if not as_json:
        lines = {
            "name": f"{entry.title}, {archive.file}",
            "url": archive.url if url is None else url,
            archive.digest.partition(":")[0]: archive.digest.partition(":")[2],
            "size": f"{archive.size:,} bytes",
            "licence": f"{entry.licence}, {archive.terms}",
            "notice": entry.notice,
        }
        for title, text in lines.items():
            click.echo(f"{title:8}{text}")
    if not accept_licence:
        layout = "images in any folders" if name in TEXTURES else LOOKED_FOR
        raise UserError(
            f"the licence of {entry.title} ({entry.licence}) is not accepted; read {archive.terms} and give "
            f"--accept-licence, or obtain it from {entry.url} and unpack it to {layout}"
        )
    from omnial_bench.data.download import obtain

    with _bars() as tell:
        fresh = obtain(archive, folder, url=url, tell=tell)
    if as_json:
        click.echo(json.dumps(facts | {"fetched": fresh}, indent=2))
        return
    if fresh:
        click.echo(f"the archive stays at {folder.parent / archive.file}; it may be deleted")
    place = shlex.quote(str(folder))
    then = f"run PLAN --data ROOT --textures {place} --out RUN" if name in TEXTURES else f"data verify {place}"
    click.echo(f"{entry.title} {'is now' if fresh else 'was already'} in {folder}; next: omnial-bench {then}")


def _facts(entry: Any) -> dict[str, Any]:
    """What is said of a data set or a source of textures before it is fetched."""
    names = ("name", "title", "url", "licence", "notice")
    archive = None if entry.archive is None else asdict(entry.archive)
    return {name: getattr(entry, name) for name in names} | {"archive": archive}


@contextmanager
def _bars() -> Iterator[Callable[[int, int, str], None]]:
    """A bar in bytes for each step that news comes of, with rate and time left; where there is no terminal, a line."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        ended = set()

        def say(done: int, total: int, step: str) -> None:
            if done == total and step not in ended:
                ended.add(step)
                click.echo(f"{step} done, {total:,} bytes", err=True)

        yield say
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bars = {}

        def tell(done: int, total: int, step: str) -> None:
            if step not in bars:
                bars[step] = progress.add_task(step, total=total)
            progress.update(bars[step], completed=done, total=total)

        yield tell


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@flags.together(
    click.option("--category", "categories", multiple=True, metavar="C", help="Look at these alone; default: all."),
    flags.reader, flags.labels,
    click.option(
        "--size", type=flags.SIZE, default="256x256", show_default=True,
        help="Height x width of the network, at which a defect may vanish.",
    ),
    click.option(
        "--foreground", "picture", type=click.Path(path_type=Path), metavar="FILE",
        help="Draw into a new PNG file where anomalies of adversarial sets may lie.",
    ),
    flags.trust, flags.no_seed, flags.as_json,
)  # fmt: skip
@click.pass_context
def verify(
    context: click.Context,
    /,
    folder: Path,
    seed: int | None,  # noqa: ARG001
    as_json: bool,
    categories: tuple[str, ...],
    picture: Path | None,
    **given: Any,
) -> None:
    """Say how DIR is read, count its images, and look for files that cannot be used and truth that cannot be right.

    Exit 1 where a figure would be wrong with them, 0 with warnings or none.
    """
    from omnial_bench.data.verify import verify as look_through

    with _bar("images") as tell:
        found = look_through(folder, categories or None, tell=tell, **given)
    for line in _drawn(folder, categories, picture, **given) if picture else ():
        click.echo(f"foreground of {printable(line)}", err=as_json)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        context.exit(1 if found.problems else 0)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"{found.name} in {escape(printable(str(folder)))}, {escape(found.layout)} layout", highlight=False)
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
            console.print(f"not as published: {escape(count.category)}, {', '.join(parts)}", highlight=False)
        if count.masks:
            console.print(f"masks of {escape(count.category)}: {count.masks}", highlight=False)
    if found.labels == "image":
        console.print("no masks: image labels alone, so that pixel figures are empty", highlight=False)
    for title, some in (("problems", found.problems), ("warnings", found.warnings)):
        if some:
            problems = Table("file", title.removesuffix("s"), "what to do", box=None, title=f"{title}: {len(some)}")
            for problem in some:
                problems.add_row(*(escape(printable(text)) for text in (problem.path, problem.what, problem.remedy)))
            console.print(problems)
    rate = found.images / max(found.seconds, 1e-3)
    console.print(f"{found.images} images in {found.seconds:.1f} s, {rate:.0f} a second", highlight=False)
    if found.problems:
        context.exit(1)
    masks = " and every defect has a mask of its size" if found.labels == "pixel" else ""
    console.print(f"every image can be read{masks}", highlight=False)


def _drawn(
    folder: Path, categories: tuple[str, ...], picture: Path, *, size: tuple[int, int], **given: Any
) -> list[str]:
    """The picture of the foregrounds, and what it shows."""
    from omnial_bench.data.dataset import scan
    from omnial_bench.synthesis.outlines import draw_foregrounds

    if picture.exists():
        raise UserError(f"{picture} is there already and would be lost; give another name")
    return draw_foregrounds(scan(folder, categories or None, **given), picture, size)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar with a rate where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@data.command("cache")
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
        told = {"folder": str(folder), "kept": [asdict(one) for one in kept], "removed": removed[0]}
        click.echo(json.dumps(told, indent=2))
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


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--size", type=int, default=64, show_default=True, help="Side of the images in pixels.")
@flags.seed
def toy(folder: Path, size: int, seed: int) -> None:
    """Draw the embedded data set into DIR, in MVTec AD's layout."""
    from omnial_bench.data.toy.make import draw_toy

    draw_toy(folder, size=size, seed=seed)
    click.echo(f"drew the toy data set in {folder}")
