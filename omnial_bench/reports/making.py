"""Tables of records: how models and sets were made, and how the checks of the attacks went. No torch here."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.model_rows import Notes, Rows, facts_of, failures_of, letters_of, pair_words
from omnial_bench.reports.origins import FAILED, NOT_RUN, PASSED, WHOLE, MadeModel, MadeSet, Training
from omnial_bench.reports.table import DASH, TIMES, Column, Table
from omnial_bench.reports.values import Values
from omnial_bench.reports.wording import model_column


def sets_table(values: Values, manifests: Mapping[str, MadeSet]) -> Table | None:
    """What each set is: threat model, source, images, loss at the first and the last step, largest change on disk."""
    rows = Rows(values)
    for condition in (item for item in values.conditions if item.set in manifests and not item.white_box):
        manifest = manifests[condition.set]
        synthetic = sum(part.synthetic for part in manifest.counts.values())
        images = synthetic + sum(part.good for part in manifest.counts.values())
        steps = manifest.loss.steps if condition.attacked else ()
        rows.add(
            set=condition.set,
            threat=condition.threat if condition.attacked else "none (control)",
            source=values.titles.of_sources(condition.sources),
            images=images or math.nan,
            anomalous=synthetic / images if images else math.nan,
            steps=len(steps) or math.nan,
            loss_first=steps[0] if steps else math.nan,
            loss_last=steps[-1] if steps else math.nan,
            largest_change=manifest.largest_change,
        )
    if not rows.records:
        return None
    columns = (
        Column("set", "Set", style="text"),
        Column("threat", "Threat model", style="text"),
        Column("source", "Source", style="text", wide=True),
        Column("images", "n", style="count"),
        Column("anomalous", "anom. %", style="percent"),
        Column("steps", "steps", style="count"),
        Column("loss_first", "first", group="Loss", style="fraction"),
        Column("loss_last", "last", group="Loss", style="fraction"),
        Column("largest_change", "levels", group="Change", style="count"),
    )
    caption = (
        "The sets. Every image is a training normal of the detectors, most with a synthetic anomaly (anom. %: share "
        "of images). Loss: mean of the attacked objective over the images at the first and at the last step. "
        "Change: the largest difference of any byte of a saved image from the same image before the attack, of 255."
    )
    return rows.table("sets", caption, columns)


def settings_table(values: Values, sidecars: Mapping[str, MadeModel]) -> Table | None:
    """How each model was trained, from what lies beside each checkpoint, by the name of its folder."""
    rows = Rows(values)
    for model in values.models:
        mine = [sidecar for name, sidecar in sidecars.items() if model.owns(name)]
        if not mine:
            continue
        recipe = mine[0].recipe
        steps = [sidecar.provenance.iterations for sidecar in mine if sidecar.provenance.iterations is not None]
        # What was fitted, or taken as it was, spent no budget.
        training = recipe.training if any(steps) or not steps else Training()
        rows.add(
            **facts_of(values, model),
            trainings=len(mine),
            size=f" {TIMES} ".join(map(str, recipe.size)),
            batch=training.batch,
            epochs=training.epochs,
            lr=DASH if training.lr is None else f"{training.lr:g}",
            fewest=min(steps, default=math.nan),
            most=max(steps, default=math.nan),
            precision=_each(sidecar.provenance.precision for sidecar in mine),
            commit=_each(sidecar.provenance.commit for sidecar in mine),
        )
    if not rows.records:
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
    if any(record["most"] == 0 for record in rows.records):
        caption += " A detector that was fitted, or taken as it was, has no budget and no iterations."
    return rows.table("settings", caption, columns)


def _each(texts: Iterable[str | None]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text is not None)) or DASH


def health_table(campaign: Campaign) -> Table | None:
    """Each check by model: its verdict over the categories, and below it the figure and what it is compared with."""
    health, values = campaign.health, campaign.values
    if health.empty:
        return None
    models = [model for model in values.models if len(model.rows_in(health))]
    letters = letters_of(health)
    records, marks = list[dict[str, str]](), dict[tuple[int, str], str]()
    for check in dict.fromkeys(health["check"]):
        parts = {model.name: model.rows_in(health[health["check"] == check]) for model in models}
        verdicts = {name: _verdict(part) for name, part in parts.items()}
        figures = {name: _figures(part) for name, part in parts.items()}
        failed = [name for name, verdict in verdicts.items() if verdict.startswith(FAILED)]
        marks |= {(len(records), name): letters[check] for name in failed}
        records.append({"check": check, "row": "verdict", "kind": "check", **verdicts})
        if not set(figures.values()) <= {DASH}:
            records.append({"check": "figure : reference", "row": "figures", "kind": "chance", **figures})
    columns = [Column("check", "Check", style="text")]
    columns += [model_column(values, model, style="text") for model in models]
    ran = health[health["status"] != NOT_RUN]
    apart = not set(health["category"]) <= set(WHOLE)
    by_category = " and one category" if apart else ""
    means = ", means over the categories that passed or, where some failed, over those" if apart else ""
    good, bad = ((ran["status"] == status).sum() for status in (PASSED, FAILED))
    caption = (
        f"Health of the models and of the white-box attacks: {good} of {len(ran)} checks passed and {bad} failed, "
        f"each on one model{by_category}; {len(health) - len(ran)} were not run. "
        f"Below each verdict the figure of the check : its reference{means}. A failed check puts the model's "
        "figures under attack in doubt: footnotes name it, here and beside those figures."
    )
    strong, notes = frozenset(marks), _long_notes(campaign)
    return Table("health", caption, pd.DataFrame(records), tuple(columns), strong=strong, letters=marks, notes=notes)


def _long_notes(campaign: Campaign) -> Notes:
    notes = []
    for _, letter, failures in failures_of(campaign):
        sentences = [
            f"{campaign.values.label(model)}{'' if row.category in WHOLE else f', {row.category}'}: "
            f"{str(row.note).rstrip('.') or 'failed'}."
            for model, rows in failures
            for row in rows.itertuples()
        ]
        notes.append((letter, " ".join(sentences)))
    return tuple(notes)


def _verdict(part: pd.DataFrame) -> str:
    """`failed` where any category failed, with their number; `not run` where none was run."""
    ran, failed = (part["status"] != NOT_RUN).sum(), (part["status"] == FAILED).sum()
    if not ran:
        return NOT_RUN
    if not failed:
        return PASSED
    return FAILED if failed == ran else f"{FAILED} {failed}/{ran}"


def _figures(part: pd.DataFrame) -> str:
    failed = part[part["status"] == FAILED]
    part = failed if len(failed) else part[part["status"] == PASSED]
    if part["figure"].isna().all():
        return DASH
    return pair_words(part["figure"].mean(), part["reference"].mean())
