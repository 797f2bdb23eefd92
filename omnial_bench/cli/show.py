"""`show`: detectors, attack suites and plans that exist."""

import json
from typing import Any

import click
import tomli_w

from omnial_bench.cli import flags
from omnial_bench.io.whole import without_none

COLUMNS = {
    "detectors": ("title", "source", "presets"),
    "attacks": ("title", "threats"),
    "plans": ("title", "detectors", "preset", "categories"),
}
"""What a list shows of each record, beside its name."""


@click.command()
@click.argument("kind", type=click.Choice(["detectors", "attacks", "plans"]))
@click.argument("name", required=False)
@flags.together(
    click.option("--preset", help="With detectors: parameters and forward FLOPs at this preset."),
    flags.no_seed, flags.as_json,
)  # fmt: skip
def show(kind: str, name: str | None, preset: str | None, as_json: bool) -> None:
    """List what exists of a KIND, or one record by NAME."""
    if name is not None and preset is None:
        record = _read(kind, name)
        click.echo(json.dumps(record, indent=2) if as_json else tomli_w.dumps(without_none(record)).rstrip())
        return
    import pandas as pd

    from omnial_bench.cli.terminal import show as show_table

    rows = _rows(kind, [name] if name else None, preset)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    flat = [{key: _short(value) for key, value in row.items()} for row in rows]
    show_table(pd.DataFrame(flat), title=kind, as_json=False)


def _rows(kind: str, names: list[str] | None, preset: str | None) -> list[dict[str, Any]]:
    from omnial_bench.config import load as reading

    folder: Any = {"detectors": "models"}.get(kind, kind)
    names = names or reading.record_names(folder)
    if kind == "detectors" and preset is not None:
        recipes = {name: reading.read_recipe(name, preset) for name in names}
        # After it, for it brings torch along.
        from omnial_bench.models.registry import describe

        return [{"name": name, **describe(recipe)} for name, recipe in recipes.items()]
    records = [(name, _read(kind, name)) for name in names]
    return [{"name": name, **{column: _names(record[column]) for column in COLUMNS[kind]}} for name, record in records]


def _names(value: Any) -> Any:
    """Of records in a record the names alone."""
    if isinstance(value, str):
        return value
    return [part["name"] if isinstance(part, dict) else part for part in value]


def _read(kind: str, name: str) -> dict[str, Any]:
    from omnial_bench.config import load as reading

    read: Any = {"detectors": reading.read_detector, "attacks": reading.read_suite, "plans": reading.read_plan}[kind]
    table: dict[str, Any] = read(name).model_dump(mode="json")
    return table


def _short(value: Any) -> str:
    if value is None:
        return "not counted: its code is not run, or its state comes with the fit"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item:,}" for key, item in value.items())
    # FLOPs, in billions: digits that a narrow terminal would break among.
    return f"{value / 1e9:,.2f} G" if isinstance(value, int) else str(value)
