"""The tables of a report, each a pure function of the rows. No torch here."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from omnial_bench.reports.published import Published, published, published_categories
from omnial_bench.reports.table import Column, Style, Table
from omnial_bench.reports.values import (
    MEAN,
    METRIC_TITLES,
    Condition,
    Model,
    Values,
    detector_title,
    panels_of,
    sources_title,
)

HEADLINE = ("image_auroc", "pixel_auroc", "pixel_ap")
BY_CATEGORY = ("image_auroc", "pixel_auroc", "pixel_ap")
_STYLES: dict[str, Style] = {"psnr": "decibel", "ssim": "fraction"}


def headline(values: Values) -> Table:
    """Each model's class means on the clean test, the control and every set, and the change from the control."""
    records: list[dict[str, Any]] = []
    for metric in (name for name in HEADLINE if name in values.metrics):
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        records += [
            {**panel, "kind": "model", "model": values.label(model), **_identity(model), **_across(values, model, metric)}
            for model in values.models
        ]
        chance = {condition.key: values.chance(condition, metric) for condition in values.conditions}
        if not all(math.isnan(level) for level in chance.values()):
            records.append({**panel, "kind": "chance", "model": "chance level", **chance})
    frame = pd.DataFrame(records)
    columns = [Column("model", "Model", style="text")]
    for condition in values.conditions:
        if condition.attacked and values.control:
            columns.append(Column(condition.key, "value", group=condition.label))
            columns.append(Column(f"{condition.key}_change", "Δ", group=condition.label, style="change", muted=True))
        else:
            columns.append(Column(condition.key, condition.label))
    best = _best(frame, [column.key for column in columns if column.style == "percent"])
    return Table("headline", _headline_caption(values), frame, tuple(columns), strong=best)


def by_category(values: Values, metric: str) -> Table:
    """One metric on the clean test by category, detectors x paradigms, published figures beside where they compare."""
    clean = values.clean
    shown = [model for model in values.models if not math.isnan(values.get(model, clean, metric))]
    printed = {
        (model, category): figure
        for model in shown
        for category in values.categories
        if (figure := _comparable(values, model, category, metric)) is not None
    }
    records = [_category_record(values, metric, category, shown, printed) for category in values.categories]
    records.append({"kind": "mean", "category": "class mean", **_mean_record(values, metric, shown, printed)})
    frame = pd.DataFrame(records)
    columns = [Column("category", "Category", style="text")]
    compared = {model for model, _ in printed}
    for model in shown:
        short = model.paradigm if len(shown) > 2 else values.label(model)
        columns.append(Column(model.name, short, group=detector_title(model.detector)))
        if model in compared:
            columns.append(
                Column(f"{model.name}_published", "publ.", group=detector_title(model.detector), muted=True)
            )
    chance = [values.chance(clean, metric, name) for name in (*values.categories, MEAN)] if clean else []
    if any(not math.isnan(level) for level in chance):
        frame["chance"] = chance
        columns.append(Column("chance", "chance", muted=True))
    marked = frozenset(
        (values.categories.index(category), f"{model.name}_published")
        for (model, category), figure in printed.items()
        if figure.note
    )
    caption = _category_caption(values, metric, printed)
    return Table(f"by_category_{metric}", caption, frame, tuple(columns), marked=marked)


def panel_comparison(values: Values) -> Table | None:
    """Detectors trained without and with panels side by side; None where the rows hold no such pair."""
    by_name = {(model.detector, model.paradigm, model.preset): model for model in values.models}
    records: list[dict[str, Any]] = []
    for model in values.models:
        base, panels = panels_of(model.detector)
        twin = by_name.get((base, model.paradigm, model.preset))
        if panels is None or twin is None:
            continue
        without, with_panels = (twin, model) if panels else (model, twin)
        for one, variant in ((without, "without panels"), (with_panels, "with panels")):
            record: dict[str, Any] = {"panel": f"{detector_title(base)} {model.paradigm}", "variant": variant}
            for metric in HEADLINE:
                record[metric] = values.get(one, values.clean, metric)
                figure = published(values.dataset, MEAN, base, model.paradigm, metric, variant=variant)
                whole = published_categories(values.dataset) == set(values.categories)
                record[f"{metric}_published"] = figure.value if figure and whole else math.nan
            records.append(record)
    if not records:
        return None
    frame = pd.DataFrame(records)
    columns = [Column("variant", "Synthesis", style="text")]
    for metric in HEADLINE:
        columns.append(Column(metric, "value", group=METRIC_TITLES[metric]))
        if frame[f"{metric}_published"].notna().any():
            columns.append(Column(f"{metric}_published", "publ.", group=METRIC_TITLES[metric], muted=True))
    caption = (
        "Panel-guided synthesis against the detector's own: the same detector trained without and with panels. "
        f"Clean test, {_mean_words(values)}, per cent."
    )
    return Table("panels", caption, frame, tuple(columns))


def every_metric(values: Values) -> Table:
    """Every metric of every model under every condition, class means."""
    records = [
        {
            "panel": condition.label if not condition.attacked else f"{condition.label} ({condition.set})",
            "set": condition.set,
            "threat": condition.threat,
            "source": condition.source,
            **_identity(model),
            "model": values.label(model),
            **{metric: values.get(model, condition, metric) for metric in values.metrics},
            "pictures": values.total(condition, model),
        }
        for condition in values.conditions
        for model in values.models
        if values.total(condition, model)
    ]
    columns = [Column("model", "Model", style="text")]
    for metric in values.metrics:
        level, _, short = METRIC_TITLES[metric].partition(" ")
        unit = {"psnr": " (dB)"}.get(metric, "")
        group = level if short else "Reconstruction"
        columns.append(Column(metric, (short or level) + unit, group=group, style=_STYLES.get(metric, "percent")))
    columns.append(Column("pictures", "n", style="count"))
    caption = (
        f"Every metric, {_mean_words(values)}; per cent, PSNR in dB and SSIM as a fraction; n counts the pictures. "
        "PSNR and SSIM: reconstruction against the normal picture, on the clean test for its normal pictures alone."
    )
    return Table("all_metrics", caption, pd.DataFrame(records), tuple(columns))


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


def _identity(model: Model) -> dict[str, str]:
    return {"detector": model.detector, "paradigm": model.paradigm, "preset": model.preset}


def _across(values: Values, model: Model, metric: str) -> dict[str, float]:
    record: dict[str, float] = {}
    for condition in values.conditions:
        record[condition.key] = values.get(model, condition, metric)
        if condition.attacked and values.control:
            record[f"{condition.key}_change"] = values.change(model, condition, metric)
    return record


def _best(frame: pd.DataFrame, keys: Sequence[str]) -> frozenset[tuple[int, str]]:
    """The highest printed value of each column in each block; ties are all best, and a lone model is not."""
    best: set[tuple[int, str]] = set()
    for _, block in frame[frame["kind"] == "model"].groupby("panel", sort=False):
        for key in keys:
            printed = block[key].mul(100).round(1)
            if printed.notna().sum() > 1:
                best |= {(int(str(index)), key) for index in printed.index[printed == printed.max()]}
    return frozenset(best)


def _comparable(values: Values, model: Model, category: str, metric: str) -> Published | None:
    """The printed figure where the data set, the category and the number of test pictures are those of the paper."""
    clean = values.clean
    figure = published(values.dataset, category, model.detector, model.paradigm, metric)
    same = figure and clean and values.count(model, clean, category) == figure.test_images
    return figure if same else None


def _category_record(
    values: Values, metric: str, category: str, models: Sequence[Model], printed: Mapping[tuple[Model, str], Published]
) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": "category", "category": category}
    for model in models:
        record[model.name] = values.get(model, values.clean, metric, category)
        figure = printed.get((model, category))
        record[f"{model.name}_published"] = figure.value if figure else math.nan
    return record


def _mean_record(
    values: Values, metric: str, models: Sequence[Model], printed: Mapping[tuple[Model, str], Published]
) -> dict[str, float]:
    record: dict[str, float] = {}
    for model in models:
        record[model.name] = values.get(model, values.clean, metric)
        figures = [printed[model, name].value for name in values.categories if (model, name) in printed]
        whole = len(figures) == len(values.categories)
        record[f"{model.name}_published"] = sum(figures) / len(figures) if whole and figures else math.nan
    return record


def _mean_words(values: Values) -> str:
    many = len(values.categories)
    seeds = f", averaged over {len(values.seeds)} seeds" if len(values.seeds) > 1 else ""
    names = ", ".join(values.categories) if many <= 6 else f"{', '.join(values.categories[:3])} and {many - 3} others"
    return f"unweighted mean over {many} categories ({names}){seeds}" if many != 1 else f"category {names}{seeds}"


def set_words(values: Values) -> str:
    """One sentence on what the sets were made from, and on which models."""
    by_source: dict[str, list[Condition]] = {}
    for condition in values.sets:
        by_source.setdefault(sources_title(condition.sources), []).append(condition)
    if len(by_source) == 1:
        return f"All sets were made from one source: {next(iter(by_source))}."
    return " ".join(f"{', '.join(item.label for item in part)}: made from {name}." for name, part in by_source.items())


def _headline_caption(values: Values) -> str:
    parts = [f"Figures in per cent, {_mean_words(values)}; the best of each column in bold."]
    if values.clean:
        parts.append(f"Clean test: the test split, {values.total(values.clean)} pictures.")
    if values.control:
        count = values.total(values.control)
        parts.append(
            f"Control: the {count} pictures of the sets before any attack, training normals of the detectors with and "
            "without synthetic anomalies. Δ: change from the control in points, the same pictures before and after."
        )
    if values.sets:
        parts.append(set_words(values))
    if any(not math.isnan(values.chance(condition, "pixel_ap")) for condition in values.conditions):
        parts.append("The chance level of AP is the share of anomalous pixels, so the clean test and the sets differ.")
    return " ".join(parts)


def _category_caption(values: Values, metric: str, printed: Mapping[tuple[Model, str], Published]) -> str:
    parts = [
        f"{METRIC_TITLES[metric]} on the clean test by category, in per cent. "
        "Class mean: the unweighted mean of the categories' own figures."
    ]
    if printed:
        parts.append(
            "Publ.: the figure printed in the OmniAL paper (CVPR 2023) for the same data set, where the number of test "
            "pictures is the published one; settings differ (see the provenance). Its mean is over the categories shown."
        )
        notes = [
            f"{detector_title(model.detector)} {model.paradigm}, {category}: {figure.note}"
            for (model, category), figure in printed.items()
            if figure.note
        ]
        parts += [f"† {'; '.join(notes)}."] if notes else []
    return " ".join(parts)
