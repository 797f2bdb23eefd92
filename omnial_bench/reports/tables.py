"""The tables of a report, each a pure function of the rows. No torch here."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any

import pandas as pd

from omnial_bench.metrics.registry import METRICS, Metric
from omnial_bench.reports.table import Column, Style, Table
from omnial_bench.reports.titles import joined
from omnial_bench.reports.values import METRIC_TITLES, Condition, Model, Values
from omnial_bench.results import HEADLINE

_STYLES: dict[str, Style] = {"%": "percent", "": "fraction"}
"""By the unit of a metric; others have one decimal."""


def headline(values: Values) -> Table:
    """Each model's class means on the clean test, the control and every set, and the change from the control."""
    records: list[dict[str, Any]] = []
    for metric in (name for name in HEADLINE if name in values.metrics):
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        records += [
            {
                **panel,
                "kind": "model",
                "model": values.label(model),
                **identity(model),
                **_across(values, model, metric),
            }
            for model in values.models
        ]
        chance = {condition.key: values.chance(condition, metric) for condition in values.conditions}
        if not all(math.isnan(level) for level in chance.values()):
            records.append({**panel, "kind": "chance", "model": "chance level", **chance})
    frame = pd.DataFrame(records)
    columns = [Column("model", "Model", style="text")]
    for condition in values.conditions:
        key, number = condition.key, number_words(values, condition)
        spread = f"{key}_sd" if len(values.seeds) > 1 else ""
        if condition.attacked and values.control:
            group = f"{condition.label}, {number}"
            columns.append(Column(key, "value", group=group, spread=spread, interval=key))
            columns.append(Column(f"{key}_change", "Δ", group=group, style="change", muted=True))
        else:
            columns.append(Column(key, f"{condition.label},\n{number}", spread=spread, interval=key))
    caption = f"{_headline_caption(values)} {interval_words(values, frame)}".rstrip()
    rows = frame.to_dict("records")
    marked = {(index, "model"): "a" for index, row in enumerate(rows) if _model_of(row) in values.unlearnt}
    notes = (("a", unlearnt_words(values)),) if marked else ()
    return Table("headline", caption, frame, tuple(columns), letters=marked, notes=notes)


def unlearnt_words(values: Values) -> str:
    """Which models a check says have not learnt, and where."""
    if not values.unlearnt:
        return ""
    names = [
        values.label(model) + (f" ({', '.join(where)})" if where else "") for model, where in values.unlearnt.items()
    ]
    have, them = ("has", "it") if len(names) == 1 else ("have", "them")
    return f"{joined(names)} {have} not learnt, by the health check of that name: nothing is concluded on {them}."


def _model_of(row: Mapping[Hashable, Any]) -> Model:
    """The model that `identity` wrote into the record of a row; of no model in others."""
    return Model(*(str(row.get(name, "")) for name in ("detector", "paradigm", "preset")))


def every_metric(values: Values, described: Mapping[str, Metric] = MappingProxyType({})) -> Table:
    """Every metric of every model under every condition, class means; `described` are those from elsewhere."""
    records = [
        {
            "panel": condition.label if not condition.attacked else f"{condition.label} ({condition.set})",
            "set": condition.set,
            "threat": condition.threat,
            "source": condition.source,
            **identity(model),
            "model": values.label(model),
            **{metric: values.get(model, condition, metric) for metric in (*values.metrics, *values.unknown)},
            "images": values.total(condition, model),
        }
        for condition in values.conditions
        for model in values.models
        if values.total(condition, model)
    ]
    columns = [Column("model", "Model", style="text")]
    own = [described[name] for name in values.unknown if name in described]
    for metric in (*(METRICS[name] for name in values.metrics), *own):
        unit = f" ({metric.unit})" if metric.unit not in ("", "%") else ""
        style = _STYLES.get(metric.unit, "decibel")
        columns.append(Column(metric.name, metric.heading + unit, group=metric.kind.capitalize(), style=style))
    strange = [name for name in values.unknown if name not in described]
    columns += [Column(name, name, group="Not known here", style="fraction") for name in strange]
    columns.append(Column("images", "n", style="count"))
    caption = (
        f"Every metric, {mean_words(values)}; per cent, PSNR in dB and SSIM as a fraction; n counts the images. "
        "PSNR and SSIM: reconstruction against the normal image, on the clean test for its normal images alone."
    )
    if own:
        caption += f" From elsewhere, as the run says: {joined([_way(metric) for metric in own])}."
    if strange:
        caption += f" {joined(strange)}: not known to this version, as in the rows."
    return Table("all_metrics", caption, pd.DataFrame(records), tuple(columns))


def _way(metric: Metric) -> str:
    return f"{metric.title} ({metric.better} is better)"


def model_column(values: Values, model: Model, key: str = "", **settings: Any) -> Column:
    """A column of a model's figures, below the title of its detector."""
    group = values.titles.of_detector(model.detector)
    return Column(key or model.name, values.short_label(model), group=group, **settings)


def identity(model: Model) -> dict[str, str]:
    return {"detector": model.detector, "paradigm": model.paradigm, "preset": model.preset}


def number_words(values: Values, condition: Condition | None) -> str:
    """The number of images behind a column, or the fewest and the most of any model."""
    counts = {values.total(condition, model) for model in values.models} - {0} if condition else set()
    if not counts:
        return ""
    return f"n = {min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else "")


def put_interval(
    record: dict[str, Any], key: str, values: Values, model: Model, condition: Condition | None, metric: str
) -> None:
    """Write both ends of a figure's interval over images into the record of a row, where the rows have one."""
    low, high = values.interval(model, condition, metric)
    if not math.isnan(low) and not math.isnan(high):
        record[f"{key}_low"], record[f"{key}_high"] = low, high


def interval_words(values: Values, frame: pd.DataFrame) -> str:
    """What stands in brackets, where a table has intervals."""
    if not any(str(name).endswith("_low") for name in frame.columns):
        return ""
    seeds = ", both ends averaged over the seeds" if len(values.seeds) > 1 else ""
    return f"Brackets: 95 % interval over images, by bootstrap{seeds}."


def _across(values: Values, model: Model, metric: str) -> dict[str, float]:
    record: dict[str, float] = {}
    for condition in values.conditions:
        record[condition.key] = values.get(model, condition, metric)
        put_interval(record, condition.key, values, model, condition, metric)
        if len(values.seeds) > 1:
            record[f"{condition.key}_sd"] = values.spread(model, condition, metric)
        if condition.attacked and values.control:
            record[f"{condition.key}_change"] = values.change(model, condition, metric)
    return record


def best_of(frame: pd.DataFrame, keys: Sequence[str], among: Set[tuple[int, str]]) -> frozenset[tuple[int, str]]:
    """The highest printed value of each column in each block, `among` the cells that may be compared; ties are all
    best, unless all tie."""
    if frame.empty:
        return frozenset()
    best: set[tuple[int, str]] = set()
    for _, block in frame[frame["kind"] == "model"].groupby("panel", sort=False):
        for key in keys:
            allowed = [index for index in block.index if (int(str(index)), key) in among]
            printed = block.loc[allowed, key].mul(100).round(1)
            if printed.nunique() > 1:
                best |= {(int(str(index)), key) for index in printed.index[printed == printed.max()]}
    return frozenset(best)


def mean_words(values: Values) -> str:
    many = len(values.categories)
    seeds = f", averaged over {len(values.seeds)} seeds" if len(values.seeds) > 1 else ""
    names = ", ".join(values.categories) if many <= 6 else f"{', '.join(values.categories[:3])} and {many - 3} others"
    if many == 1:
        return f"category {names}{seeds}"
    some = ", of those alone where the figure is defined" if values.partial else ""
    return f"unweighted mean over {many} categories ({names}){some}{seeds}"


def count_words(values: Values, conditions: Iterable[Condition | None]) -> str:
    """Number of images and seeds behind the figures under these conditions."""
    known = [condition for condition in conditions if condition is not None]
    counts = {values.total(condition, model) for condition in known for model in values.models} - {0}
    images = f"{min(counts, default=0)}" + (f" to {max(counts)}" if len(counts) > 1 else "")
    return f"{images} images, {seed_words(values, known)}"


def seed_words(values: Values, conditions: Iterable[Condition]) -> str:
    """Seeds behind the figures under these conditions."""
    seeds = values.seeds_of(conditions)
    return f"one seed ({seeds[0]})" if len(seeds) == 1 else f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"


def spread_words(values: Values, conditions: Iterable[Condition | None], shown: str) -> str:
    """What stands for the spread where there are several seeds; nothing for one."""
    several = len(values.seeds_of(condition for condition in conditions if condition is not None)) > 1
    return f" {shown} one standard deviation over the seeds." if several else ""


def set_words(values: Values) -> str:
    """One sentence on what the sets were made from, and on which models."""
    by_source: dict[str, list[Condition]] = {}
    for condition in values.sets:
        by_source.setdefault(values.titles.of_sources(condition.sources), []).append(condition)
    if len(by_source) == 1:
        return f"All sets were made from one source: {next(iter(by_source))}."
    return " ".join(f"{', '.join(item.label for item in part)}: made from {name}." for name, part in by_source.items())


def _headline_caption(values: Values) -> str:
    parts = (
        ["Detection and localisation, clean and under attack."] if values.attacks else ["Detection and localisation."]
    )
    parts += [f"Figures in per cent, {mean_words(values)}."]
    if values.clean:
        parts.append(f"Clean test: the test split, {values.total(values.clean)} images.")
    if values.control:
        count = values.total(values.control)
        parts.append(
            f"Control: the {count} images of the sets before any attack, training normals of the detectors with and "
            "without synthetic anomalies. Δ: change from the control in points, the same images before and after."
        )
    if values.sets:
        parts.append(set_words(values))
    if any(not math.isnan(values.chance(condition, "pixel_ap")) for condition in values.conditions):
        parts.append("The chance level of AP is the share of anomalous pixels, so the clean test and the sets differ.")
    return " ".join(parts) + spread_words(values, values.conditions, "±:")
