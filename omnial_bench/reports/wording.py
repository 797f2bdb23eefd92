"""Words that captions and sentences share: numbers of images and seeds, means, sources, thresholds. No torch here."""

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import product
from typing import Any

import pandas as pd

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model, joined
from omnial_bench.reports.table import Column, show
from omnial_bench.reports.values import Values
from omnial_bench.results import AT_THRESHOLD

HELD = "image_false_alarms_held"
_AT_THRESHOLD = (
    ("defects", "is missed", "are missed"),
    ("normal images", "raises a false alarm", "raise a false alarm"),
)
AUROC_WORDS = {name: METRICS[name].words for name in ("pixel_auroc", "image_auroc")}
"""The metrics that sentences on robustness go through, as they stand in a sentence."""


def percent(value: float) -> str:
    return f"{show(value, 'percent')}\u00a0%"


def mean_of(figures: Iterable[float]) -> float:
    """The mean of those that are known; NaN of none."""
    known = [figure for figure in figures if not math.isnan(figure)]
    return sum(known) / len(known) if known else math.nan


def moved_words(before: float, after: float) -> str:
    return f"{100 * before:.1f}\u00a0→\u00a0{percent(after)}"


def range_words(low: float, high: float) -> str:
    return percent(low) if f"{100 * low:.1f}" == f"{100 * high:.1f}" else f"{100 * low:.1f} to {percent(high)}"


def names_of(values: Values, models: Sequence[Model]) -> str:
    """Models by name, of more than three their number."""
    return f"{len(models)} models" if len(models) > 3 else joined([values.label(model) for model in models])


def category_words(values: Values) -> str:
    many = len(values.categories)
    return f"{many} categories" if many != 1 else f"the category {values.categories[0]}"


def mean_words(values: Values) -> str:
    many = len(values.categories)
    seeds = f", averaged over {len(values.seeds)} seeds" if len(values.seeds) > 1 else ""
    names = ", ".join(values.categories) if many <= 6 else f"{', '.join(values.categories[:3])} and {many - 3} others"
    if many == 1:
        return f"category {names}{seeds}"
    some = ", of those alone where the figure is defined" if values.partial else ""
    return f"unweighted mean over {many} categories ({names}){some}{seeds}"


def number_words(values: Values, condition: Condition | None) -> str:
    """The number of images behind a column, or the fewest and the most of any model."""
    counts = _counts(values, [condition])
    return f"n = {_ends(counts)}" if counts else ""


def count_words(values: Values, conditions: Iterable[Condition | None]) -> str:
    """Number of images and seeds behind the figures under these conditions."""
    known = list(conditions)
    return f"{_ends(_counts(values, known) or {0})} images, {seed_words(values, known)}"


def _counts(values: Values, conditions: Iterable[Condition | None]) -> set[int]:
    return {values.total(condition, model) for condition in conditions if condition for model in values.models} - {0}


def seed_words(values: Values, conditions: Iterable[Condition | None]) -> str:
    """Seeds behind the figures under these conditions."""
    seeds = values.seeds_of(conditions)
    return f"one seed ({seeds[0]})" if len(seeds) == 1 else f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"


def spread_words(values: Values, conditions: Iterable[Condition | None], shown: str) -> str:
    """What stands for the spread where there are several seeds; nothing for one."""
    several = len(values.seeds_of(conditions)) > 1
    return f" {shown} one standard deviation over the seeds." if several else ""


def interval_words(values: Values, frame: pd.DataFrame) -> str:
    """What stands in brackets, where a table has intervals."""
    if not any(str(name).endswith("_low") for name in frame.columns):
        return ""
    seeds = ", both ends averaged over the seeds" if len(values.seeds) > 1 else ""
    return f"Brackets: 95 % interval over images, by bootstrap{seeds}."


def set_words(values: Values) -> str:
    """One sentence on what the sets were made from, and on which models."""
    by_source: dict[str, list[str]] = {}
    for condition in values.sets:
        by_source.setdefault(values.titles.of_sources(condition.sources), []).append(condition.label)
    if len(by_source) == 1:
        return f"All sets were made from one source: {next(iter(by_source))}."
    return " ".join(f"{', '.join(labels)}: made from {source}." for source, labels in by_source.items())


def unlearnt_words(values: Values) -> str:
    """Which models a check says have not learnt, and where."""
    if not values.unlearnt:
        return ""
    places = {model: f" ({', '.join(where)})" if where else "" for model, where in values.unlearnt.items()}
    names = [values.label(model) + place for model, place in places.items()]
    have, them = ("has", "it") if len(names) == 1 else ("have", "them")
    return f"{joined(names)} {have} not learnt, by the health check of that name: nothing is concluded on {them}."


def kind_words(values: Values, model: Model, condition: Condition) -> str:
    """What a figure on a fixed set is for a model: transfer, or an attack on itself."""
    mine, every = values.part(model, condition), values.scored(model, condition)
    if not mine:
        return "transfer"
    own = "white-box" if len(condition.sources) < 2 else "one of the sources"
    return own if mine == every else f"{own} on {joined(list(mine))}, else transfer"


def not_apart(values: Values, best: Model, condition: Condition | None, metric: str) -> list[Model]:
    """The models that the same images do not tell apart from the best; none where that was not measured."""
    gaps = [(model, values.gap(best, model, condition, metric)) for model in values.judged if model != best]
    return [model for model, gap in gaps if gap is not None and not gap.apart]


def doubt_words(
    values: Values, best: Model, condition: Condition | None, metric: str, tied: Collection[Model] = ()
) -> str:
    """Which models, beside those that are `tied` with it, the best is not told apart from, and whether others were not
    compared; nothing where it is told apart from all that were."""
    close = [model for model in not_apart(values, best, condition, metric) if model not in tied]
    if not close:
        return ""
    others = [model for model in values.judged if model != best and model not in tied]
    alone = all(values.gap(best, model, condition, metric) for model in others)
    every = len(close) == len(values.judged) - 1 > 1
    text = f"not told apart from {'any other' if every else names_of(values, close)}"
    return text if alone else f"{text} (of those compared)"


def model_column(values: Values, model: Model, key: str = "", **settings: Any) -> Column:
    """A column of a model's figures, below the title of its detector."""
    group = values.titles.of_detector(model.detector)
    return Column(key or model.name, values.short_label(model), group=group, **settings)


def missed_words(campaign: Campaign) -> str:
    """How many defects are missed and how many normal images raise an alarm, before the white-box attack on the image
    score and under it, or on the clean test; where a model has no threshold, that."""
    if HELD not in campaign.fixed.metrics:
        return ""
    own, before, values = campaign.against(HELD), campaign.fixed.clean, campaign.fixed
    if campaign.white_box:
        before, values = campaign.white_box.control, campaign.values
    rated = [model for model in values.judged if values.measured(model, before, HELD)]
    models = [model for model in rated if values.hits(model, before, HELD)[1]]
    without = [model for model in rated if model not in models]
    clauses, sentences = [], []
    for metric, (kind, verb, verbs) in zip(AT_THRESHOLD, _AT_THRESHOLD, strict=True) if models else ():
        pairs = [values.hits(model, before, metric) for model in models]
        shown = _ends(hits for hits, _ in pairs)
        clause = f"{shown} of {max(n for _, n in pairs)} {kind} {verb if shown == '1' else verbs}"
        if own:
            more = _ends(values.hits(model, own, metric)[0] for model in models)
            clause += f", {more} under white-box attack at {campaign.size} on the image score"
        clauses.append(clause)
    if models:
        several = f" (the fewest to the most of {len(models)} models)" if len(models) > 1 else ""
        start = "At" if campaign.white_box else "On the clean test, at"
        sentences.append(f"{start} a threshold set{_held(values)} {'; '.join(clauses)}{several}.")
    if without:
        sentences.append(
            f"{names_of(values, without)} {'has' if len(without) == 1 else 'have'} no threshold, for no scores of "
            "held-out normal images are known: missed defects and false alarms are undefined there."
        )
    return " ".join(sentences)


def smallest_words(campaign: Campaign) -> str:
    """The median and the quartiles of the smallest changes that hide a defect, and that raise a false alarm, of each
    attack that looks for them."""
    values, attempts, clauses = campaign.values, campaign.attempts, []
    searched = attempts[attempts.get("sizes", pd.Series("", attempts.index)) != ""]
    for goal, what in (("hide", "hide a defect"), ("fabricate", "raise a false alarm")):
        threats = searched[searched["goal"] == goal].groupby(["suite", "set"], sort=False)
        for (_, name), threat in threats:
            each = []
            for model in values.judged:
                part = model.rows_in(threat)
                sizes = sorted(float(size) for text in part["sizes"] for size in text.split())
                if sizes:
                    most = f"over {255 * part['size'].max():g}"
                    shown = [sizes[math.ceil(share * len(sizes)) - 1] for share in (0.25, 0.5, 0.75)]
                    low, middle, high = (f"{size:.2g}" if math.isfinite(size) else most for size in shown)
                    each.append(f"{middle} ({low} to {high}) for {values.label(model)}")
            which = f" ({name})" if len(threats) > 1 else ""
            clauses += [f"to {what}{which} {joined(each)}"] if each else []
    if not clauses:
        return ""
    return (
        "Smallest change in grey levels over the images of all categories and seeds, median (quartiles), "
        "0 where none is needed: "
        f"{'; '.join(clauses)}."
    )


def threshold_words(values: Values) -> list[str]:
    """What a caption says of the figures at a threshold, a sentence or none."""
    if "image_missed" not in values.headline:
        return []
    return [
        "Missed defects and false alarms: shares of the anomalous and of the normal images, with Wilson's interval, at "
        f"thresholds that held-out normal images set{_held(values)}; lower is better."
    ]


def _held(values: Values) -> str:
    """The share of false alarms that thresholds were set for, where the rows have it."""
    places = product(values.models, values.conditions, [HELD], values.categories)
    rates = [rate for place in places if not math.isnan(rate := values.get(*place))]
    return f" for {range_words(min(rates), max(rates))} of false alarms" if rates else ""


def _ends(counts: Iterable[float]) -> str:
    each = [round(count, 1) for count in counts]
    return f"{min(each):.12g}" + (f" to {max(each):.12g}" if max(each) > min(each) else "")
