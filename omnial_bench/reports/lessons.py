"""What the test suites taught, in sentences that rows lead to by rule: the report's first words. No torch here."""

import math

from omnial_bench.metrics.metric import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Model, joined
from omnial_bench.reports.corruptions import corruptions_attacked, four, kinds_of, pairs_in
from omnial_bench.reports.curves import bounds_any, curves
from omnial_bench.reports.families import carried_words
from omnial_bench.reports.matrix import figure_of, sources_of
from omnial_bench.reports.model_rows import apart_from_doubted, doubts
from omnial_bench.reports.origins import NOT_RUN
from omnial_bench.reports.table import show
from omnial_bench.reports.white_box import falls
from omnial_bench.reports.wording import AUROC_WORDS, kind_words, mean_of, percent, range_words, smallest_words

CHANCE = 0.5
"""The AUROC of a detector that knows nothing."""
TIE = 0.01
"""Figures within a point of each other are told as a tie: fewer images or another seed would swap them."""


def lessons(campaign: Campaign) -> list[str]:
    """What was seen beside the finding, in the order of importance, each only where its rows exist."""
    attacked = (_changes, _along_the_curve, smallest_words, _goals, _worst, _transfer, carried_words)
    return list(filter(None, (point(campaign) for point in (*attacked, _corrupted, _shifted))))


def caveats(campaign: Campaign) -> list[str]:
    """What the figures of the test suites do not say."""
    if not campaign.evaluations:
        return []
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
    """From which size on each model is at chance, on the first curve, and whose figures are in doubt."""
    values, metric = campaign.values, "pixel_auroc"
    series = [curve for _, _, curve in curves(campaign) if all(bounds_any(campaign, each, metric) for each in curve)]
    if not series:
        return ""
    curve = series[0]
    groups: dict[str, list[str]] = {}
    for model in values.judged:
        heights = [values.get(model, trial.own, metric) for trial in curve]
        if not math.isnan(sum(heights)):
            # The size from which on no larger one lifts it above chance again.
            above = [place for place, height in enumerate(heights) if height > CHANCE]
            below = [trial.size for trial in curve[max(above, default=-1) + 1 :]]
            doubt = " (in doubt)" if any(doubts(campaign, model, trial.own, metric) for trial in curve) else ""
            groups.setdefault(below[0] if below else "", []).append(f"{values.label(model)}{doubt}")
    sizes = [trial.size for trial in curve]
    clauses = [f"from {size} on for {joined(groups[size])}" for size in sizes if size in groups]
    clauses += [f"at no size up to {sizes[-1]} for {joined(groups[''])}"] if "" in groups else []
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
    start = f"The fixed set {compared.set} overstates the robustness of"
    more = sum(fall["overstated"] < -TIE for _, fall in pairs)
    if not more:
        return f"{start} none by more than a point of pixel AUROC."
    model, fall = min(pairs, key=lambda pair: pair[1]["overstated"])
    who = f"{campaign.values.label(model)} ({kind_words(campaign.fixed, model, compared)})"
    fixed, own = _number(fall["fall_fixed"]), _number(fall["fall_white_box"])
    if len(pairs) == 1:
        return f"{start} {who}: {fixed} points of pixel AUROC where white-box takes {own}."
    many = f"{more} of {len(pairs)} models by more than a point of pixel AUROC"
    return f"{start} {many}, most that of {who}: {fixed} points where white-box takes {own}."


def _changes(campaign: Campaign) -> str:
    pairs, compared, values = _both_falls(campaign), campaign.fixed_set, campaign.values
    if not pairs or compared is None:
        return ""
    own, each, less = campaign.goals["any"].own, [], []
    for model, fall in pairs:
        name, fixed, white = values.label(model), _number(fall["fall_fixed"]), _number(fall["fall_white_box"])
        each.append(f"{name} {fixed}\u00a0→\u00a0{white}")
        left = f"{name}, which it leaves at {percent(values.get(model, own, 'pixel_auroc'))}"
        less += [left] if fall["overstated"] > TIE else []
    text = f"Change of pixel AUROC in points, under the fixed set {compared.set} → white-box: {', '.join(each)}"
    return text + (f"; white-box takes less than the fixed set from {joined(less)}." if less else ".")


def _goals(campaign: Campaign) -> str:
    suite, goals, values = campaign.white_box, campaign.goals, campaign.values
    if not suite or not {"hide", "fabricate"} <= set(goals):
        return ""
    clauses = []
    own = [goals["hide"].own, goals["fabricate"].own]
    for metric, words in AUROC_WORDS.items():
        bound = [model for model in values.judged if all(campaign.bounds(model, each, metric) for each in own)]
        before = {model: values.get(model, suite.control, metric) for model in bound}
        changes = [[values.get(model, each, metric) - before[model] for each in own] for model in bound]
        pairs = [pair for pair in changes if not math.isnan(sum(pair))]
        hidden, invented = (_number(mean_of(column)) for column in zip(*pairs, strict=True)) if pairs else ("", "")
        if len(pairs) == 1:
            alone = f"change {words} by {hidden} points and false alarms (fabricate) by {invented}"
            clauses.append(f"missed defects (hide) {alone}")
        elif pairs:
            hide, fabricate = sum(a < b - TIE for a, b in pairs), sum(b < a - TIE for a, b in pairs)
            tied = len(pairs) - hide - fabricate
            clauses.append(
                f"missed defects (hide) cost more {words} for {hide} of {len(pairs)} models and false alarms "
                f"(fabricate) for {fabricate}{f', {tied} within a point' if tied else ''} (mean change {hidden} "
                f"against {invented} points)"
            )
    return f"By goal, {'; '.join(clauses)}." if clauses else ""


def _worst(campaign: Campaign) -> str:
    suite, values = campaign.worst, campaign.values
    if suite is None:
        return ""
    clauses = []
    for metric, words in AUROC_WORDS.items():
        ranked = values.ranked(suite.worst, metric)
        if bound := [pair for pair in ranked if campaign.bounds(pair[1], suite.worst, metric)]:
            sure, _ = apart_from_doubted(campaign, suite.worst, bound, metric)
            (high, first), (low, last) = bound[0], bound[-1]
            ends = [f"{percent(low)} ({values.label(last)})", f"{percent(high)} ({values.label(first)})"]
            apart = f"between {joined(ends)}" if high - low > TIE else range_words(low, high)
            doubt = "" if bound[0] in sure else ", the most in doubt," if sure else ", all in doubt,"
            clauses.append(f"{apart}{doubt} {words}")
    start = f"Taking for each image the worst of {len(suite.own)} attacks leaves"
    return f"{start} {joined(clauses)}." if clauses else ""


def _transfer(campaign: Campaign) -> str:
    """Whether a model's own attack takes it lower than those of the others: a sign that the attack works."""
    values = campaign.values
    if not campaign.transfers:
        return ""
    suite, trial = campaign.transfers[0]
    lowest: dict[str, bool] = {}
    for model in values.judged:
        mine = values.get(model, figure_of(trial, model.name, model), "pixel_auroc")
        met = [figure_of(trial, name, model) for name in sources_of(trial, values) if name != model.name]
        lent = [values.get(model, each, "pixel_auroc") for each in met if each and not values.part(model, each)]
        lent = [value for value in lent if not math.isnan(value)]
        if lent and not math.isnan(mine):
            lowest[values.label(model)] = mine <= min(lent)
    start, others = f"In transfer ({suite.title(trial)})", [name for name, is_lowest in lowest.items() if not is_lowest]
    if len(lowest) < 2:
        how = "at least as low as any" if not others else "less low than some"
        return f"{start} the model's own attack takes pixel AUROC {how} other source." if lowest else ""
    text = f"{start}, for {len(lowest) - len(others)} of {len(lowest)} models their own attack takes pixel AUROC "
    return text + "at least as low as any other source" + (f"; not for {joined(others)}." if others else ".")


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
            change = mean_of([values.get(model, condition, metric.name) - before[model] for model, condition in after])
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
            both, alone = map(mean_of, ends)
            lefts += [] if math.isnan(both + alone) else [(both, title, alone)]
        if lefts:
            both, title, alone = min(lefts)
            clauses.append(f"{percent(both)} {words} after {title} ({percent(alone)} without)")
    return f"On top of a corruption an attack leaves least: {joined(clauses)}." if clauses else ""


def _number(change: float) -> str:
    return show(change, "change")
