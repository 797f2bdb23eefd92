"""What a report opens with: the finding, the table behind it, and how sure it is. No torch here."""

import math
from dataclasses import dataclass

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model, joined
from omnial_bench.reports.curves import smallest
from omnial_bench.reports.families import family_words
from omnial_bench.reports.findings import best_clean
from omnial_bench.reports.headline import headline
from omnial_bench.reports.lessons import CHANCE, TIE, overstated
from omnial_bench.reports.model_rows import apart_from_doubted
from omnial_bench.reports.origins import FAILED, LEARNT, NOT_RUN
from omnial_bench.reports.paradigms import paradigm_words
from omnial_bench.reports.table import MINUS, Table
from omnial_bench.reports.values import Ranked, Values
from omnial_bench.reports.white_box import opening_table
from omnial_bench.reports.wording import (
    AUROC_WORDS,
    count_words,
    doubt_words,
    kind_words,
    missed_words,
    moved_words,
    names_of,
    percent,
    range_words,
    unlearnt_words,
)


@dataclass(frozen=True)
class Opening:
    """The first words, the first table, and what makes them more or less sure."""

    finding: tuple[str, ...]
    table: Table
    sure: tuple[str, ...]


def opening(campaign: Campaign) -> Opening:
    """Of the white-box attacks where there are some, else of the fixed sets, else of the clean test."""
    values = campaign.fixed
    table = opening_table(campaign) or headline(values)
    unlearnt = unlearnt_words(values)
    if not values.judged:
        return Opening((f"{unlearnt} That is every model, so nothing is concluded on robustness.",), table, ())
    finding = _under_attack(campaign) or _on_a_set(values) or best_clean(values)
    finding = finding or "The rows define no figure by which anything could be concluded."
    sure = (_apart(campaign), _health_words(campaign), overstated(campaign))
    more = (_at_the_smallest(campaign), family_words(campaign), paradigm_words(campaign), missed_words(campaign))
    sentences = (finding, *more, unlearnt)
    return Opening(tuple(filter(None, sentences)), table, tuple(filter(None, sure)))


def _apart(campaign: Campaign) -> str:
    """Whether the model that keeps most without a doubt and the one that keeps least are told apart: by their
    difference on the same images or, where that was not measured, by the interval of each."""
    values, paired, clauses = campaign.values, [], []
    for metric, words in AUROC_WORDS.items():
        own = campaign.against(metric)
        ranked = values.ranked(own, metric)
        sure, _ = apart_from_doubted(campaign, own, ranked, metric)
        if not sure or sure[0][0] - ranked[-1][0] <= TIE:
            continue
        most, least = sure[0][1], ranked[-1][1]
        (low, up), (down, high) = (values.interval(model, own, metric) for model in (most, least))
        first, last = values.label(most), values.label(least)
        if gap := values.gap(most, least, own, metric):
            ends = " to ".join(f"{100 * end:.1f}".replace("-", MINUS) for end in (gap.low, gap.high))
            doubt = doubt_words(values, most, own, metric)
            others = f", {doubt}" if doubt else ""
            more = f"{100 * gap.difference:.1f} points more than {last} ({ends}){others}"
            paired.append(f"in {words} {first} keeps {more}")
        elif not math.isnan(low + down):
            pair = f"{first} ({100 * low:.1f} to {percent(up)}) and {last} ({100 * down:.1f} to {percent(high)})"
            overlap = "overlap, so their order may be chance" if low <= high else "lie apart"
            clauses.append(f"in {words} those of {pair} {overlap}")
    alone = f"Of the 95\u00a0% intervals over images, {'; '.join(clauses)}." if clauses else ""
    together = f"On the same images (paired 95\u00a0% intervals) {'; '.join(paired)}." if paired else ""
    return " ".join(filter(None, (together, alone)))


def _under_attack(campaign: Campaign) -> str:
    """Who keeps most and least under the white-box attack, and whether that is more than chance."""
    suite, trial, values = campaign.white_box, campaign.goals.get("any"), campaign.values
    if not suite or not trial:
        return ""
    clauses, robust = [], False
    for metric, words in AUROC_WORDS.items():
        aimed = campaign.against(metric)
        if not (ranked := values.ranked(aimed, metric)):
            continue
        ranked = [pair for pair in ranked if campaign.bounds(pair[1], aimed, metric)] or ranked
        robust |= ranked[0][0] > CHANCE
        how = ", its score attacked," if aimed != trial.own else ""
        clauses.append(f"{_kept(campaign, aimed, metric, ranked, words + how)}, {_at_chance(values, ranked)}")
    if not clauses:
        return ""
    which = "model that has learnt" if values.unlearnt else "model"
    start = "Under" if robust else f"No {which} is robust: under"
    return f"{start} white-box attack at {trial.size} ({count_words(values, [trial.own])}) {'; '.join(clauses)}."


def _at_the_smallest(campaign: Campaign) -> str:
    """Who keeps most and least at the smallest size of a curve: at the common one little may be left of any."""
    if (found := smallest(campaign)) is None:
        return ""
    evaluation, trial = found
    ranked, words = campaign.values.ranked(trial.own, "pixel_auroc"), AUROC_WORDS["pixel_auroc"]
    if len(ranked) < 2 or ranked[0][0] - ranked[-1][0] <= TIE:
        return ""
    return f"At {trial.size} {_kept(campaign, trial.own, 'pixel_auroc', ranked, words, start=evaluation.control)}."


def _kept(
    campaign: Campaign, aimed: Condition | None, metric: str, ranked: Ranked, words: str, *,
    start: Condition | None = None,
) -> str:  # fmt: skip
    """Who keeps most without a doubt, who keeps least, and what else is in doubt: such a figure is true at the most, so
    the least may be one. `start`: the images before the attack, of the white-box suite where nothing is said."""
    values = campaign.values
    sure, doubted = apart_from_doubted(campaign, aimed, ranked, metric)
    control = start or (campaign.white_box.control if campaign.white_box else None)
    # Where all are in doubt that is said once.
    marked = doubted if sure else []
    if len(ranked) == 1:
        text, rest = f"{words} moves for {_moves(values, control, metric, ranked, marked)}", Ranked()
    elif ranked[0][0] - ranked[-1][0] <= TIE:
        text = f"{_all(len(ranked))} models are left within a point of one another in {words.rstrip(',')}"
        text, rest = f"{text} ({range_words(ranked[-1][0], ranked[0][0])})", Ranked()
        if marked:
            text += f", in doubt {'are' if len(marked) > 1 else 'is'} {names_of(values, [who for _, who in marked])}"
    else:
        among = sure or doubted
        top = [pair for pair in among if among[0][0] - pair[0] <= TIE]
        low = [pair for pair in ranked if pair[0] - ranked[-1][0] <= TIE and pair not in top]
        rest = [pair for pair in doubted if pair not in low and pair not in top]
        higher = "of what no check doubts " if rest and rest[0][0] > top[0][0] else ""
        text = f"{higher}most {words} is kept by {_moves(values, control, metric, top, marked)}"
        text += f" and least by {_moves(values, control, metric, low, marked)}" if low else ""
    if not sure:
        return f"{text}, {'all ' if len(ranked) > 1 else ''}in doubt"
    others = _moves(values, control, metric, rest, [], "others") if rest else ""
    return f"{text}, in doubt {'are' if len(rest) > 1 else 'is'} {others}" if rest else text


def _moves(
    values: Values, start: Condition | None, metric: str, ranked: Ranked, marked: Ranked, several: str = "models"
) -> str:
    """Each model with its figure before and after, and whether that is in doubt; of more than two their number, and the
    range after."""
    if len(ranked) > 2:
        doubted = sum(pair in marked for pair in ranked)
        doubt = f", {doubted} of them in doubt" if doubted else ""
        return f"{len(ranked)} {several} ({range_words(ranked[-1][0], ranked[0][0])}{doubt})"
    moves = []
    for value, model in ranked:
        before = values.get(model, start, metric)
        moved = percent(value) if math.isnan(before) else moved_words(before, value)
        moves.append(f"{values.label(model)} ({moved}{', in doubt' if (value, model) in marked else ''})")
    return joined(moves)


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _at_chance(values: Values, ranked: Ranked) -> str:
    low = [values.label(model) for value, model in ranked if value <= CHANCE]
    if len(ranked) == 1:
        return f"{'at or below' if low else 'above'} chance (50\u00a0%)"
    if len(low) == len(ranked):
        who = f"{_all(len(low))} models"
    elif len(low) > 2 and 2 * len(low) > len(ranked):
        who = f"all but {joined([values.label(model) for value, model in ranked if value > CHANCE])}"
    else:
        who = joined(low) if low else "none"
    return f"{who} at or below chance (50\u00a0%)"


def _on_a_set(values: Values) -> str:
    """Who keeps most and least on the hardest fixed set, and whether that is transfer."""
    sets = [condition for condition in values.sets if not condition.towards] or list(values.sets)
    if not sets:
        return ""
    hardest = max(sets, key=lambda condition: -1.0 if math.isnan(condition.eps) else condition.eps)
    clauses = []
    for metric, words in AUROC_WORDS.items():
        if ranked := values.ranked(hardest, metric):
            ends = [_move(values, model, hardest, metric, value) for value, model in (ranked[0], ranked[-1])]
            if len(ranked) == 1:
                clauses.append(f"{words} moves for {ends[0]}")
            elif ranked[0][0] - ranked[-1][0] <= TIE:
                within = f"{_all(len(ranked))} models are left within a point of one another in {words}"
                clauses.append(f"{within} ({range_words(ranked[-1][0], ranked[0][0])})")
            else:
                clauses.append(f"most {words} is kept by {ends[0]} and least by {ends[1]}")
    if not clauses:
        return ""
    return (
        f"On the fixed set {hardest.set} ({hardest.label}, made on {values.titles.of_sources(hardest.sources)}; "
        f"{count_words(values, [hardest])}) {'; '.join(clauses)}."
    )


def _move(values: Values, model: Model, condition: Condition, metric: str, value: float) -> str:
    before = values.get(model, values.control, metric)
    moved = percent(value) if math.isnan(before) else moved_words(before, value)
    return f"{values.label(model)} ({moved}, {kind_words(values, model, condition)})"


def _health_words(campaign: Campaign) -> str:
    health = campaign.health
    ran = health[health["status"] != NOT_RUN]
    failed, idle = ran[ran["status"] == FAILED], len(health) - len(ran)
    if health.empty or not campaign.evaluations:
        return ""
    if set(ran["check"]) <= {LEARNT}:
        return "No health check of the attacks was run."
    rest = f"; {idle} {'was' if idle == 1 else 'were'} not run" if idle else ""
    if failed.empty:
        return f"{f'All {len(ran)} health checks' if len(ran) > 1 else 'The health check'} passed{rest}."
    names = joined([f"{check} ({count})" for check, count in failed["check"].value_counts(sort=False).items()])
    return f"{len(failed)} of {len(ran)} health checks failed: {names}{rest}."
