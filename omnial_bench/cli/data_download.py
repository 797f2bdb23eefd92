"""`omnial-bench data download`: a data set fetched, once its licence is accepted."""

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from omnial_bench.cli import flags
from omnial_bench.errors import UserError, unknown


@click.command()
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="You have read the licence and keep to it.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="New folder; default: datasets/NAME.")
@click.option("--url", metavar="URL", help="Another place of the same file; its hash decides.")
@flags.together(flags.no_seed, flags.as_json)
def download(name: str, accept_licence: bool, out: Path | None, url: str | None, as_json: bool) -> None:
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
    if not as_json:
        algorithm, _, digest = archive.digest.partition(":")
        click.echo(f"name    {entry.title}, {archive.file}")
        click.echo(f"url     {archive.url if url is None else url}")
        click.echo(f"{algorithm:8}{digest}")
        click.echo(f"size    {archive.size:,} bytes")
        click.echo(f"licence {entry.licence}, {archive.terms}")
        click.echo(f"notice  {entry.notice}")
    if not accept_licence:
        layout = "images in any folders" if name in TEXTURES else LOOKED_FOR
        raise UserError(
            f"the licence of {entry.title} ({entry.licence}) is not accepted; read {archive.terms} and give "
            f"--accept-licence, or obtain it from {entry.url} and unpack it to {layout}"
        )
    from omnial_bench.data.download import obtain

    with _steps() as tell:
        fresh = obtain(archive, folder, url=url, tell=tell)
    if as_json:
        click.echo(json.dumps(facts(entry) | {"folder": str(folder), "fetched": fresh}, indent=2))
        return
    if fresh:
        click.echo(f"the archive stays at {folder.parent / archive.file}; it may be deleted")
    place = shlex.quote(str(folder))
    then = f"run PLAN --data ROOT --textures {place} --out RUN" if name in TEXTURES else f"data verify {place}"
    click.echo(f"{entry.title} {'is now' if fresh else 'was already'} in {folder}; next: omnial-bench {then}")


def facts(entry: Any) -> dict[str, Any]:
    """What is known of a data set or a source of textures before it is fetched."""
    archive = None if entry.archive is None else asdict(entry.archive)
    return {name: getattr(entry, name) for name in ("name", "title", "url", "licence", "notice")} | {"archive": archive}


@contextmanager
def _steps() -> Iterator[Callable[[int, int, str], None]]:
    """A bar in bytes for each step that news comes of; where there is no terminal, a line."""
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    from omnial_bench.cli.terminal import bars

    with bars(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as show:
        ended = set()

        def tell(done: int, total: int, step: str) -> None:
            if show is not None:
                show(step, done, total)
            elif done == total and step not in ended:
                ended.add(step)
                click.echo(f"{step} done, {total:,} bytes", err=True)

        yield tell
