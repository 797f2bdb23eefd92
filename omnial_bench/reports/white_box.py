"""The table of the white-box attacks beside the fixed sets' fall, and one of every attack. No torch here."""

import math
from typing import Any

import pandas as pd

from omnial_bench.reports.campaign import GOALS, Campaign
from omnial_bench.reports.health import Marked
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.tables import best_of, count_words, identity, mean_words, model_column, spread_words
from omnial_bench.reports.values import METRIC_TITLES, Condition, Model
from omnial_bench.results import HEADLINE

RANKS = "any_score"
"""The column of the attack on the score that ranks images."""


def white_box_table(campaign: Campaign) -> Table | None:
    """A row a model: before any attack, under each goal, the worst over several attacks, and two falls side by side."""
    suite, goals = campaign.white_box, campaign.goals
    if suite is None or not goals:
        return None
    values = campaign.values
    ranks = campaign.against("image_auroc")
    shown = {"unattacked": suite.control, **{goal: trial.own for goal, trial in goals.items()}}
    shown |= {RANKS: ranks.own} if ranks else {}
    if campaign.worst:
        shown["worst"] = campaign.worst.worst
    compared = campaign.fixed_set if "any" in goals else None
    records: list[dict[str, Any]] = []
    marked = Marked(campaign)
    bounds: set[tuple[int, str]] = set()
    for metric in (name for name in HEADLINE if name in values.metrics):
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        for model in values.models:
            record: dict[str, Any] = {**panel, "kind": "model", "model": values.label(model), **identity(model)}
            for key, condition in shown.items():
                # Checks on sets that have no column here are told at the first goal.
                others = shown.values() if key == next(iter(goals)) else ()
                marked.put(record, len(records), key, model, condition, metric, *others)
                if campaign.bounds(model, condition, metric) and model in values.judged:
                    bounds.add((len(records), key))
            records.append(record | falls(campaign, model, metric))
        chance = {key: values.chance(condition, metric) for key, condition in shown.items() if condition}
        if not all(math.isnan(level) for level in chance.values()):
            records.append({**panel, "kind": "chance", "model": "chance level", **chance})
    if not records:
        return None
    size = campaign.size
    columns = [Column("model", "Model", style="text"), Column("unattacked", "unattacked", spread="unattacked_sd")]
    heads = {"any": "any", RANKS: "any, score", "hide": "hide", "fabricate": "fabricate"}
    group = f"White-box, {size}"
    columns += [Column(key, head, group, spread=f"{key}_sd") for key, head in heads.items() if key in shown]
    columns += [Column("worst", "worst", spread="worst_sd")] if "worst" in shown else []
    if "any" in goals:
        group = f"Fall at {size}" if compared else "Fall"
        columns += [Column("fall_fixed", "fixed set", group=group, style="change", spread="fall_fixed_sd")] * bool(
            compared
        )
        columns += [Column("fall_white_box", "white-box", group=group, style="change", spread="fall_white_box_sd")]
        columns += [Column("overstated", "gap", group=group, style="change", muted=True)] * bool(compared)
    frame = pd.DataFrame(records)
    keys = [key for key in shown if frame[key].notna().any()]
    return Table(
        "white_box",
        _caption(campaign, shown, compared),
        frame,
        tuple(columns),
        strong=best_of(frame, keys, bounds),
        letters=marked.letters,
        notes=marked.notes,
    )


def falls(campaign: Campaign, model: Model, metric: str) -> dict[str, float]:
    """Change under the fixed set from its control, under the white-box attack from its own, and the second less the
    first: below 0, the fixed set overstates robustness."""
    suite, trial, values = campaign.white_box, campaign.against(metric), campaign.values
    own = trial.own if trial else None
    fixed, base = campaign.fixed_set, campaign.fixed.control
    white = values.get(model, own, metric) - values.get(model, suite.control if suite else None, metric)
    before = campaign.fixed.change(model, fixed, metric) if fixed else math.nan
    return {
        "fall_fixed": before,
        "fall_fixed_sd": campaign.fixed.spread(model, fixed, metric, less=base),
        "fall_white_box": white,
        "fall_white_box_sd": values.spread(model, own, metric, less=suite.control if suite else None),
        "overstated": white - before,
    }


def attacks_table(campaign: Campaign) -> Table | None:
    """Every white-box attack of the suites that are no curve: pixel AUROC of each model, the worst of each in bold."""
    values = campaign.values
    metric = next((name for name in ("pixel_auroc", "image_auroc") if name in values.metrics), None)
    transferred = {suite.name for suite, _ in campaign.transfers}
    suites = [each for each in campaign.evaluations if each.own and not each.curves and each.name not in transferred]
    suites.sort(key=lambda each: (each != campaign.white_box, each != campaign.worst, each.name))
    if metric is None or sum(len(each.own) for each in suites) < 2:
        return None
    records: list[dict[str, Any]] = []
    marked = Marked(campaign)
    bounds: set[tuple[int, str]] = set()
    for suite in suites:
        lines: list[tuple[dict[str, Any], Condition | None]] = []
        if suite.control:
            lines.append(({"attack": "before any attack", "steps": math.nan, "objective": ""}, suite.control))
        for trial in suite.own:
            steps = trial.steps * max(1, trial.restarts) or math.nan
            attack = f"{trial.attack_title}, {trial.words}" if trial.attack else trial.words
            objective = trial.objective.replace("_", " ")
            lines.append(({"attack": attack, "objective": objective, "steps": steps}, trial.own))
        if suite.worst:
            lines.append(({"attack": "worst of all, by image", "steps": math.nan, "objective": ""}, suite.worst))
        panel = f"{suite.name} ({max(values.total(item) for _, item in lines if item)} images)"
        panel += f": {suite.heading}" if suite.heading else ""
        for facts, condition in lines:
            name = condition.set if condition else ""
            images = values.total(condition) if condition else 0
            record = {"panel": panel, "suite": suite.name, "set": name, "kind": "attack", **facts, "images": images}
            for model in values.models:
                marked.put(record, len(records), model.name, model, condition, metric)
                if campaign.bounds(model, condition, metric) and condition != suite.worst:
                    bounds.add((len(records), model.name))
            records.append(record)
    columns = [
        Column("attack", "Attack", style="text"),
        Column("objective", "objective", style="text"),
        Column("steps", "steps", style="count"),
    ]
    columns += [model_column(values, model, spread=f"{model.name}_sd") for model in values.models]
    frame = pd.DataFrame(records)
    conditions = [trial.own for suite in suites for trial in suite.own] + [suite.control for suite in suites]
    caption = (
        f"Every white-box attack by suite: {METRIC_TITLES[metric]} in per cent, {mean_words(values)}; steps are those "
        f"of all starts together; {count_words(values, conditions)}.{spread_words(values, conditions, '±:')} Each "
        "model attacked itself. Bold: the single attack that takes each model lowest in its suite, of those "
        "that aim at this figure; the others bound nothing."
    )
    lowest = _lowest(frame, [model.name for model in values.models], bounds)
    return Table(
        "white_box_attacks", caption, frame, tuple(columns),
        strong=lowest, letters=marked.letters, notes=marked.notes,
    )  # fmt: skip


def _lowest(frame: pd.DataFrame, keys: list[str], bounds: set[tuple[int, str]]) -> frozenset[tuple[int, str]]:
    low: set[tuple[int, str]] = set()
    for _, block in frame.groupby("panel", sort=False):
        for key in keys:
            allowed = [index for index in block.index if (int(str(index)), key) in bounds]
            printed = block.loc[allowed, key].mul(100).round(1)
            if printed.notna().sum() > 1:
                low |= {(int(str(index)), key) for index in printed.index[printed == printed.min()]}
    return frozenset(low)


def _caption(campaign: Campaign, shown: dict[str, Condition | None], compared: Condition | None) -> str:
    values, goals, worst = campaign.values, campaign.goals, campaign.worst
    conditions = [shown["unattacked"], *(trial.own for trial in goals.values())]
    parts = [
        f"White-box attacks at {campaign.size}: each model attacked itself on images of the test split, so the "
        f"source is the model of the row. Figures in per cent, {mean_words(values)}; "
        f"{count_words(values, conditions)}; the "
        "highest of each column in bold, of the figures that an attack on them bounds."
    ]
    said = {
        "any": "every image attacked against its truth",
        "hide": "anomalous images alone, towards normal maps",
        "fabricate": "normal images alone, towards anomalous maps",
    }
    counts = {goal: campaign.attacked(trial) for goal, trial in goals.items()}
    words = [f"{goal}: {said[goal]}{f' ({counts[goal]})' if counts[goal] else ''}" for goal in GOALS if goal in goals]
    parts.append("; ".join(words).capitalize() + ".")
    if RANKS in shown:
        parts.append("Any, score: every image, through the score that ranks images; it alone bounds image AUROC.")
    elif "any" in goals and "image_auroc" in values.metrics:
        parts.append("No attack was after the score that ranks images, so nothing here bounds image AUROC.")
    if worst and worst.worst:
        parts.append(
            f"Worst: for each image the version that harms most of the {len(worst.own)} attacks of the suite "
            f"{worst.label} ({count_words(values, [worst.worst])})."
        )
    if compared:
        before = count_words(campaign.fixed, [compared])
        mine = "; image AUROC: any, score" if RANKS in shown else ""
        parts.append(
            f"Fall, in points: the fixed set {compared.set} (source: {values.titles.of_sources(compared.sources)}; "
            f"{before}) from its own control, and the white-box attack (any{mine}) from unattacked. The two are of "
            "different images and anomalies, so compare the falls and not the values, and mind that none can pass "
            "its start; gap: white-box fall less that of the fixed set, below 0 where the fixed set overstates "
            "robustness."
        )
    spread = spread_words(values, conditions, "±:")
    return " ".join(parts) + spread
