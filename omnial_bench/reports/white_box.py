"""Tables of the white-box attacks: what a report opens with, all goals beside the fixed sets' fall, every attack.

No torch here.
"""

import math
from functools import partial
from typing import Any

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.model_rows import Rows, extreme_cells
from omnial_bench.reports.suites import GOALS, Evaluation
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import METRIC_TITLES
from omnial_bench.reports.wording import (
    count_words,
    interval_words,
    mean_words,
    model_column,
    number_words,
    spread_words,
    threshold_words,
)
from omnial_bench.results import HEADLINE

RANKS = "any_score"
"""The column of the attack on the score that ranks images."""
_HEADS = {"any": "any harm", "hide": "missed defect\n(hide)", "fabricate": "false alarm\n(fabricate)"}
_GOAL_WORDS = {
    "any": "every image attacked against its truth",
    "hide": "anomalous images alone, towards normal maps",
    "fabricate": "normal images alone, towards anomalous maps",
}
_OPENING_WORDS = {
    "any": "any harm: every image, against its truth (figures of images: through the score that ranks them)",
    "hide": f"missed defect: {_GOAL_WORDS['hide']}",
    "fabricate": f"false alarm: {_GOAL_WORDS['fabricate']}",
}


def opening_table(campaign: Campaign) -> Table | None:
    """A row a model: before any attack, under the white-box attack, by goal, and the worst over several attacks.

    A figure under attack stands only where the attack was after this kind of figure, so each is a bound.
    """
    suite, goals, values = campaign.white_box, campaign.goals, campaign.values
    if suite is None or not goals:
        return None
    rows, shown = Rows(values, campaign), campaign.first_columns("pixel_auroc")
    worst = campaign.worst if "worst" in shown else None
    for metric in values.headline:
        rows.add_models(metric, campaign.first_columns(metric), interval=True, bounded=True)
    if not rows.records:
        return None
    frame = rows.frame
    if worst and frame["worst"].isna().all():
        worst = None
    heads = {"unattacked": "unattacked", **_HEADS} | ({"worst": f"worst of {len(worst.own)}"} if worst else {})
    columns = [Column("model", "Model", style="text")]
    for key, condition in shown.items():
        if key in heads:
            heading = ",\n".join(filter(None, (heads[key], number_words(values, condition))))
            columns.append(Column(key, heading, f"White-box, {campaign.size}" if key in goals else ""))
    caption = _opening_caption(campaign, worst) + f" {interval_words(values, frame)}".rstrip()
    caption += spread_words(values, [trial.own for trial in goals.values()], "±:")
    return rows.table("opening", caption, columns, rows.best([column.key for column in columns[2:]]))


def _opening_caption(campaign: Campaign, worst: Evaluation | None) -> str:
    values, goals = campaign.values, campaign.goals
    conditions = [trial.own for trial in goals.values()]
    words = "; ".join(_OPENING_WORDS[goal] for goal in goals)
    parts = [
        f"Robustness to white-box attack at {campaign.size}: each model attacked itself on test images. Figures in per "
        f"cent, {mean_words(values)}; {count_words(values, conditions)}; n: number of images. "
        f"{words[0].upper()}{words[1:]}."
    ]
    if worst:
        parts.append(f"Worst: for each image the most harmful of the {len(worst.own)} attacks of {worst.label}.")
    parts += threshold_words(values)
    unbound = any(campaign.unbound(condition) for condition in conditions if condition)
    parts.append(
        "Bold: the best of each column, of figures not in doubt. Dash: no attack of that column was after this figure"
    )
    return " ".join(parts) + (", or it claims no bound." if unbound else ".")


def white_box_table(campaign: Campaign) -> Table | None:
    """A row a model: before any attack, under each goal, the worst over several attacks, and two falls side by side."""
    suite, goals, values = campaign.white_box, campaign.goals, campaign.values
    if suite is None or not goals:
        return None
    ranks, compared = campaign.against("image_auroc"), campaign.fixed_set if "any" in goals else None
    shown = {"unattacked": suite.control, **{goal: trial.own for goal, trial in goals.items()}}
    shown |= {RANKS: ranks} if ranks else {}
    shown |= {"worst": campaign.worst.worst} if campaign.worst else {}
    rows = Rows(values, campaign)
    for metric in (name for name in HEADLINE if name in values.metrics):
        rows.add_models(metric, shown, more=partial(falls, campaign, metric=metric))
    if not rows.records:
        return None
    group = f"White-box, {campaign.size}"
    heads = {"any": "any", RANKS: "any, score", "hide": "hide", "fabricate": "fabricate"}
    columns = [Column("model", "Model", style="text"), Column("unattacked", "unattacked")]
    columns += [Column(key, head, group) for key, head in heads.items() if key in shown]
    columns += [Column("worst", "worst")] if "worst" in shown else []
    if "any" in goals:
        group = f"Fall at {campaign.size}" if compared else "Fall"
        columns += [Column("fall_fixed", "fixed set", group, "change")] if compared else []
        columns += [Column("fall_white_box", "white-box", group, "change")]
        columns += [Column("overstated", "gap", group, "change", muted=True)] if compared else []
    return rows.table("white_box", _caption(campaign, shown, compared), columns, rows.best(shown))


def falls(campaign: Campaign, model: Model, metric: str) -> dict[str, float]:
    """Change under the fixed set from its control, under the white-box attack from its own, and the second less the
    first: below 0, the fixed set overstates robustness."""
    values, own, fixed = campaign.values, campaign.against(metric), campaign.fixed_set
    start = campaign.white_box.control if campaign.white_box else None
    white = values.get(model, own, metric) - values.get(model, start, metric)
    before = campaign.fixed.change(model, fixed, metric) if fixed else math.nan
    return {
        "fall_fixed": before,
        "fall_fixed_sd": campaign.fixed.spread(model, fixed, metric, less=campaign.fixed.control),
        "fall_white_box": white,
        "fall_white_box_sd": values.spread(model, own, metric, less=start),
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
    rows, single = Rows(values, campaign), set[int]()
    for suite in suites:
        lines = _lines(suite)
        panel = f"{suite.name} ({max(values.total(condition) for _, condition in lines)} images)"
        panel += f": {suite.heading}" if suite.heading else ""
        for facts, condition in lines:
            images = values.total(condition)
            rows.add(panel=panel, suite=suite.name, set=condition.set, kind="attack", **facts, images=images)
            for model in values.models:
                rows.put(model.name, model, condition, metric)
            single |= set() if condition == suite.worst else {len(rows.records) - 1}
    columns = [Column("attack", "Attack", style="text"), Column("objective", "objective", style="text")]
    columns += [Column("steps", "steps", style="count"), *(model_column(values, model) for model in values.models)]
    conditions = [trial.own for suite in suites for trial in suite.own] + [suite.control for suite in suites]
    caption = (
        f"Every white-box attack by suite: {METRIC_TITLES[metric]} in per cent, {mean_words(values)}; steps are those "
        f"of all starts together; {count_words(values, conditions)}.{spread_words(values, conditions, '±:')} Each "
        "model attacked itself. Bold: the single attack that takes each model lowest in its suite, of those "
        "that aim at this figure; the others bound nothing."
    )
    names, among = [model.name for model in values.models], {cell for cell in rows.bounds if cell[0] in single}
    return rows.table("white_box_attacks", caption, columns, extreme_cells(rows.frame, names, among, lowest=True))


def _lines(suite: Evaluation) -> list[tuple[dict[str, Any], Condition]]:
    """What is said of each attack of a suite, between the images before any and the worst over all."""
    lines = [("before any attack", "", math.nan, suite.control)]
    for trial in suite.own:
        attack = f"{trial.attack_title}, {trial.words}" if trial.attack else trial.words
        steps = trial.steps * max(1, trial.restarts) or math.nan
        lines.append((attack, trial.objective.replace("_", " "), steps, trial.own))
    lines.append(("worst of all, by image", "", math.nan, suite.worst))
    return [
        ({"attack": attack, "steps": steps, "objective": objective}, condition)
        for attack, objective, steps, condition in lines
        if condition
    ]


def _caption(campaign: Campaign, shown: dict[str, Condition | None], compared: Condition | None) -> str:
    values, goals, worst = campaign.values, campaign.goals, campaign.worst
    conditions = [shown["unattacked"], *(trial.own for trial in goals.values())]
    parts = [
        f"White-box attacks at {campaign.size}: each model attacked itself on images of the test split, so the source "
        f"is the model of the row. Figures in per cent, {mean_words(values)}; {count_words(values, conditions)}; the "
        "highest of each column in bold, of the figures that an attack on them bounds and no check puts in doubt."
    ]
    words = []
    for goal in (goal for goal in GOALS if goal in goals):
        attacked = campaign.attacked(goals[goal])
        words.append(f"{goal}: {_GOAL_WORDS[goal]}{f' ({attacked})' if attacked else ''}")
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
    return " ".join(parts) + spread_words(values, conditions, "±:")
