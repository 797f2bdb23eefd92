"""What a report opens with: the finding, the table behind it, and how sure it is. No torch here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from omnial_bench.metrics.registry import METRICS
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.findings import best_clean, doubt_words, kind_words, not_apart
from omnial_bench.reports.health import Marked
from omnial_bench.reports.lessons import TIE, health_words, kept, overstated, percent, ranked_by
from omnial_bench.reports.suites import Evaluation
from omnial_bench.reports.table import MINUS, Column, Table
from omnial_bench.reports.tables import (
    best_of,
    count_words,
    headline,
    identity,
    interval_words,
    mean_words,
    number_words,
    put_interval,
    spread_words,
    unlearnt_words,
)
from omnial_bench.reports.values import METRIC_TITLES, Condition, Gap, Model, Values
from omnial_bench.results import HEADLINE

_WORDS = {name: METRICS[name].words for name in ("pixel_auroc", "image_auroc")}
_HEADS = {"any": "any harm", "hide": "missed defect\n(hide)", "fabricate": "false alarm\n(fabricate)"}


@dataclass(frozen=True)
class Opening:
    """The first words, the first table, and what makes them more or less sure."""

    finding: tuple[str, ...]
    table: Table
    sure: tuple[str, ...]


def opening(values: Values, campaign: Campaign | None) -> Opening:
    """Of the white-box attacks where there are some, else of the fixed sets, else of the clean test.

    `values` are those of the clean test and the fixed sets.
    """
    table = opening_table(campaign) if campaign else None
    table = table or headline(values)
    unlearnt = unlearnt_words(values)
    if not values.judged:
        return Opening((f"{unlearnt} That is every model, so nothing is concluded on robustness.",), table, ())
    found = (kept(campaign) if campaign else "") or _on_a_set(values) or best_clean(values)
    found = found or "The rows define no figure by which anything could be concluded."
    sure = (_apart(campaign), health_words(campaign), overstated(campaign)) if campaign else ()
    return Opening(tuple(filter(None, (found, unlearnt))), table, tuple(filter(None, sure)))


def opening_table(campaign: Campaign) -> Table | None:
    """A row a model: before any attack, under the white-box attack, by goal, and the worst over several attacks.

    A figure under attack stands only where the attack was after this kind of figure, so each is a bound.
    """
    suite, goals, values = campaign.white_box, campaign.goals, campaign.values
    if suite is None or not goals:
        return None
    worst = _worst(campaign)
    records: list[dict[str, Any]] = []
    marked = Marked(campaign)
    bounds: set[tuple[int, str]] = set()
    for metric in (name for name in HEADLINE if name in values.metrics):
        aimed = campaign.against(metric)
        shown: dict[str, Condition | None] = {goal: trial.own for goal, trial in goals.items()}
        shown |= {"any": aimed.own if aimed else None} if "any" in goals else {}
        shown |= {"worst": worst.worst} if worst else {}
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        for model in values.models:
            record: dict[str, Any] = {**panel, "kind": "model", "model": values.label(model), **identity(model)}
            for key, condition in {"unattacked": suite.control, **shown}.items():
                bound = campaign.bounds(model, condition, metric)
                said = condition if bound or key == "unattacked" else None
                # Checks on sets that have no column here are told at the first goal.
                others = shown.values() if key == next(iter(goals)) else ()
                marked.put(record, len(records), key, model, said, metric, *others)
                put_interval(record, key, values, model, said, metric)
                if bound and model in values.judged:
                    bounds.add((len(records), key))
            records.append(record)
        chance = {key: values.chance(condition, metric) for key, condition in shown.items() if condition}
        if not all(math.isnan(level) for level in chance.values()):
            base = {"unattacked": values.chance(suite.control, metric)} if suite.control else {}
            records.append({**panel, "kind": "chance", "model": "chance level", **base, **chance})
    if not records:
        return None
    frame = pd.DataFrame(records)
    columns = [Column("model", "Model", style="text"), _column(values, "unattacked", "unattacked", "", suite.control)]
    group = f"White-box, {campaign.size}"
    for goal, trial in goals.items():
        columns.append(_column(values, goal, _HEADS[goal], group, trial.own))
    if worst and frame["worst"].notna().any():
        columns.append(_column(values, "worst", f"worst of {len(worst.own)}", "", worst.worst))
    keys = [column.key for column in columns[2:]]
    return Table(
        "opening", _caption(campaign, frame), frame, tuple(columns),
        strong=best_of(frame, keys, bounds), letters=marked.letters, notes=marked.notes,
    )  # fmt: skip


def _worst(campaign: Campaign) -> Evaluation | None:
    """The suite with the worst over its attacks, where all of them are of the table's size."""
    worst = campaign.worst
    return worst if worst and all(trial.size == campaign.size for trial in worst.own) else None


def _column(values: Values, key: str, heading: str, group: str, condition: Condition | None) -> Column:
    number = number_words(values, condition)
    return Column(key, f"{heading},\n{number}" if number else heading, group, spread=f"{key}_sd", interval=key)


def _caption(campaign: Campaign, frame: pd.DataFrame) -> str:
    values, goals = campaign.values, campaign.goals
    conditions = [trial.own for trial in goals.values()]
    said = {
        "any": "any harm: every image, against its truth (image AUROC: through the score that ranks images)",
        "hide": "missed defect: anomalous images alone, towards normal maps",
        "fabricate": "false alarm: normal images alone, towards anomalous maps",
    }
    words = "; ".join(said[goal] for goal in goals)
    parts = [
        f"Robustness to white-box attack at {campaign.size}: each model attacked itself on test images. Figures in per "
        f"cent, {mean_words(values)}; {count_words(values, conditions)}; n: number of images. "
        f"{words[0].upper()}{words[1:]}.",
    ]
    worst = _worst(campaign)
    if worst and frame["worst"].notna().any():
        parts.append(f"Worst: for each image the most harmful of the {len(worst.own)} attacks of {worst.label}.")
    parts.append("Bold: the highest of each column. Dash: no attack of that column was after this figure.")
    if any(campaign.unbound(condition) for condition in conditions if condition):
        parts[-1] = f"{parts[-1][:-1]}, or it claims no bound."
    parts.append(interval_words(values, frame))
    return " ".join(filter(None, parts)) + spread_words(values, conditions, "±:")


def _apart(campaign: Campaign) -> str:
    """Whether the model that keeps most and the one that keeps least are told apart: by their difference on the same
    images or, where that was not measured, by the interval of each."""
    values, paired, clauses = campaign.values, [], []
    for metric, words in _WORDS.items():
        trial = campaign.against(metric)
        ranked = ranked_by(values, trial.own, metric) if trial else []
        if len(ranked) < 2 or ranked[0][0] - ranked[-1][0] <= TIE or trial is None:
            continue
        most, least = ranked[0][1], ranked[-1][1]
        if (gap := values.gap(most, least, trial.own, metric)) is not None:
            close = not_apart(values, most, trial.own, metric)
            paired.append(f"in {words} {_gap_words(values, most, least, gap, close)}")
            continue
        ends = [values.interval(model, trial.own, metric) for model in (most, least)]
        if any(math.isnan(end) for pair in ends for end in pair):
            continue
        shown = [f"({100 * low:.1f} to {percent(high)})" for low, high in ends]
        pair = f"{values.label(most)} {shown[0]} and {values.label(least)} {shown[1]}"
        overlap = "overlap, so their order may be chance" if ends[0][0] <= ends[1][1] else "lie apart"
        clauses.append(f"in {words} those of {pair} {overlap}")
    alone = f"Of the 95\u00a0% intervals over images, {'; '.join(clauses)}." if clauses else ""
    said = f"On the same images (paired 95\u00a0% intervals) {'; '.join(paired)}." if paired else ""
    return " ".join(filter(None, (said, alone)))


def _gap_words(values: Values, most: Model, least: Model, gap: Gap, close: Sequence[Model]) -> str:
    """What lies between the first and the last, and which models are not told apart from the first."""
    low, high = (f"{100 * end:.1f}".replace("-", MINUS) for end in (gap.low, gap.high))
    others = f", {doubt_words(values, close)}" if close else ""
    more = f"{100 * gap.difference:.1f} points more than {values.label(least)} ({low} to {high})"
    return f"{values.label(most)} keeps {more}{others}"


def _on_a_set(values: Values) -> str:
    """Who keeps most and least on the hardest fixed set, and whether that is transfer."""
    sets = [condition for condition in values.sets if not condition.towards] or list(values.sets)
    if not sets:
        return ""
    hardest = max(sets, key=lambda condition: -1.0 if math.isnan(condition.eps) else condition.eps)
    clauses = []
    for metric, words in _WORDS.items():
        ranked = ranked_by(values, hardest, metric)
        if not ranked:
            continue
        ends = [_move(values, model, hardest, metric, value) for value, model in (ranked[0], ranked[-1])]
        if len(ranked) == 1:
            clauses.append(f"{words} moves for {ends[0]}")
        elif ranked[0][0] - ranked[-1][0] <= TIE:
            clauses.append(
                f"all {len(ranked)} models are left within a point of one another in {words} ({percent(ranked[0][0])})"
            )
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
    moved = percent(value) if math.isnan(before) else f"{100 * before:.1f}\u00a0→\u00a0{percent(value)}"
    return f"{values.label(model)} ({moved}, {kind_words(values, model, condition)})"
