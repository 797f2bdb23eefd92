"""Each metric by kind and severity of harmless change, and with an attack on top of it. No torch here."""

from itertools import product

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition
from omnial_bench.reports.model_rows import Rows, facts_of
from omnial_bench.reports.style import CHANCE_LINE, Drawing, draw_lines, legend, lines_of, panels
from omnial_bench.reports.suites import ON_SCORES, Evaluation, Trial
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import METRIC_TITLES
from omnial_bench.reports.wording import AUROC_WORDS, count_words, mean_words, spread_words
from omnial_bench.results import AT_THRESHOLD

PAIRS = {"": ("image_auroc", "pixel_auroc"), "_threshold": AT_THRESHOLD}
"""The metrics that stand in one table, by the end of its name."""
Kinds = dict[str, dict[int, Condition]]
"""The condition at each severity of each kind, 0 before any corruption."""


def kinds_of(suite: Evaluation) -> Kinds:
    """The corruptions of a suite, by name and rising severity."""
    kinds: Kinds = {}
    for trial in suite.trials:
        if trial.corruption:
            kind, level = trial.corruption
            kinds.setdefault(kind, {0: suite.control} if suite.control else {})[level] = trial.conditions[0]
    return dict(sorted(kinds.items()))


def pairs_in(campaign: Campaign) -> dict[str, list[str]]:
    """PAIRS, as far as the rows have figures of them."""
    shown = {end: [name for name in pair if name in campaign.values.headline] for end, pair in PAIRS.items()}
    return {end: metrics for end, metrics in shown.items() if metrics}


def corruption_table(campaign: Campaign, end: str = "") -> Table | None:
    """A block a corruption, a row a model, columns by rising severity; spreads in the CSV alone."""
    suite, values, metrics = campaign.corruptions, campaign.values, pairs_in(campaign).get(end)
    if suite is None or not metrics:
        return None
    kinds = kinds_of(suite)
    levels = sorted({level for conditions in kinds.values() for level in conditions})
    rows = Rows(values)
    for (kind, shown), model in product(kinds.items(), values.models):
        rows.add(panel=kind, **facts_of(values, model))
        for metric, level in product(metrics, levels):
            rows.put(f"{metric}_{level}", model, shown.get(level), metric)
    columns = [Column("model", "Model", style="text")]
    for metric, level in product(metrics, levels):
        columns.append(Column(f"{metric}_{level}", str(level), METRIC_TITLES[metric], bare=True))
    conditions = [condition for by_level in kinds.values() for condition in by_level.values()]
    several = len(values.seeds_of(conditions)) > 1
    caption = (
        "Common corruptions of the test images by kind and severity, 0 for none: no attack and no source, the "
        f"reference for what harmless change does. Figures in per cent, {mean_words(values)}; "
        f"{count_words(values, conditions)}{'; standard deviations stand in the CSV' if several else ''}."
    )
    return rows.table(f"corruptions{end}", caption, columns)


def corruption_figures(campaign: Campaign) -> list[Drawing]:
    """A figure a metric: a panel a kind, a line a model, severity to the right."""
    suite, values = campaign.corruptions, campaign.values
    kinds = {kind: shown for kind, shown in kinds_of(suite).items() if len(shown) > 2} if suite else {}
    drawings = []
    for metric in (name for pair in pairs_in(campaign).values() for name in pair if kinds):
        with panels(len(kinds), 4, 1.45, 0.7, sharex=True, sharey=True) as (figure, places):
            for axes, (kind, shown) in zip(places, kinds.items(), strict=True):
                if metric in AUROC_WORDS:
                    axes.axhline(50, **CHANCE_LINE)
                draw_lines(axes, values, shown, metric)
                axes.set(title=kind, xticks=range(6), ylim=(0, 100), yticks=range(0, 101, 25), xlabel="", ylabel="")
                axes.grid(True)
            figure.supxlabel("severity")
            figure.supylabel(f"{METRIC_TITLES[metric]} (%)")
            legend(figure, lines_of(values) | ({"chance": CHANCE_LINE} if metric in AUROC_WORDS else {}))
        conditions = [condition for shown in kinds.values() for condition in shown.values()]
        caption = (
            f"{METRIC_TITLES[metric]} against the severity of each corruption, 0 for none, {mean_words(values)}; "
            f"{count_words(values, conditions)}.{spread_words(values, conditions, 'Bars:')} Nobody attacks."
        )
        alt = f"{METRIC_TITLES[metric]} against severity, a panel a corruption, a line a model."
        drawings.append(Drawing(f"corruptions_{metric}", caption, alt, figure))
    return drawings


def shifted_table(campaign: Campaign, end: str = "") -> Table | None:
    """A block a corruption, a row a model: as it was, attacked, corrupted, and attacked after the corruption."""
    suite, values, metrics = campaign.shifted, campaign.values, pairs_in(campaign).get(end)
    if suite is None or not metrics:
        return None
    rows, conditions = Rows(values, campaign), list[Condition | None]()
    for (title, corrupted), model in product(corruptions_attacked(suite).items(), values.models):
        shown = {metric: four(suite, corrupted, metric) for metric in metrics}
        rows.add(panel=title, **facts_of(values, model))
        for metric, places in shown.items():
            conditions += places.values()
            for key, condition in places.items():
                rows.put(f"{metric}_{key}", model, condition, metric)
    heads = {"before": "as it was", "attacked": "attacked", "corrupted": "corrupted", "both": "both"}
    columns = [Column("model", "Model", style="text")]
    for metric, (key, head) in product(metrics, heads.items()):
        columns.append(Column(f"{metric}_{key}", head, METRIC_TITLES[metric], bare=True))
    caption = (
        "Corruption and attack together: the test images as they were, attacked, corrupted by the kind and severity "
        "above, and corrupted first and attacked then, in a ball of the same size around the corrupted image. Each "
        "figure under the attack that is after it, white-box. Figures in per cent, "
        f"{mean_words(values)}; {count_words(values, conditions)}."
    )
    return rows.table(f"shifted{end}", caption, columns)


def corruptions_attacked(suite: Evaluation) -> dict[str, Trial]:
    """The corruptions of a suite that an attack comes after, by kind and severity."""
    origins = {trial.after for trial in suite.trials}
    return {trial.words: trial for trial in suite.corruptions if trial.set in origins}


def four(suite: Evaluation, corrupted: Trial, metric: str) -> dict[str, Condition | None]:
    """The conditions before and after a corruption, without and with the attack that is after a metric."""
    aimed = [each for each in suite.trials if (each.objective in ON_SCORES) == metric.startswith("image_")]
    both = next((each for each in aimed if each.after == corrupted.set), None)
    alone = next((each for each in suite.own if both and each in aimed and each.words == both.words), None)
    places = {"attacked": alone, "corrupted": corrupted, "both": both}
    return {"before": suite.control, **{key: trial.own if trial else None for key, trial in places.items()}}
