"""The tables of all models: class means on the clean test and the fixed sets, pairs, every metric. No torch here."""

import math
from collections import Counter
from collections.abc import Mapping
from itertools import chain, combinations, product
from types import MappingProxyType

from omnial_bench.metrics.metric import METRICS, Metric
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model, joined
from omnial_bench.reports.model_rows import Rows, facts_of
from omnial_bench.reports.table import MINUS, Column, Style, Table
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import (
    interval_words,
    mean_words,
    number_words,
    seed_words,
    set_words,
    spread_words,
    threshold_words,
    unlearnt_words,
)
from omnial_bench.results import DIFFERENCES, HEADLINE

_STYLES: dict[str, Style] = {"%": "percent", "": "fraction"}
"""By the unit of a metric; others have one decimal."""
MOST_PAIRS = 6
"""Pairs of a metric in the table: those of four models. Of more models only the pairs with one are shown."""


def headline(values: Values) -> Table:
    """Each model's class means on the clean test, the control and every set, and the change from the control."""
    rows = Rows(values)
    for metric in values.headline:
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        for model in values.models:
            rows.letters.update({(len(rows.records), "model"): "a"} if model in values.unlearnt else {})
            row = rows.add(**panel, kind="model", **facts_of(values, model))
            for condition in values.conditions:
                row[condition.key] = values.get(model, condition, metric)
                row |= values.ends(condition.key, model, condition, metric)
                if len(values.seeds) > 1:
                    row[f"{condition.key}_sd"] = values.spread(model, condition, metric)
                if condition.attacked and values.control:
                    row[f"{condition.key}_change"] = values.change(model, condition, metric)
        rows.add_chance({condition.key: condition for condition in values.conditions}, **panel)
    columns = [Column("model", "Model", style="text")]
    for condition in values.conditions:
        key, number = condition.key, number_words(values, condition)
        if condition.attacked and values.control:
            group = f"{condition.label}, {number}"
            columns.append(Column(key, "value", group=group))
            columns.append(Column(f"{key}_change", "Δ", group=group, style="change", muted=True))
        else:
            columns.append(Column(key, f"{condition.label},\n{number}"))
    caption = f"{_headline_caption(values)} {interval_words(values, rows.frame)}".rstrip()
    notes = (("a", unlearnt_words(values)),) if rows.letters else ()
    return Table("headline", caption, rows.frame, tuple(columns), letters=rows.letters, notes=notes)


def _headline_caption(values: Values) -> str:
    attacked = ", clean and under attack" if values.attacks else ""
    parts = [f"Detection and localisation{attacked}. Figures in per cent, {mean_words(values)}."]
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
    parts += threshold_words(values)
    if any(not math.isnan(values.chance(condition, "pixel_ap")) for condition in values.conditions):
        parts.append("The chance level of AP is the share of anomalous pixels, so the clean test and the sets differ.")
    return " ".join(parts) + spread_words(values, values.conditions, "±:")


def every_metric(values: Values, described: Mapping[str, Metric] = MappingProxyType({})) -> Table:
    """Every metric of every model under every condition, class means; `described` are those from elsewhere."""
    rows = Rows(values)
    for condition, model in product(values.conditions, values.models):
        if images := values.total(condition, model):
            panel = condition.label if not condition.attacked else f"{condition.label} ({condition.set})"
            place = {"set": condition.set, "threat": condition.threat, "source": condition.source}
            figures = {name: values.get(model, condition, name) for name in (*values.metrics, *values.unknown)}
            facts = {**model._asdict(), "model": values.label(model)}
            rows.records.append({"panel": panel, **place, **facts, **figures, "images": images})
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
        ways = joined([f"{metric.title} ({metric.better} is better)" for metric in own])
        caption += f" From elsewhere, as the run says: {ways}."
    if strange:
        caption += f" {joined(strange)}: not known to this version, as in the rows."
    return rows.table("all_metrics", caption, columns)


def pairs_table(campaign: Campaign) -> Table | None:
    """A row a pair of models that have learnt: the difference of each headline figure, clean and attacked themselves.

    None where there is no difference to show.
    """
    values = campaign.values
    rows = Rows(values, campaign)
    strong: set[tuple[int, str]] = set()
    used: dict[str, list[Condition]] = {"clean": [], "attacked": []}
    for metric in (name for name in HEADLINE if name in values.metrics):
        shown = {"clean": values.clean, "attacked": campaign.against(metric)}
        for model, other in _pairs(values, shown, metric):
            gaps = {key: values.gap(model, other, condition, metric) for key, condition in shown.items()}
            if not any(gaps.values()):
                continue
            title = f"{values.label(model)} {MINUS} {values.label(other)}"
            facts = {**model._asdict(), **{f"other_{name}": text for name, text in other._asdict().items()}}
            row = rows.add(panel=METRIC_TITLES[metric], metric=metric, model=title, **facts)
            for key, condition in shown.items():
                gap = gaps[key]
                row[key] = gap.difference if gap else math.nan
                if gap and condition:
                    row |= {f"{key}_low": gap.low, f"{key}_high": gap.high}
                    strong |= {(len(rows.records) - 1, key)} if gap.apart else set()
                    used[key].append(condition)
                    rows.put_doubts(key, condition, (model, other), metric)
    if not rows.records:
        return None
    titles = {"clean": "Clean test", "attacked": f"White-box, {campaign.size}"}
    columns = [Column("model", "Pair", style="text")]
    for key in (key for key, conditions in used.items() if conditions):
        numbers = " to ".join(dict.fromkeys(number_words(values, condition) for condition in used[key]))
        columns.append(Column(key, f"{titles[key]},\n{numbers}", style="change"))
    return rows.table("pairs", _pairs_caption(values, used), columns, frozenset(strong))


def _pairs(values: Values, shown: dict[str, Condition | None], metric: str) -> list[tuple[Model, Model]]:
    """Every pair that was compared, the higher figure first: that under attack, else that on the clean test; of many
    models those with the highest of the models that were compared with most others."""
    for condition in (shown["attacked"], shown["clean"]):
        figures = {model: values.get(model, condition, metric) for model in values.judged}
        known = {model: value for model, value in figures.items() if not math.isnan(value)}
        ranked = sorted(known, key=lambda model: -known[model])
        compared = [
            pair for pair in combinations(ranked, 2) if any(values.gap(*pair, each, metric) for each in shown.values())
        ]
        if compared:
            counts = Counter(chain.from_iterable(compared))
            first = max(ranked, key=lambda model: counts[model])
            return compared if len(compared) <= MOST_PAIRS else [pair for pair in compared if first in pair]
    return []


def _pairs_caption(values: Values, used: dict[str, list[Condition]]) -> str:
    conditions = [condition for each in used.values() for condition in each]
    parts = [
        "Differences between models on the same images, in points: the figure of the first less that of the second, "
        f"{mean_words(values)}; {seed_words(values, conditions)}. Brackets: paired 95 % interval over "
        "images, both models on the same bootstrap draws. Each interval is of its own, not widened for the number of "
        "pairs, and holds the networks and the attack fixed. Bold: 0 lies outside."
    ]
    count = len(values.judged)
    if count * (count - 1) // 2 > MOST_PAIRS:
        best = "the pairs with the one that, of those compared with most others, is highest under attack (else clean)"
        parts.append(f"Of {count} models only {best}; all are in {DIFFERENCES}.")
    return " ".join(filter(None, (*parts, unlearnt_words(values))))
