"""`omnial-bench data verify`: whether a folder is sound."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from omnial_bench.cli import flags
from omnial_bench.errors import UserError, printable

SHOWN = 100
"""Problems, and warnings, that are listed."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@flags.together(
    click.option("--category", "categories", multiple=True, metavar="C", help="Look at these alone; default: all."),
    flags.reader, flags.labels,
    click.option(
        "--size", type=flags.SIZE, default="256x256", show_default=True,
        help="Height x width of the network, at which a defect may vanish.",
    ),
    click.option(
        "--foreground", "outlines", type=click.Path(path_type=Path), metavar="FILE",
        help="Draw into a new PNG file where anomalies of adversarial sets may lie.",
    ),
    flags.trust, flags.no_seed, flags.as_json,
)  # fmt: skip
def verify(folder: Path, as_json: bool, categories: tuple[str, ...], outlines: Path | None, **given: Any) -> None:
    """Say how DIR is read, count its images, and look for files that cannot be used and truth that cannot be right.

    Exit 1 where a figure would be wrong with them, 0 with warnings or none.
    """
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from omnial_bench.cli.terminal import bars
    from omnial_bench.data.verify import verify as look_through

    context = click.get_current_context()
    with bars(MofNCompleteColumn(), TimeRemainingColumn(), transient=True) as show:
        if show is not None:
            show("images", 0, None)
        found = look_through(folder, categories or None, tell=show and partial(show, "images"), **given)
    for line in _drawn(folder, categories, outlines, **given) if outlines else ():
        click.echo(f"foreground of {printable(line)}", err=as_json)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
        context.exit(1 if found.problems else 0)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{found.name} in {escape(printable(str(folder)))}, {escape(found.layout)} layout")
    table = Table("category", "train", "test good", "test defect", "defects", box=None)
    for count in found.counts:
        rows = [f"{name} {number}" for name, number in count.defects.items()] or ["none"]
        numbers = [str(number) for number in (count.train, count.test_good, count.test_defect)]
        table.add_row(escape(count.category), *numbers, escape("\n".join(rows)))
    console.print(table)
    for count in found.counts:
        counted = {"train": count.train, "test good": count.test_good, "test defect": count.test_defect}
        pairs = zip(counted.items(), count.published, strict=True)
        parts = [f"{number} of {known} {part}" for (part, number), known in pairs if known not in (None, number)]
        if parts:
            console.print(f"not as published: {escape(count.category)}, {', '.join(parts)}")
        if count.masks:
            console.print(f"masks of {escape(count.category)}: {count.masks}")
    if found.labels == "image":
        console.print("no masks: image labels alone, so that pixel figures are empty")
    for title, some in (("problems", found.problems), ("warnings", found.warnings)):
        if some:
            problems = Table("file", title.removesuffix("s"), "what to do", box=None, title=f"{title}: {len(some)}")
            for problem in some[:SHOWN]:
                problems.add_row(*(escape(printable(text)) for text in (problem.path, problem.what, problem.remedy)))
            console.print(problems)
        if len(some) > SHOWN:
            console.print(f"and {len(some) - SHOWN} more {title}, all of them with --json")
    rate = found.images / max(found.seconds, 1e-3)
    console.print(f"{found.images} images in {found.seconds:.1f} s, {rate:.0f} a second")
    if found.problems:
        context.exit(1)
    masks = " and every defect has a mask of its size" if found.labels == "pixel" else ""
    console.print(f"every image can be read{masks}")


def _drawn(
    folder: Path, categories: tuple[str, ...], outlines: Path, *, size: tuple[int, int], **given: Any
) -> list[str]:
    """Draw the foregrounds, and say what is shown."""
    from omnial_bench.data.dataset import scan
    from omnial_bench.synthesis.foreground import draw_foregrounds

    if outlines.exists():
        raise UserError(f"{outlines} is there already and would be lost; give another name")
    return draw_foregrounds(scan(folder, categories or None, **given), outlines, size)
