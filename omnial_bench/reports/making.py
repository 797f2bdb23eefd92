"""Tables of how models and sets were made, from their records on disk. No torch here."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from omnial_bench.reports.table import DASH, TIMES, Column, Table
from omnial_bench.reports.tables import identity
from omnial_bench.reports.values import Values, sources_title


def sets_table(values: Values, manifests: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """What each set is: threat model, source, pictures, loss at the first and the last step, largest change on disk."""
    records: list[dict[str, Any]] = []
    for condition in (item for item in values.conditions if item.set in manifests and not item.white_box):
        manifest = manifests[condition.set]
        counts = [part for part in manifest.get("counts", {}).values() if isinstance(part, dict)]
        synthetic = sum(int(part.get("synthetic", 0)) for part in counts)
        pictures = synthetic + sum(int(part.get("good", 0)) for part in counts)
        steps = list(manifest.get("loss", {}).get("steps", []))
        records.append(
            {
                "set": condition.set,
                "threat": condition.threat if condition.attacked else "none (control)",
                "source": sources_title(condition.sources),
                "pictures": pictures or math.nan,
                "anomalous": synthetic / pictures if pictures else math.nan,
                "steps": len(steps) if condition.attacked and steps else math.nan,
                "loss_first": float(steps[0]) if condition.attacked and steps else math.nan,
                "loss_last": float(steps[-1]) if condition.attacked and steps else math.nan,
                "largest_change": manifest.get("largest_change", math.nan),
            }
        )
    if not records:
        return None
    columns = (
        Column("set", "Set", style="text"),
        Column("threat", "Threat model", style="text"),
        Column("source", "Source", style="text", wide=True),
        Column("pictures", "n", style="count"),
        Column("anomalous", "anom. %", style="percent"),
        Column("steps", "steps", style="count"),
        Column("loss_first", "first", group="Loss", style="fraction"),
        Column("loss_last", "last", group="Loss", style="fraction"),
        Column("largest_change", "levels", group="Change", style="count"),
    )
    caption = (
        "The sets. Every picture is a training normal of the detectors, most with a synthetic anomaly (anom. %: share "
        "of pictures). Loss: mean of the attacked objective over the pictures at the first and at the last step. "
        "Change: the largest difference of any byte of a saved picture from the same picture before the attack, of 255."
    )
    return Table("sets", caption, pd.DataFrame(records), columns)


def settings_table(values: Values, sidecars: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """How each model was trained, from the recipe.toml beside each checkpoint, by the name of its folder."""
    records: list[dict[str, Any]] = []
    for model in values.models:
        names = [name for name in sidecars if name == model.name or name.startswith(f"{model.name}-")]
        if not names:
            continue
        recipe = dict(sidecars[names[0]].get("recipe", {}))
        training = dict(recipe.get("training", {}))
        size = recipe.get("size", ())
        made = [sidecars[name].get("provenance", {}) for name in names]
        steps = [int(record["iterations"]) for record in made if "iterations" in record]
        records.append(
            {
                "model": values.label(model),
                **identity(model),
                "trainings": len(names),
                "size": f" {TIMES} ".join(str(side) for side in size),
                "batch": training.get("batch", math.nan),
                "epochs": training.get("epochs", math.nan),
                "lr": f"{training['lr']:g}" if "lr" in training else DASH,
                "fewest": min(steps, default=math.nan),
                "most": max(steps, default=math.nan),
                "precision": _each(made, "precision"),
                "commit": _each(made, "commit"),
            }
        )
    if not records:
        return None
    columns = (
        Column("model", "Model", style="text"),
        Column("preset", "Preset", style="text"),
        Column("trainings", "trainings", style="count"),
        Column("size", f"h {TIMES} w", style="text"),
        Column("batch", "batch", style="count"),
        Column("epochs", "epochs", style="count"),
        Column("lr", "lr", style="text"),
        Column("fewest", "fewest", group="Iterations done", style="count"),
        Column("most", "most", group="Iterations done", style="count"),
        Column("precision", "precision", style="text"),
        Column("commit", "commit", style="text"),
    )
    caption = (
        "Training settings: number of trainings behind each line (separate: one a category), network size in pixels, "
        "the budget in epochs, the iterations done, which a limit on iterations may cut short, and the precision and "
        "the commit of the code that trained."
    )
    return Table("settings", caption, pd.DataFrame(records), columns)


def _each(records: list[dict[str, Any]], name: str) -> str:
    """What the records say under a name, each once."""
    return ", ".join(dict.fromkeys(str(record[name]) for record in records if name in record)) or DASH
