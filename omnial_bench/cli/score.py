"""`score`: trained models on clean and attacked pictures."""

from pathlib import Path

import click

from omnial_bench.cli import options
from omnial_bench.cli.progress import watching


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...")
@options.together(
    options.data,
    click.option(
        "--set", "sets", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="An adversarial set."
    ),
    options.out, options.device, options.row_seed, options.as_json,
)  # fmt: skip
def score(
    checkpoints: tuple[str, ...], data: Path, sets: tuple[Path, ...], out: Path, device: str,
    seed: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Score CHECKPOINTs on the clean test split of --data and on every --set; rows go to results.csv in --out."""
    from omnial_bench.cli.tables import show
    from omnial_bench.steps import score_models

    with watching() as watch:
        rows = score_models(checkpoints, data=data, sets=sets, out=out, device=device, seed=seed, watch=watch)
    means = rows[rows["category"] == "mean"]
    shown = means[~means["metric"].str.endswith("_chance")].pivot_table(
        index=["detector", "paradigm", "set"], columns="metric", values="value", sort=False
    )
    show(rows if as_json else shown.reset_index(), title="class means", as_json=as_json)
    if not as_json:
        click.echo(f"rows {out / 'results.csv'}")
