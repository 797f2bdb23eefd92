"""What a model for each category has beside one for all of them. No torch here."""

import math

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model, joined
from omnial_bench.reports.curves import smallest
from omnial_bench.reports.model_rows import doubts
from omnial_bench.reports.table import show
from omnial_bench.reports.values import Values

METRIC = "pixel_auroc"
NAMED = 4
"""More detectors than these are told by their range."""


def paradigm_words(campaign: Campaign) -> str:
    """The figure of separate models less that of the unified one of their detector, on the clean test and under attack,
    and how many of these differences the images tell apart from none."""
    values, pairs = campaign.values, _pairs(campaign.values)
    clauses, gaps = [], list[bool]()
    for where, condition in _conditions(campaign).items():
        changes = {pair: change for pair in pairs if not math.isnan(change := _change(values, *pair, condition))}
        if changes:
            clauses.append(f"{where} {_each(campaign, changes, condition)}")
            known = (values.gap(separate, unified, condition, METRIC) for separate, unified in changes)
            gaps += [gap.apart for gap in known if gap]
    if not clauses:
        return ""
    sure = f"0 lies outside the paired interval of {sum(gaps)} of {len(gaps)} differences" if gaps else ""
    return (
        f"A model for each category beside one for all, {METRICS[METRIC].words} in points: {'; '.join(clauses)}. "
        f"{sure or 'No interval stands on these differences'}."
    )


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
    found = {"on the clean test": campaign.values.clean}
    trial = smallest(campaign) or campaign.goals.get("any")
    return found | ({f"under attack at {trial.size}": trial.own} if trial else {})


def _change(values: Values, separate: Model, unified: Model, condition: Condition | None) -> float:
    return values.get(separate, condition, METRIC) - values.get(unified, condition, METRIC)


def _each(campaign: Campaign, changes: dict[tuple[Model, Model], float], condition: Condition | None) -> str:
    if len(changes) > NAMED:
        ends = dict.fromkeys(show(pick(changes.values()), "change") for pick in (min, max))
        return f"{' to '.join(ends)} for {len(changes)} detectors"
    texts = []
    for pair, change in changes.items():
        doubt = ", in doubt" if any(doubts(campaign, model, condition) for model in pair) else ""
        texts.append(f"{show(change, 'change')} ({campaign.values.titles.of_detector(pair[0].detector)}{doubt})")
    return joined(texts)
