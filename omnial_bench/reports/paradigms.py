"""What a model for each category has beside one for all of them. No torch here."""

import math
from collections.abc import Sequence
from statistics import fmean

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model, joined
from omnial_bench.reports.curves import smallest
from omnial_bench.reports.model_rows import doubts
from omnial_bench.reports.table import show
from omnial_bench.reports.values import Gap, Values

METRIC = "pixel_auroc"
NAMED = 4
"""More differences than these are told by their range."""


def paradigm_words(campaign: Campaign) -> str:
    """The figure of separate models less that of the unified one of their detector, on the clean test and under attack,
    and how many of these differences the images tell apart from none."""
    values, pairs, clauses = campaign.values, _pairs(campaign.values), []
    for where, condition in _conditions(campaign).items():
        changes = {pair: change for pair in pairs if not math.isnan(change := _change(values, *pair, condition))}
        gaps = [gap for pair in changes if (gap := values.gap(*pair, condition, METRIC))]
        if changes:
            clauses.append(f"{where} {_each(campaign, changes, condition)} ({_apart(gaps, len(changes))})")
    start = f"A model for each category beside one for all, {METRICS[METRIC].words} in points"
    return f"{start}: {'; '.join(clauses)}." if clauses else ""


def _apart(gaps: Sequence[Gap], many: int) -> str:
    """How many of the differences that were measured on the same images lie apart from none."""
    if not gaps:
        return "without an interval"
    compared = "" if len(gaps) == many else f"{len(gaps)} compared, "
    return f"{compared}0 outside the paired interval of {sum(gap.apart for gap in gaps) or 'none'}"


def _pairs(values: Values) -> list[tuple[Model, Model]]:
    """Each detector's separate models and its unified one."""
    unified = {(model.detector, model.preset): model for model in values.judged if model.paradigm == "unified"}
    return [
        (model, unified[model.detector, model.preset])
        for model in values.judged
        if model.paradigm == "separate" and (model.detector, model.preset) in unified
    ]


def _conditions(campaign: Campaign) -> dict[str, Condition | None]:
    """The clean test, and the smallest size of a curve, else the common one."""
    least, common = smallest(campaign), campaign.goals.get("any")
    trial = least[1] if least else common
    return {"on the clean test": campaign.values.clean} | (
        {f"under attack at {trial.size}": trial.own} if trial else {}
    )


def _change(values: Values, separate: Model, unified: Model, condition: Condition | None) -> float:
    """NaN where they are not of as many seeds."""
    one, other = (values.each(model, condition, METRIC) for model in (separate, unified))
    return fmean(one) - fmean(other) if one and len(one) == len(other) else math.nan


def _each(campaign: Campaign, changes: dict[tuple[Model, Model], float], condition: Condition | None) -> str:
    values = campaign.values
    doubted = {pair for pair in changes if any(doubts(campaign, model, condition, METRIC) for model in pair)}
    if len(changes) > NAMED:
        ends = dict.fromkeys(show(pick(changes.values()), "change") for pick in (min, max))
        return f"{' to '.join(ends)} for {len(changes)}{f', {len(doubted)} of them in doubt' if doubted else ''}"
    texts = []
    for pair, change in changes.items():
        name = values.titles.of_detector(pair[0].detector)
        name += values.short_label(pair[0]).removeprefix(pair[0].paradigm)
        texts.append(f"{show(change, 'change')} ({name}{', in doubt' if pair in doubted else ''})")
    return joined(texts)
