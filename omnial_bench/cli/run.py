"""`run` and `demo`: a plan from its data to its report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omnial_bench.cli import flags
from omnial_bench.errors import UserError
from omnial_bench.io.links import check_links
from omnial_bench.io.whole import make_folder
from omnial_bench.progress import watching

if TYPE_CHECKING:
    from omnial_bench.config.schema import Plan

WHY = 3
"""Reasons shown of a task."""


@click.command()
@click.argument("plan")
@flags.together(
    flags.data, flags.reader, flags.labels, flags.textures, flags.out, flags.device, flags.devices,
    flags.precision, flags.plan_seed, flags.jobs, flags.recompute, flags.trust,
    click.option(
        "--keep-models", is_flag=True,
        help="Take finished trainings of the same recipe, data and seed as they are, whatever code made them.",
    ),
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
        help="Where tasks run: in --jobs processes here, or on a Ray cluster.",
    ),
    click.option("--address", metavar="HOST:PORT", help="The Ray cluster's; default: $RAY_ADDRESS, else one here."),
    click.option(
        "--mirror", metavar="URL",
        help="Keep the run there as well, and begin from what lies there: s3://bucket/run, gs://, sftp://, file://.",
    ),
    click.option("--dry-run", is_flag=True, help="List the tasks: done, or due and why. Do none."),
    click.option("--json", "as_json", is_flag=True, help="With --dry-run: print JSON instead of a table."),
)  # fmt: skip
def run(plan: str, engine: str, address: str | None, dry_run: bool, as_json: bool, **settings: Any) -> None:
    """Train, attack, score and report what PLAN names: a record of plans/ or the path of a TOML file.

    Done work in --out is not done again, so a run that was stopped goes on with the same command.
    """
    if as_json and not dry_run:
        raise UserError("expected --json with --dry-run, got it alone; add --dry-run, or read results.csv")
    if address is not None and engine != "ray":
        raise UserError("expected --address with --engine ray, got it alone; add --engine ray")
    if engine == "ray" and settings["jobs"] > 1:
        raise UserError("expected --jobs with the local engine, got it with ray, where the cluster says; leave it out")
    changed = _plan(plan, {name: settings.pop(name) for name in ("seed", "reader", "labels")}, settings)
    if dry_run:
        _list(changed, as_json, **settings)
    else:
        _run(changed, engine=engine, address=address, **settings)


@click.command()
@flags.together(
    click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", default=Path("demo-run"), show_default=True,
        help="Folder to write.",
    ),
    flags.device, flags.precision, flags.plan_seed,
    click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes side by side."),
)  # fmt: skip
def demo(out: Path, device: str, precision: Any, seed: int | None, jobs: int) -> None:
    """The whole benchmark, thin: three detectors, two paradigms, three adversarial sets, on images drawn by code."""
    from omnial_bench.data.toy.make import draw_toy
    from omnial_bench.runtime import fabric

    fabric(device, precision)
    check_links(out)
    data = make_folder(out) / "data"
    draw_toy(data)
    plan = _plan("demo", {"seed": seed}, {"data": data, "textures": None, "out": out})
    _run(plan, data=data, out=out, device=device, precision=precision, jobs=jobs)


def _run(plan: "Plan", *, out: Path, engine: str = "local", address: str | None = None, **settings: Any) -> None:
    from omnial_bench.pipeline.plan import Settings
    from omnial_bench.pipeline.ray_executor import Cluster
    from omnial_bench.pipeline.run_plan import run as run_plan
    from omnial_bench.reports.document import FORMATS, write_report

    cluster = Cluster(address=address) if engine == "ray" else None
    with watching() as watch:
        run_plan(plan, Settings(out=out, **settings), watch=watch, cluster=cluster, report=write_report)
    click.echo(f"rows   {out / 'results.csv'}")
    for name in FORMATS:
        click.echo(f"report {out / f'report.{name}'}")


def _plan(name: str, given: Mapping[str, Any], settings: Mapping[str, Any]) -> "Plan":
    """The plan with what is given in its place, looked through before torch is imported."""
    from omnial_bench.config.load import read_plan
    from omnial_bench.pipeline.early import check_run

    plan = read_plan(name).model_copy(update={key: value for key, value in given.items() if value is not None})
    check_run(plan, data=settings["data"], out=settings["out"], textures=settings["textures"])
    return plan


def _list(plan: "Plan", as_json: bool, **settings: Any) -> None:
    from omnial_bench.pipeline.plan import Settings
    from omnial_bench.pipeline.run_plan import dry_run

    entries = dry_run(plan, Settings(**settings))
    if as_json:
        rows = [
            {
                "task": str(entry.task), "name": entry.task.name, "kind": entry.task.kind,
                "status": "done" if entry.done else "due", "why": list(entry.reasons), "needs": list(entry.task.needs),
            }
            for entry in entries
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.text import Text

    from omnial_bench.cli.terminal import bare_table, print_table

    view = bare_table()
    for name in ("task", "status", "why"):
        view.add_column(name, overflow="fold")
    for entry in entries:
        status = Text("done", style="green") if entry.done else Text("due", style="yellow")
        more = f" (and {len(entry.reasons) - WHY} more)" if len(entry.reasons) > WHY else ""
        view.add_row(Text(str(entry.task)), status, Text("; ".join(entry.reasons[:WHY]) + more))
    print_table(view)
    done = sum(entry.done for entry in entries)
    click.echo(f"{len(entries)} tasks: {done} done, {len(entries) - done} due")
