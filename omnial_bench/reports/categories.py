"""Tables of the clean test by category and by synthesis, with the published figures beside. No torch here."""

import math
from dataclasses import dataclass
from functools import cache
from itertools import product

import pandas as pd

from omnial_bench.config.load import records_folder
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model, panels_of
from omnial_bench.reports.model_rows import Rows
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import MEAN, METRIC_TITLES, Values
from omnial_bench.reports.wording import count_words, mean_words, model_column
from omnial_bench.results import HEADLINE


@dataclass(frozen=True)
class Published:
    """A printed figure as a fraction, and what is doubtful about it in print (empty: nothing)."""

    value: float
    test_images: int
    note: str


def published(
    dataset: str, category: str, detector: str, paradigm: str, metric: str, *, variant: str = ""
) -> Published | None:
    """The printed figure (category `mean`: the printed average); None where nothing was printed."""
    return _table().get((dataset, category, detector, paradigm, metric, variant))


def published_categories(dataset: str) -> frozenset[str]:
    """The categories of a data set that have printed figures."""
    return frozenset(key[1] for key in _table() if key[0] == dataset and key[1] != "mean")


@cache
def _table() -> dict[tuple[str, ...], Published]:
    frame = pd.read_csv(records_folder("reports") / "published.csv", dtype=str, keep_default_na=False)
    names = ("dataset", "category", "detector", "paradigm", "metric", "variant")
    values = ("percent", "test_images", "note")
    return {
        tuple(key): Published(float(percent) / 100, int(images), note)
        for *key, percent, images, note in zip(*(frame[name] for name in (*names, *values)), strict=True)
    }


def by_category(values: Values, metric: str) -> Table:
    """One metric on the clean test by category, detectors x paradigms, published figures beside where they compare."""
    clean = values.clean
    shown = [model for model in values.models if clean and values.total(clean, model)]
    comparable = {pair: _comparable(values, *pair, metric) for pair in product(shown, values.categories)}
    printed = {pair: figure for pair, figure in comparable.items() if figure}
    rows = Rows(values)
    for category in (*values.categories, MEAN):
        mean = category == MEAN
        row = rows.add(kind="mean" if mean else "category", category="class mean" if mean else category)
        names = values.categories if mean else (category,)
        for model in shown:
            figures = [printed[model, name].value for name in names if (model, name) in printed]
            whole = figures and len(figures) == len(names)
            row[model.name] = values.get(model, clean, metric, category)
            row[f"{model.name}_published"] = sum(figures) / len(figures) if whole else math.nan
    frame = rows.frame
    columns = [Column("category", "Category", style="text")]
    compared = {model for model, _ in printed}
    for model in shown:
        title = values.titles.of_detector(model.detector)
        short = model.paradigm if len(shown) > 2 else values.label(model)
        columns.append(Column(model.name, short, group=title))
        if model in compared:
            columns.append(Column(f"{model.name}_published", "publ.", group=title, muted=True))
    chance = [values.chance(clean, metric, name) for name in (*values.categories, MEAN)]
    if any(not math.isnan(level) for level in chance):
        frame["chance"] = chance
        columns.append(Column("chance", "chance", muted=True))
    doubtful = {pair: figure.note for pair, figure in printed.items() if figure.note}
    marks = {(values.categories.index(category), f"{model.name}_published"): "†" for model, category in doubtful}
    caption = (
        f"{METRIC_TITLES[metric]} on the clean test by category, in per cent. "
        "Class mean: the unweighted mean of the categories' own figures."
    )
    if printed:
        caption += (
            " Publ.: the figure printed in the OmniAL paper (CVPR 2023) for the same data set, where the number of "
            "test images is the published one; with other settings (see the training table). Its mean is over the "
            "categories shown."
        )
    if doubtful:
        titles = {model: f"{values.titles.of_detector(model.detector)} {model.paradigm}" for model in shown}
        notes = [f"{titles[model]}, {category}: {note}" for (model, category), note in doubtful.items()]
        caption += f" † {'; '.join(notes)}."
    return Table(f"by_category_{metric}", caption, frame, tuple(columns), letters=marks)


def by_condition(values: Values, campaign: Campaign | None = None) -> Table | None:
    """The clean test under each condition of the data set, a block a metric, models side by side, and the mean over the
    conditions; with a campaign each model attacked itself, as the metric is read under attack."""
    rows = Rows(values, campaign)
    shown: dict[Condition, None] = {}
    for metric in values.headline:
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        parts = values.parts_of(campaign.against(metric) if campaign else values.clean)
        shown |= dict.fromkeys(parts)
        for condition in parts:
            rows.add(**panel, kind="condition", condition=condition.part.replace("_", " "))
            for model in values.models:
                rows.put(model.name, model, condition, metric)
        if parts:
            row = rows.add(**panel, kind="mean", condition="mean")
            for model in values.models:
                row[model.name] = sum(values.get(model, condition, metric) for condition in parts) / len(parts)
    columns = [Column("condition", "Condition", style="text")]
    columns += [model_column(values, model) for model in values.models]
    sets = ", ".join(dict.fromkeys(each.set.partition("/")[0] for each in shown))
    what = f"Each model attacked itself ({sets}), the images" if campaign else "The clean test"
    caption = (
        f"{what} under each condition of {values.dataset}, with the normal images that were taken under it or, "
        f"where none were, with all of them. Per cent, {mean_words(values)}; {count_words(values, tuple(shown))}."
    )
    name = "attacked_by_condition" if campaign else "by_condition"
    return rows.table(name, caption, columns) if rows.records else None


def panel_comparison(values: Values) -> Table | None:
    """Detectors trained without and with panels side by side; None where the rows hold no such pair."""
    rows = Rows(values)
    whole = published_categories(values.dataset) == set(values.categories)
    for model in values.models:
        base, panels = panels_of(model.detector)
        twin = model._replace(detector=base)
        if panels is None or twin not in values.models:
            continue
        pair = (twin, model) if panels else (model, twin)
        for variant, each in zip(("without panels", "with panels"), pair, strict=True):
            row = rows.add(panel=f"{values.titles.of_detector(base)} {model.paradigm}", variant=variant)
            for metric in HEADLINE:
                row[metric] = values.get(each, values.clean, metric)
                figure = published(values.dataset, MEAN, base, model.paradigm, metric, variant=variant)
                row[f"{metric}_published"] = figure.value if figure and whole else math.nan
    if not rows.records:
        return None
    columns = [Column("variant", "Synthesis", style="text")]
    for metric in HEADLINE:
        columns.append(Column(metric, "value", group=METRIC_TITLES[metric]))
        if rows.frame[f"{metric}_published"].notna().any():
            columns.append(Column(f"{metric}_published", "publ.", group=METRIC_TITLES[metric], muted=True))
    caption = (
        "Panel-guided synthesis against the detector's own: the same detector trained without and with panels. "
        f"Clean test, {mean_words(values)}, per cent."
    )
    return rows.table("panels", caption, columns)


def _comparable(values: Values, model: Model, category: str, metric: str) -> Published | None:
    """The printed figure where the data set, the category and the number of test images are those of the paper."""
    clean = values.clean
    figure = published(values.dataset, category, model.detector, model.paradigm, metric)
    same = figure and clean and values.count(model, clean, category) == figure.test_images
    return figure if same else None
