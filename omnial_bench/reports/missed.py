"""Defects missed and false alarms at the decision threshold, in words. No torch here."""

import math
from collections.abc import Iterable

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.titles import joined
from omnial_bench.reports.values import Values
from omnial_bench.reports.wording import names_of, range_words
from omnial_bench.results import AT_THRESHOLD

HELD = "image_false_alarms_held"
_WORDS = (("defects", "is missed", "are missed"), ("normal images", "raises a false alarm", "raise a false alarm"))


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
    clauses = []
    for metric, (kind, verb, verbs) in zip(AT_THRESHOLD, _WORDS, strict=True) if models else ():
        pairs = [values.hits(model, before, metric) for model in models]
        shown = _ends(hits for hits, _ in pairs)
        clause = f"{shown} of {max(n for _, n in pairs)} {kind} {verb if shown == '1' else verbs}"
        if own:
            more = _ends(values.hits(model, own, metric)[0] for model in models)
            clause += f", {more} under white-box attack at {campaign.size} on the image score"
        clauses.append(clause)
    several = f" (the fewest to the most of {len(models)} models)" if len(models) > 1 else ""
    sentences = (
        [f"At a threshold set for {_held(values)} of false alarms {'; '.join(clauses)}{several}."] if models else []
    )
    if without:
        sentences.append(
            f"{names_of(values, without)} {'has' if len(without) == 1 else 'have'} no threshold, for no scores of "
            "held-out normal images are known: missed defects and false alarms are undefined there."
        )
    return " ".join(sentences)


def smallest_words(campaign: Campaign) -> str:
    """The median and the quartiles of the smallest changes that hide a defect, and that raise a false alarm."""
    values, attempts, clauses = campaign.values, campaign.attempts, []
    searched = attempts.assign(sizes=attempts.get("sizes", ""))
    for goal, what in (("hide", "hide a defect"), ("fabricate", "raise a false alarm")):
        each = []
        for model in values.judged:
            part = model.rows_in(searched[searched["goal"] == goal])
            sizes = sorted(float(size) for text in part["sizes"] for size in text.split())
            if sizes:
                most = f"over {255 * part['size'].max():g}"
                shown = [sizes[math.ceil(share * len(sizes)) - 1] for share in (0.25, 0.5, 0.75)]
                low, middle, high = (f"{size:.2g}" if math.isfinite(size) else most for size in shown)
                each.append(f"{middle} ({low} to {high}) for {values.label(model)}")
        clauses += [f"to {what} {joined(each)}"] if each else []
    if not clauses:
        return ""
    return f"Smallest change in grey levels, median (quartiles), 0 where none is needed: {'; '.join(clauses)}."


def threshold_words(values: Values) -> list[str]:
    """What a caption says of the figures at a threshold, a sentence or none."""
    if "image_missed" not in values.headline:
        return []
    return [
        "Missed defects and false alarms: shares of the anomalous and of the normal images, with Wilson's interval, at "
        f"thresholds that held-out normal images set for {_held(values)} of false alarms; lower is better."
    ]


def _held(values: Values) -> str:
    """The rates of false alarms that thresholds are set for, over all models and categories."""
    rates = [
        rate
        for model in values.models
        for condition in values.conditions
        for category in values.categories
        if not math.isnan(rate := values.get(model, condition, HELD, category))
    ]
    return range_words(min(rates), max(rates))


def _ends(counts: Iterable[float]) -> str:
    each = [round(count, 1) for count in counts]
    return f"{min(each):g}" + (f" to {max(each):g}" if max(each) > min(each) else "")
