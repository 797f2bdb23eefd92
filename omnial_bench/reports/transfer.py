"""The source x target matrix: every model on the images of every other, as a heat map and a table. No torch here."""

import math
from typing import Any

import pandas as pd

from omnial_bench.reports import looks
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.drawing import DOUBLE, Drawing, new_figure, paper_style
from omnial_bench.reports.health import Marked
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.tables import count_words, mean_words, model_column, spread_words
from omnial_bench.reports.values import METRIC_TITLES, Condition, Model, Values

METRICS = ("pixel_auroc", "pixel_ap")
_BEFORE = "before any attack"


def figure_of(trial: Trial, source: str, target: Model) -> Condition | None:
    """The condition under which the target met the images made on the source; itself where they are one."""
    if source == target.name:
        return trial.own or next((item for item in trial.transferred if item.source == source), None)
    return next((item for item in trial.transferred if item.source == source), None)


def is_own(values: Values, model: Model, condition: Condition | None) -> bool:
    """Whether the model was attacked itself, in every category that it was scored on."""
    return bool(condition and (mine := values.part(model, condition)) and mine == values.scored(model, condition))


def sources_of(trial: Trial, values: Values) -> list[str]:
    """Names of the models that images were made on, in the order of the models."""
    named = {item.source for item in trial.transferred}
    known = list(dict.fromkeys(model.name for model in values.models))
    attacked = {model.name for model in values.models if trial.own and values.total(trial.own, model)}
    return [name for name in known if name in named | attacked] + sorted(named - set(known))


def transfer_figure(campaign: Campaign, evaluation: Evaluation, trial: Trial) -> Drawing | None:
    """Pixel AUROC of each target (column) on the images of each source (row), and before any attack."""
    from matplotlib.patches import Rectangle

    values = campaign.values
    if "pixel_auroc" not in values.metrics:
        return None
    sources = sources_of(trial, values)
    rows: list[tuple[str, list[Condition | None]]] = []
    rows += [(_BEFORE, [evaluation.control for _ in values.models])] if evaluation.control else []
    rows += [
        (values.titles.of_model(name), [figure_of(trial, name, model) for model in values.models]) for name in sources
    ]
    table = pd.DataFrame(
        [[100 * values.get(*pair, "pixel_auroc") for pair in zip(values.models, row, strict=True)] for _, row in rows],
        index=[label for label, _ in rows],
        columns=[values.label(model).replace(" ", "\n", 1) for model in values.models],
    )
    with paper_style():
        width = min(DOUBLE, 2.3 + 0.72 * len(values.models))
        figure = new_figure(width, 1.15 + 0.3 * len(rows))
        axes = figure.subplots()
        image = looks.heat(axes, table, 0, 100, digits=1)
        lead = 1 if evaluation.control else 0
        if lead:
            axes.axhline(1, color="white", lw=4)
        for i, name in enumerate(sources):
            for j, model in enumerate(values.models):
                if is_own(values, model, figure_of(trial, name, model)):
                    place = (j + 0.04, i + lead + 0.09)
                    axes.add_patch(Rectangle(place, 0.92, 0.82, fill=False, ec="black", lw=1.2, zorder=3))
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0, rotation=0, labelsize=8 if len(values.models) <= 8 else 6)
        axes.set_xlabel("target")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("source")
        figure.colorbar(image, ax=axes, label="pixel AUROC (%)", fraction=0.04, pad=0.02, ticks=[0, 25, 50, 75, 100])
    spread = " The spread over seeds is in the table." if len(values.seeds_of(trial.conditions)) > 1 else ""
    caption = (
        f"Transfer, {evaluation.title(trial)}: pixel AUROC in per cent of each target model (column) on images "
        f"attacked with each source model (row), {mean_words(values)}; {_counted(values, evaluation, trial)}. "
        f"Framed: the model attacked itself. Chance is 50 %, the palest colour.{spread}"
    )
    name = f"transfer_{trial.set}"
    return Drawing(name, caption, "Heat map of pixel AUROC, sources in rows and targets in columns.", figure)


def transfer_table(campaign: Campaign, evaluation: Evaluation, trial: Trial) -> Table:
    """The matrix with pixel AP too, and the spread over seeds."""
    values = campaign.values
    records: list[dict[str, Any]] = []
    marked = Marked(campaign)
    sources = sources_of(trial, values)
    for metric in (metric for metric in METRICS if metric in values.metrics):
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        lines = [("", evaluation.control)] if evaluation.control else []
        for source, fixed in [*lines, *((name, None) for name in sources)]:
            title = values.titles.of_model(source) if source else _BEFORE
            record: dict[str, Any] = {**panel, "kind": "model", "source": source or "none", "title": title}
            for model in values.models:
                condition = fixed or figure_of(trial, source, model)
                marked.put(record, len(records), _key(model, values), model, condition, metric)
            records.append(record)
        level = values.chance(evaluation.control, metric) if evaluation.control else math.nan
        if not math.isnan(level):
            chance = {_key(model, values): level for model in values.models}
            records.append({**panel, "kind": "chance", "title": "chance level", **chance})
    columns = [Column("title", "Source", style="text")]
    for model in values.models:
        key = _key(model, values)
        columns.append(model_column(values, model, key, spread=f"{key}_sd"))
    frame = pd.DataFrame(records)
    diagonal = [
        (int(str(index)), _key(model, values))
        for index, record in frame.iterrows()
        for model in values.models
        if is_own(values, model, condition := figure_of(trial, str(record["source"]), model))
        and campaign.bounds(model, condition, str(record["metric"]))
    ]
    caption = (
        f"Transfer, {evaluation.title(trial)}: pixel AUROC and pixel AP in per cent of each target model (column) on "
        f"images attacked with each source model (row), {mean_words(values)}; {_counted(values, evaluation, trial)}."
        f"{spread_words(values, trial.conditions, '±:')} Bold: the model attacked itself, through this figure's kind."
    )
    return Table(
        f"transfer_{trial.set}", caption, frame, tuple(columns),
        strong=frozenset(diagonal), letters=marked.letters, notes=marked.notes,
    )  # fmt: skip


def _key(model: Model, values: Values) -> str:
    twins = sum(other.name == model.name for other in values.models)
    return model.name if twins == 1 else f"{model.name}-{model.preset}"


def _counted(values: Values, evaluation: Evaluation, trial: Trial) -> str:
    return count_words(values, (*trial.conditions, evaluation.control))
