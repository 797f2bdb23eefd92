"""What each family of detectors keeps, and what carries over from one to another. No torch here."""

import math
from itertools import product

import pandas as pd

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Model, joined
from omnial_bench.reports.matrix import figure_of, sources_of
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.table import MINUS, Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import count_words, mean_of, mean_words, names_of, percent, range_words

METRIC = "pixel_auroc"


def families(values: Values) -> dict[str, list[Model]]:
    """The models that have learnt, by the family that the run or records of here name; nothing where that is one."""
    found: dict[str, list[Model]] = {}
    for model in values.judged:
        if name := values.families[model.detector]:
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
    keys = {target: f"on_{target}" for target in groups}
    lines = {
        source: {key: mean_of(figure for _, figure in left.get((source, target), ())) for target, key in keys.items()}
        for source in groups
    }
    if control := evaluation.control:
        clean = {key: [values.get(each, control, METRIC) for each in groups[name]] for name, key in keys.items()}
        lines = {"before any attack": {key: mean_of(figures) for key, figures in clean.items()}} | lines
    panel = {"panel": METRIC_TITLES[METRIC], "metric": METRIC, "kind": "model"}
    frame = pd.DataFrame([{**panel, "title": title, **line} for title, line in lines.items()])
    members = [f"{name}: {joined([values.label(each) for each in models])}" for name, models in groups.items()]
    caption = (
        f"Transfer between families of detectors, {evaluation.title(trial)}: {METRICS[METRIC].words} in per cent of "
        "models of a family (column) on images attacked with models of a family (row), in the mean over pairs of two "
        f"detectors, {mean_words(values)}; {count_words(values, (*trial.conditions, control))}. {'; '.join(members)}."
    )
    columns = (Column("title", "Source", style="text"), *(Column(key, name) for name, key in keys.items()))
    return Table(f"families_{trial.set}", caption, frame, columns)


def carried_words(campaign: Campaign) -> str:
    """Between which families images carry over most and least, by what they take from before any attack."""
    if not campaign.transfers:
        return ""
    evaluation, trial = campaign.transfers[0]
    values, found = campaign.values, _left(campaign, trial)
    taken: dict[tuple[str, str], float] = {}
    for pair, left in found.items():
        falls = [values.get(target, evaluation.control, METRIC) - figure for target, figure in left]
        if pair[0] != pair[1] and not math.isnan(sum(falls)):
            taken[pair] = mean_of(falls)
    if len({round(points, 3) for points in taken.values()}) < 2:
        return ""
    most, least = (pick(taken, key=taken.__getitem__) for pick in (max, min))
    points, few = (f"{100 * taken[pair]:.1f}".replace("-", MINUS) for pair in (most, least))
    rest = percent(mean_of(figure for _, figure in found[most]))
    return (
        f"From one family of detectors to another, images take most from {most[1]} where they were made on {most[0]} "
        f"({points} points of {METRICS[METRIC].words}, {rest} left) and least "
        f"from {least[1]} where they were made on {least[0]} ({few} points)."
    )


def _left(campaign: Campaign, trial: Trial) -> dict[tuple[str, str], list[tuple[Model, float]]]:
    """By source and target family, what images made on a model leave each model of another detector."""
    values, found = campaign.values, dict[tuple[str, str], list[tuple[Model, float]]]()
    family = {model: name for name, models in families(values).items() for model in models}
    sources = set(sources_of(trial, values))
    for source, target in product((model for model in family if model.name in sources), family):
        condition = figure_of(trial, source.name, target)
        if source.detector != target.detector and condition and not values.part(target, condition):
            figure = values.get(target, condition, METRIC)
            if not math.isnan(figure):
                found.setdefault((family[source], family[target]), []).append((target, figure))
    return found
