"""What the test suites taught, in sentences that rows lead to by rule: the report's first words. No torch here."""

import math
from collections.abc import Iterable

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.corruptions import corruptions_attacked, four, kinds_of, pairs_in
from omnial_bench.reports.curves import curves
from omnial_bench.reports.matrix import figure_of, sources_of
from omnial_bench.reports.missed import smallest_words
from omnial_bench.reports.origins import NOT_RUN
from omnial_bench.reports.table import show
from omnial_bench.reports.titles import joined
from omnial_bench.reports.values import Values
from omnial_bench.reports.white_box import falls
from omnial_bench.reports.wording import AUROC_WORDS, kind_words, percent, range_words

CHANCE = 0.5
"""The AUROC of a detector that knows nothing."""
TIE = 0.01
"""Figures within a point of each other are told as a tie: fewer images or another seed would swap them."""
Ranked = list[tuple[float, Model]]


def lessons(campaign: Campaign) -> list[str]:
    """What was seen beside the finding, in the order of importance, each only where its rows exist."""
    points = (_changes, _along_the_curve, smallest_words, _goals, _worst, _transfer, _corrupted, _shifted)
    return [sentence for sentence in (point(campaign) for point in points) if sentence]


def caveats(campaign: Campaign) -> list[str]:
    """What the figures of the test suites do not say."""
    sentences = []
    if campaign.white_box:
        sentences.append(
            "White-box figures attack each model itself with the stated budget and are upper bounds of its robustness: "
            "a stronger attack may go lower."
        )
    seeds = campaign.values.seeds_of(campaign.values.conditions)
    # Where the other rows have one seed too, the limits say so.
    if campaign.white_box and len(seeds) == 1 and len(campaign.fixed.seeds) != 1:
        sentences.append(
            f"The test suites were run with one seed ({seeds[0]}): differences within a few points may be noise."
        )
    checks = campaign.health
    if campaign.white_box and checks.empty:
        sentences.append("No health check was run, so a gradient that is masked would not have been noticed.")
    elif len(missing := list(dict.fromkeys(checks.loc[checks["status"] == NOT_RUN, "check"]))):
        sentences.append(f"Health checks that were not run for some model: {joined(missing)}.")
    return sentences


def _along_the_curve(campaign: Campaign) -> str:
    """From which size on each model is at chance, on the first curve."""
    series, values = curves(campaign), campaign.values
    if not series or "pixel_auroc" not in values.metrics:
        return ""
    _, _, curve = series[0]
    groups: dict[str, list[str]] = {}
    for model in values.judged:
        heights = [(trial, values.get(model, trial.own, "pixel_auroc")) for trial in curve]
        if any(math.isnan(height) for _, height in heights):
            continue
        # The size from which on no larger one lifts it above chance again.
        below: list[str] = []
        for trial, height in reversed(heights):
            if height > CHANCE:
                break
            below.append(trial.size)
        groups.setdefault(below[-1] if below else "", []).append(values.label(model))
    clauses = [
        f"from {size} on for {joined(groups[size])}" for size in (trial.size for trial in curve) if size in groups
    ]
    clauses += [f"at no size up to {curve[-1].size} for {joined(groups[''])}"] if "" in groups else []
    return f"With growing eps, pixel AUROC is at or below chance {', '.join(clauses)}." if clauses else ""


def _both_falls(campaign: Campaign) -> list[tuple[Model, dict[str, float]]]:
    """The models whose pixel AUROC is known under the fixed set and under the white-box attack, with both falls."""
    values = campaign.values
    if campaign.fixed_set is None or "pixel_auroc" not in values.metrics:
        return []
    pairs = [(model, falls(campaign, model, "pixel_auroc")) for model in values.judged]
    return [(model, fall) for model, fall in pairs if not math.isnan(fall["overstated"])]


def overstated(campaign: Campaign) -> str:
    """Whose fall the fixed set shows as smaller than the white-box attack does."""
    pairs, compared = _both_falls(campaign), campaign.fixed_set
    if not pairs or compared is None:
        return ""
    more = sum(fall["overstated"] < -TIE for _, fall in pairs)
    if not more:
        return f"The fixed set {compared.set} overstates the robustness of none by more than a point of pixel AUROC."
    model, fall = min(pairs, key=lambda pair: pair[1]["overstated"])
    kind = kind_words(campaign.fixed, model, compared)
    if len(pairs) == 1:
        return (
            f"The fixed set {compared.set} overstates the robustness of {campaign.values.label(model)} ({kind}): "
            f"{_number(fall['fall_fixed'])} points of pixel AUROC where white-box takes "
            f"{_number(fall['fall_white_box'])}."
        )
    return (
        f"The fixed set {compared.set} overstates the robustness of {more} of {len(pairs)} models by more than a point "
        f"of pixel AUROC, most that of {campaign.values.label(model)} ({kind}): {_number(fall['fall_fixed'])} points "
        f"where white-box takes {_number(fall['fall_white_box'])}."
    )


def _changes(campaign: Campaign) -> str:
    pairs, compared, values = _both_falls(campaign), campaign.fixed_set, campaign.values
    if not pairs or compared is None:
        return ""
    each = [
        f"{values.label(model)} {_number(fall['fall_fixed'])}\u00a0→\u00a0{_number(fall['fall_white_box'])}"
        for model, fall in pairs
    ]
    own = campaign.goals["any"].own
    less = [
        f"{values.label(model)}, which it leaves at {percent(values.get(model, own, 'pixel_auroc'))}"
        for model, fall in pairs
        if fall["overstated"] > TIE
    ]
    text = f"Change of pixel AUROC in points, under the fixed set {compared.set} → white-box: {', '.join(each)}"
    return text + (f"; white-box takes less than the fixed set from {joined(less)}." if less else ".")


def _goals(campaign: Campaign) -> str:
    suite, goals, values = campaign.white_box, campaign.goals, campaign.values
    if not suite or not {"hide", "fabricate"} <= set(goals):
        return ""
    clauses = []
    for metric, words in AUROC_WORDS.items():
        pairs = []
        for model in values.judged:
            if not all(campaign.bounds(model, goals[goal].own, metric) for goal in ("hide", "fabricate")):
                continue
            before = values.get(model, suite.control, metric)
            pair = tuple(values.get(model, goals[goal].own, metric) - before for goal in ("hide", "fabricate"))
            pairs += [] if any(math.isnan(change) for change in pair) else [pair]
        if not pairs:
            continue
        if len(pairs) == 1:
            hidden, invented = (_number(change) for change in pairs[0])
            clauses.append(
                f"missed defects (hide) change {words} by {hidden} points and false alarms (fabricate) by {invented}"
            )
            continue
        hide = sum(hidden_change < false_change - TIE for hidden_change, false_change in pairs)
        fabricate = sum(false_change < hidden_change - TIE for hidden_change, false_change in pairs)
        means = [sum(column) / len(pairs) for column in zip(*pairs, strict=True)]
        tied = len(pairs) - hide - fabricate
        clauses.append(
            f"missed defects (hide) cost more {words} for {hide} of {len(pairs)} models and false alarms (fabricate) "
            f"for {fabricate}"
            + (f", {tied} within a point" if tied else "")
            + f" (mean change {_number(means[0])} against {_number(means[1])} points)"
        )
    return f"By goal, {'; '.join(clauses)}." if clauses else ""


def _worst(campaign: Campaign) -> str:
    suite, values = campaign.worst, campaign.values
    clauses = []
    for metric, words in AUROC_WORDS.items():
        ranked = ranked_by(values, suite.worst, metric) if suite else []
        ranked = [pair for pair in ranked if suite and campaign.bounds(pair[1], suite.worst, metric)]
        if len(ranked) == 1 or (ranked and ranked[0][0] - ranked[-1][0] <= TIE):
            clauses.append(f"{range_words(ranked[-1][0], ranked[0][0])} {words}")
        elif ranked:
            clauses.append(
                f"between {percent(ranked[-1][0])} ({values.label(ranked[-1][1])}) and {percent(ranked[0][0])} "
                f"({values.label(ranked[0][1])}) {words}"
            )
    if not suite or not clauses:
        return ""
    return f"Taking for each image the worst of {len(suite.own)} attacks leaves {joined(clauses)}."


def _transfer(campaign: Campaign) -> str:
    """Whether a model's own attack takes it lower than those of the others: a sign that the attack works."""
    values = campaign.values
    for suite, trial in campaign.transfers[:1]:
        own, others = 0, []
        total = 0
        for model in values.judged:
            mine = values.get(model, figure_of(trial, model.name, model), "pixel_auroc")
            met = [figure_of(trial, name, model) for name in sources_of(trial, values) if name != model.name]
            others_made = [condition for condition in met if condition and not values.part(model, condition)]
            lent = [values.get(model, condition, "pixel_auroc") for condition in others_made]
            lent = [value for value in lent if not math.isnan(value)]
            if math.isnan(mine) or not lent:
                continue
            total += 1
            own += mine <= min(lent)
            others += [] if mine <= min(lent) else [values.label(model)]
        if total == 1:
            how = "at least as low as any" if own else "less low than some"
            return f"In transfer ({suite.title(trial)}) the model's own attack takes pixel AUROC {how} other source."
        if total:
            text = (
                f"In transfer ({suite.title(trial)}), for {own} of {total} models their own attack takes pixel AUROC "
                "at least as low as any other source"
            )
            return text + (f"; not for {joined(others)}." if others else ".")
    return ""


def _corrupted(campaign: Campaign) -> str:
    """Which kind of corruption costs most of each metric, and adds most to what is better low, over its severities."""
    suite, values = campaign.corruptions, campaign.values
    if suite is None:
        return ""
    clauses, kinds = [], kinds_of(suite)
    for metric in (METRICS[name] for pair in pairs_in(campaign).values() for name in pair):
        changes: dict[str, float] = {}
        before = {model: values.get(model, suite.control, metric.name) for model in values.judged}
        for kind, shown in kinds.items():
            after = [(model, condition) for model in before for level, condition in shown.items() if level]
            change = _mean([values.get(model, condition, metric.name) - before[model] for model, condition in after])
            changes |= {} if math.isnan(change) else {kind: change}
        higher = metric.better == "higher"
        kind = (min if higher else max)(changes, key=lambda name: changes[name], default="")
        if kind and (changes[kind] < 0) == higher and changes[kind]:
            what = f"costs most {metric.words}" if higher else f"adds most {metric.words.lower()}"
            clauses.append(f"{kind} {what} ({_number(changes[kind])} points)")
    start = f"Of {len(kinds)} kinds of common corruption, in the mean over their severities,"
    return f"{start} {joined(clauses)}." if clauses else ""


def _shifted(campaign: Campaign) -> str:
    """After which corruption an attack leaves least, and what it leaves without any."""
    suite, values = campaign.shifted, campaign.values
    if suite is None:
        return ""
    clauses = []
    for metric, words in AUROC_WORDS.items():
        lefts = []
        for title, corrupted in corruptions_attacked(suite).items():
            shown = four(suite, corrupted, metric)
            ends = [[values.get(model, shown[key], metric) for model in values.judged] for key in ("both", "attacked")]
            both, alone = map(_mean, ends)
            lefts += [] if math.isnan(both + alone) else [(both, title, alone)]
        if lefts:
            both, title, alone = min(lefts)
            clauses.append(f"{percent(both)} {words} after {title} ({percent(alone)} without)")
    return f"On top of a corruption an attack leaves least: {joined(clauses)}." if clauses else ""


def _mean(figures: Iterable[float]) -> float:
    """The mean of those that are defined."""
    known = [figure for figure in figures if not math.isnan(figure)]
    return sum(known) / len(known) if known else math.nan


def ranked_by(values: Values, condition: Condition | None, metric: str) -> Ranked:
    """Models with a figure, the highest first."""
    pairs = [(values.get(model, condition, metric), model) for model in values.judged]
    return sorted((pair for pair in pairs if not math.isnan(pair[0])), key=lambda pair: -pair[0])


def _number(change: float) -> str:
    return show(change, "change")
