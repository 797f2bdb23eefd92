"""Each metric against the size of the perturbation. No torch here."""

import math
from itertools import product
from typing import TYPE_CHECKING

from omnial_bench.attacks.evidence import option_in
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition
from omnial_bench.reports.model_rows import Rows, facts_of
from omnial_bench.reports.style import CHANCE_LINE, DOUBLE, SINGLE, Drawing, draw_lines, legend, lines_of, panels
from omnial_bench.reports.suites import ON_SCORES, Evaluation, Trial
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import count_words, mean_words, spread_words
from omnial_bench.results import AT_THRESHOLD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = ("pixel_auroc", "pixel_ap", "image_auroc", "pixel_aupro")
Curve = tuple[Trial, ...]
CHANCE_WORDS = (
    " Dotted: chance, 50 % for AUROC and the share of anomalous pixels for AP; the chance of AUPRO is not drawn."
)


def curves(campaign: Campaign) -> list[tuple[str, Evaluation, Curve]]:
    """Every series of threats that differ in size alone, with a name for files."""
    return [
        (f"curve_{evaluation.name}" + (f"_{index + 1}" if index else ""), evaluation, curve)
        for evaluation in campaign.evaluations
        if evaluation.control
        for index, curve in enumerate(evaluation.curves)
    ]


def bounds_any(campaign: Campaign, trial: Trial, metric: str) -> bool:
    """Whether the figure under it bounds the robustness of some model, of a change of its size."""
    bound = any(campaign.bounds(model, trial.own, metric) for model in campaign.values.judged)
    return bound and not trial.by_size


def smallest(campaign: Campaign) -> tuple[Evaluation, Trial] | None:
    """The threat of the smallest size on a curve of the same kind as the common one, any harm to pixels in its norm,
    where that is below its size; and its suite."""
    common, found = campaign.goals.get("any"), list[tuple[Evaluation, Trial]]()
    for _, evaluation, curve in curves(campaign):
        first = min(curve, key=lambda trial: trial.eps)
        alike = common and (first.norm, first.goal, first.where) == (common.norm, "any", "frame")
        if common and alike and first.eps < common.eps and bounds_any(campaign, first, "pixel_auroc"):
            found.append((evaluation, first))
    return min(found, key=lambda each: each[1].eps, default=None)


def curve_figure(campaign: Campaign, name: str, evaluation: Evaluation, curve: Curve) -> Drawing | None:
    """A panel a metric, a line a model, the first point the same images before any attack."""
    values, points = campaign.values, _points(evaluation, curve)
    if not (metrics := _metrics(values, points)):
        return None
    dotted = not all(math.isnan(_chance(values, points, metric)) for metric in metrics)
    across, width = min(len(metrics), 2), DOUBLE if len(metrics) > 1 else SINGLE
    shared = {"sharex": True, "gridspec_kw": {"wspace": 0.06}}
    with panels(len(metrics), across, 2.05, 0.65, width=width, **shared) as (figure, places):
        for axes, metric in zip(places, metrics, strict=True):
            _panel(axes, values, points, metric)
        for axes in places[-across:]:
            axes.set_xlabel("eps (levels of 255)" if curve[0].norm == "linf" else "eps (length in \u21132)")
        legend(figure, lines_of(values) | ({"chance": CHANCE_LINE} if dotted else {}))
    caption = (
        f"Each metric against eps, {mean_words(values)}. Source: each model attacked itself (white-box), "
        f"{_attack_words(evaluation, curve)}; eps 0 is the clean value, the same images before any attack; "
        f"{_count_words(values, points)}.{spread_words(values, points.values(), 'Bars:')}"
        f"{CHANCE_WORDS if dotted else ''} "
        f"The axis of eps is linear up to its first size and then doubles at even steps.{_bound_words(curve, values)}"
    )
    return Drawing(name, caption, "Curves of each metric against the size of the perturbation, a line a model.", figure)


def curve_table(campaign: Campaign, name: str, evaluation: Evaluation, curve: Curve) -> Table:
    """The figures of the curves, a column a size."""
    values, points = campaign.values, _points(evaluation, curve)
    scale, unit = (255, "in levels of 255") if curve[0].norm == "linf" else (1, "as a length in \u21132")
    ticks = {eps: f"{scale * eps:g}" for eps in points}
    keys = {eps: f"eps_{tick}" if eps else "unattacked" for eps, tick in ticks.items()}
    columns = [Column("model", "Model", style="text")]
    columns += [Column(keys[eps], tick, group="eps") for eps, tick in ticks.items()]
    rows = Rows(values, campaign)
    for metric in _metrics(values, points):
        panel = METRIC_TITLES[metric]
        for model in values.models:
            rows.add(panel=panel, kind="model", metric=metric, **facts_of(values, model))
            for eps, condition in points.items():
                rows.put(keys[eps], model, condition, metric)
        level = _chance(values, points, metric)
        if not math.isnan(level):
            levels = dict.fromkeys(keys.values(), level)
            rows.add(panel=panel, kind="chance", metric=metric, model="chance level", **levels)
    caption = (
        f"Each metric against eps {unit}, per cent, {mean_words(values)}. Each model attacked itself (white-box), "
        f"{_attack_words(evaluation, curve)}; eps 0: the same images before any attack; "
        f"{_count_words(values, points)}.{spread_words(values, points.values(), '±:')}"
    )
    return rows.table(name, caption + _bound_words(curve, values), columns)


def _panel(axes: "Axes", values: Values, points: dict[float, Condition], metric: str) -> None:
    sizes = {255 * eps if condition.norm != "l2" else eps: condition for eps, condition in points.items()}
    level = _chance(values, points, metric)
    if not math.isnan(level):
        axes.axhline(100 * level, **CHANCE_LINE)
    draw_lines(axes, values, sizes, metric)
    axes.set_xscale("symlog", base=2, linthresh=min(size for size in sizes if size > 0), linscale=1)
    axes.set_xticks(list(sizes), [f"{size:g}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set(xlim=(0, max(sizes)), ylim=(0, 100), yticks=range(0, 101, 25), xlabel="")
    axes.set_ylabel(f"{METRIC_TITLES[metric]} (%)")
    axes.grid(True)


def _metrics(values: Values, points: dict[float, Condition]) -> list[str]:
    """Those that are known under attack; those at a threshold where there are no others."""
    attacked = [condition for condition in points.values() if condition.attacked]
    pairs = list(product(values.models, attacked))
    known = [name for name in (*METRICS, *AT_THRESHOLD) if any(values.each(*pair, name) for pair in pairs)]
    return [metric for metric in known if metric in METRICS] or known


def _points(evaluation: Evaluation, curve: Curve) -> dict[float, Condition]:
    """The condition at each size, the control at 0."""
    points = {0.0: evaluation.control} if evaluation.control else {}
    return points | {trial.eps: trial.own for trial in curve if trial.own}


def _chance(values: Values, points: dict[float, Condition], metric: str) -> float:
    """One level for all sizes: the images are the same."""
    if metric.endswith("_auroc"):
        return 0.5
    return next((level for item in points.values() if not math.isnan(level := values.chance(item, metric))), math.nan)


def _count_words(values: Values, points: dict[float, Condition]) -> str:
    """Of the attacked points: a goal may leave images as they are, which the metrics of a curve then leave out."""
    return count_words(values, [condition for condition in points.values() if condition.attacked])


def _bound_words(curve: Curve, values: Values) -> str:
    if "image_auroc" not in values.metrics or curve[-1].objective in {"", *ON_SCORES}:
        return ""
    return " This attack is after pixels: image AUROC under it is no bound, and may rise with eps."


def _attack_words(evaluation: Evaluation, curve: Curve) -> str:
    longest = curve[-1]
    further = [trial for trial in evaluation.own if option_in(trial.options, "start") == longest.set]
    goal = {"any": "every image against its truth", "target": "each image towards a map of its own"}
    steps = sorted({trial.steps for trial in curve if trial.steps})
    parts = [
        longest.attack_title if longest.attack else "",
        f"objective {longest.objective.replace('_', ' ')}" if longest.objective else "",
        f"{' or '.join(map(str, steps))} steps" if steps else "",
        f"{longest.restarts} restarts" if longest.restarts > 1 else "",
        goal.get(longest.goal, f"goal {longest.goal}"),
        "" if longest.where == "frame" else longest.where,
        "counted before a change is rounded to bytes" if longest.by_size else "",
        *(f"or {trial.objective} in {trial.steps} steps more, whichever harms an image most" for trial in further),
    ]
    return ", ".join(filter(None, parts))
