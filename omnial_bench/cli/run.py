"""`run` and `demo`: a plan from its data to its report."""

from pathlib import Path
from typing import Any

import click

from omnial_bench.cli import options
from omnial_bench.cli.progress import watching
from omnial_bench.store import make_folder


@click.command()
@click.argument("plan")
@options.together(
    options.data, options.textures, options.out, options.device, options.devices, options.precision, options.plan_seed,
    options.jobs,
    click.option(
        "--keep-models", is_flag=True,
        help="Take finished trainings of the same recipe, data and seed as they are, whatever code made them.",
    ),
)  # fmt: skip
def run(plan: str, seed: int | None, **settings: Any) -> None:
    """Train, attack, score and report what PLAN names: a record of plans/ or the path of a TOML file.

    Done work in --out is not done again, so a run that was stopped goes on with the same command.
    """
    _run(plan, seed, **settings)


@click.command()
@options.together(
    click.option(
        "--out", type=click.Path(path_type=Path), metavar="DIR", default=Path("demo-run"), show_default=True,
        help="Folder to write.",
    ),
    options.device, options.precision, options.plan_seed,
    click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes side by side."),
)  # fmt: skip
def demo(out: Path, device: str, precision: Any, seed: int | None, jobs: int) -> None:
    """The whole benchmark, thin: three detectors, two paradigms, three adversarial sets, on pictures drawn by code."""
    from omnial_bench.data.toy import draw_toy
    from omnial_bench.device import fabric

    fabric(device, precision)
    data = make_folder(out) / "data"
    draw_toy(data)
    _run("demo", seed, data=data, textures=None, out=out, device=device, precision=precision, jobs=jobs)


def _run(plan_name: str, seed: int | None, *, out: Path, **settings: Any) -> None:
    from omnial_bench.planning import Settings
    from omnial_bench.records import read_plan
    from omnial_bench.reports.document import write_report
    from omnial_bench.runner import run as run_plan

    plan = read_plan(plan_name)
    if seed is not None:
        plan = plan.model_copy(update={"seed": seed})
    with watching() as watch:
        run_plan(plan, Settings(out=out, **settings), watch=watch)
    written = write_report(out)
    click.echo(f"rows   {out / 'results.csv'}")
    for path in written:
        click.echo(f"report {path}")
