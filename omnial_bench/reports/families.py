"""What each family of detectors keeps, and what carries over from one to another. No torch here."""

import math
from collections.abc import Collection
from itertools import product

import pandas as pd

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Model, family_of, joined
from omnial_bench.reports.matrix import figure_of, sources_of
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import count_words, mean_words, names_of, percent, range_words

METRIC = "pixel_auroc"


def families(values: Values) -> dict[str, list[Model]]:
    """The models that have learnt, by the family that their records name; nothing where that is one."""
    found: dict[str, list[Model]] = {}
    for model in values.judged:
        if name := family_of(model.detector):
            found.setdefault(name, []).append(model)
    return dict(sorted(found.items())) if len(found) > 1 else {}


def family_words(campaign: Campaign) -> str:
    """What any harm leaves each family."""
    values, suite, trial = campaign.values, campaign.white_box, campaign.goals.get("any")
    if not suite or not trial:
        return ""
    clauses = []
    for name, models in families(values).items():
        pairs = [(values.get(model, suite.control, METRIC), values.get(model, trial.own, METRIC)) for model in models]
        known = [pair for pair in pairs if not math.isnan(sum(pair))]
        if known:
            before, after = (range_words(min(side), max(side)) for side in zip(*known, strict=True))
            clauses.append(f"{name} ({names_of(values, models)}) {before} → {after}")
    if len(clauses) < 2:
        return ""
    return f"By family of detectors, {METRICS[METRIC].words} before → under any harm: {'; '.join(clauses)}."


def family_table(campaign: Campaign, evaluation: Evaluation, trial: Trial) -> Table | None:
    """What images made on models of a family (row) leave models of another (column), in the mean over pairs; None of a
    single family."""
    values = campaign.values
    groups, left = families(values), _left(campaign, trial)
    if len({source for source, _ in left}) < 2:
        return None
    lines = {source: {target: _mean(left.get((source, target), ())) for target in groups} for source in groups}
    if control := evaluation.control:
        clean = {name: [values.get(each, control, METRIC) for each in models] for name, models in groups.items()}
        lines = {"before any attack": {name: _mean(figures) for name, figures in clean.items()}} | lines
    panel = {"panel": METRIC_TITLES[METRIC], "metric": METRIC, "kind": "model"}
    frame = pd.DataFrame([{**panel, "title": title, **line} for title, line in lines.items()])
    members = [f"{name}: {joined([values.label(each) for each in models])}" for name, models in groups.items()]
    caption = (
        f"Transfer between families of detectors, {evaluation.title(trial)}: {METRICS[METRIC].words} in per cent of "
        "models of a family (column) on images attacked with models of a family (row), in the mean over pairs of two "
        f"models, {mean_words(values)}; {count_words(values, (*trial.conditions, control))}. {'; '.join(members)}."
    )
    columns = (Column("title", "Source", style="text"), *(Column(name, name) for name in groups))
    return Table(f"families_{trial.set}", caption, frame, columns)


def carried_words(campaign: Campaign) -> str:
    """Between which families images carry over most and least."""
    if not campaign.transfers:
        return ""
    _, trial = campaign.transfers[0]
    means = {pair: _mean(left) for pair, left in _left(campaign, trial).items() if pair[0] != pair[1]}
    if len(means) < 2:
        return ""
    most, least = (pick(means, key=means.__getitem__) for pick in (min, max))
    return (
        f"From one family of detectors to another, images carry over most from {most[0]} to {most[1]}, which keeps "
        f"{percent(means[most])} {METRICS[METRIC].words} in the mean over pairs of models, and least from {least[0]} "
        f"to {least[1]} ({percent(means[least])})."
    )


def _left(campaign: Campaign, trial: Trial) -> dict[tuple[str, str], list[float]]:
    """By source and target family, what images made on a model leave each other model."""
    values, found = campaign.values, dict[tuple[str, str], list[float]]()
    family = {model: name for name, models in families(values).items() for model in models}
    named = {model.name: name for model, name in family.items()}
    for source, target in product(sources_of(trial, values), family):
        condition = figure_of(trial, source, target)
        if source in named and condition and not values.part(target, condition):
            figure = values.get(target, condition, METRIC)
            if not math.isnan(figure):
                found.setdefault((named[source], family[target]), []).append(figure)
    return found


def _mean(figures: Collection[float]) -> float:
    return sum(figures) / len(figures) if figures else math.nan
