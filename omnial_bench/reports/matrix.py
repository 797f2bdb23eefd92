"""The source x target matrix: every model on the images of every other, as a heat map and a table. No torch here."""

import math
from collections import Counter
from itertools import product

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.model_rows import Rows
from omnial_bench.reports.style import DOUBLE, Drawing, heat, panels
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import count_words, mean_words, model_column, spread_words

METRICS = ("pixel_auroc", "pixel_ap")
_BEFORE = "before any attack"


def figure_of(trial: Trial, source: str, target: Model) -> Condition | None:
    """The condition under which the target met the images made on the source; itself where they are one."""
    shown = next((condition for condition in trial.transferred if condition.source == source), None)
    return trial.own or shown if source == target.name else shown


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
    sources, lead = sources_of(trial, values), bool(evaluation.control)
    rows = [[evaluation.control for _ in values.models]] if lead else []
    rows += [[figure_of(trial, name, model) for model in values.models] for name in sources]
    table = pd.DataFrame(
        [[100 * values.get(*pair, "pixel_auroc") for pair in zip(values.models, row, strict=True)] for row in rows],
        index=[_BEFORE] * lead + [values.titles.of_model(name) for name in sources],
        columns=[values.label(model).replace("+", "+\n").replace(" ", "\n", 1) for model in values.models],
    )
    width = min(DOUBLE, 2.3 + 0.72 * len(values.models))
    with panels(1, 1, 1.15 + 0.3 * len(rows), width=width) as (figure, [axes]):
        image = heat(axes, table, 0, 100, digits=1)
        if lead:
            axes.axhline(1, color="white", lw=4)
        for (i, row), (j, model) in product(enumerate(rows), enumerate(values.models)):
            if is_own(values, model, row[j]):
                axes.add_patch(Rectangle((j + 0.04, i + 0.09), 0.92, 0.82, fill=False, ec="black", lw=1.2, zorder=3))
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0, rotation=0, labelsize=8 if len(values.models) <= 8 else 6)
        axes.set_xlabel("target")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("source")
        figure.colorbar(image, ax=axes, label="pixel AUROC (%)", fraction=0.04, pad=0.02, ticks=[0, 25, 50, 75, 100])
    spread = " The spread over seeds is in the table." if len(values.seeds_of(trial.conditions)) > 1 else ""
    caption = (
        f"{_caption(values, evaluation, trial, 'pixel AUROC')} Framed: the model attacked itself. Chance is 50 %, the "
        f"palest colour.{spread}"
    )
    alt = "Heat map of pixel AUROC, sources in rows and targets in columns."
    return Drawing(f"transfer_{trial.set}", caption, alt, figure)


def transfer_table(campaign: Campaign, evaluation: Evaluation, trial: Trial) -> Table:
    """The matrix with pixel AP too, and the spread over seeds."""
    values = campaign.values
    twins = Counter(model.name for model in values.models)
    keys = {model: model.name if twins[model.name] == 1 else f"{model.name}-{model.preset}" for model in values.models}
    rows, diagonal = Rows(values, campaign), set()
    lines = [("none", _BEFORE)] if evaluation.control else []
    lines += [(source, values.titles.of_model(source)) for source in sources_of(trial, values)]
    for metric in (metric for metric in METRICS if metric in values.metrics):
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        for source, title in lines:
            rows.add(**panel, kind="model", source=source, title=title)
            for model, key in keys.items():
                condition = evaluation.control if title == _BEFORE else figure_of(trial, source, model)
                rows.put(key, model, condition, metric)
                diagonal |= {(len(rows.records) - 1, key)} if is_own(values, model, condition) else set()
        level = values.chance(evaluation.control, metric)
        if not math.isnan(level):
            rows.add(**panel, kind="chance", title="chance level", **dict.fromkeys(keys.values(), level))
    columns = [Column("title", "Source", style="text")]
    columns += [model_column(values, model, key) for model, key in keys.items()]
    caption = _caption(values, evaluation, trial, "pixel AUROC and pixel AP")
    caption += spread_words(values, trial.conditions, "±:")
    caption += " Bold: the model attacked itself, through this figure's kind."
    return rows.table(f"transfer_{trial.set}", caption, columns, frozenset(diagonal & rows.bounds))


def _caption(values: Values, evaluation: Evaluation, trial: Trial, metrics: str) -> str:
    counts = count_words(values, (*trial.conditions, evaluation.control))
    return (
        f"Transfer, {evaluation.title(trial)}: {metrics} in per cent of each target model (column) on images attacked "
        f"with each source model (row), {mean_words(values)}; {counts}."
    )
