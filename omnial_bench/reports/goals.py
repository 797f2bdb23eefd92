"""Hiding a defect and inventing one, side by side. No torch here."""

import math
from typing import TYPE_CHECKING, Any

from omnial_bench.reports import looks
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.drawing import DOUBLE, Drawing, colour, new_figure, paper_style
from omnial_bench.reports.tables import count_words, mean_words, spread_words
from omnial_bench.reports.values import METRIC_TITLES, Condition, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = ("image_auroc", "pixel_auroc")
_MARKS: dict[str, dict[str, Any]] = {
    "unattacked": {"marker": "|", "ms": 9, "mew": 1.4},
    "hide": {"marker": "v", "ms": 5.5},
    "fabricate": {"marker": "o", "mfc": "white", "ms": 5, "mew": 1.2},
}
_WORDS = {"unattacked": "before any attack", "hide": "hide", "fabricate": "fabricate"}


def goals_figure(campaign: Campaign) -> Drawing | None:
    """Image AUROC and pixel AUROC under hide and under fabricate, a row a model, from the value before any attack."""
    from matplotlib.lines import Line2D

    values, suite, goals = campaign.values, campaign.white_box, campaign.goals
    metrics = [metric for metric in METRICS if metric in values.metrics]
    if suite is None or not {"hide", "fabricate"} <= set(goals) or not metrics:
        return None
    shown = {"unattacked": suite.control, "hide": goals["hide"].own, "fabricate": goals["fabricate"].own}
    with paper_style():
        figure = new_figure(DOUBLE, 0.85 + 0.27 * len(values.models))
        panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            _panel(axes, values, shown, metric)
        panels[0].set_yticks(range(len(values.models)), [values.label(model) for model in values.models])
        panels[0].set_ylim(len(values.models) - 0.5, -0.5)
        handles = [Line2D([], [], color="#333333", ls="", **mark, label=_WORDS[key]) for key, mark in _MARKS.items()]
        handles.append(Line2D([], [], **looks.CHANCE, label="chance"))
        figure.legend(handles=handles, loc="outside upper center", ncols=4, columnspacing=1.6)
    caption = (
        f"Hide and fabricate at {campaign.size}, white-box: each model attacked itself, anomalous images alone "
        f"towards normal maps (hide) or normal images alone towards anomalous maps "
        f"(fabricate); {mean_words(values)}; "
        f"{count_words(values, shown.values())}.{spread_words(values, shown.values(), 'Bars:')} The images that a "
        "goal does not attack are scored as they were."
    )
    alt = "Dots of image AUROC and pixel AUROC of each model before any attack, under hide and under fabricate."
    return Drawing("goals", caption, alt, figure)


def _panel(axes: "Axes", values: Values, shown: dict[str, Condition | None], metric: str) -> None:
    axes.grid(True, axis="x")
    axes.axvline(50, **looks.CHANCE)
    for row, model in enumerate(values.models):
        shade = colour(model.detector, values.detectors)
        points = {key: 100 * values.get(model, condition, metric) for key, condition in shown.items()}
        known = [value for value in points.values() if not math.isnan(value)]
        if known:
            axes.plot([min(known), max(known)], [row, row], color=shade, lw=0.8, alpha=0.6, zorder=2)
        # A shift of a ninth of a row keeps two marks at one value apart.
        for key, lift in (("unattacked", 0.0), ("hide", -0.11), ("fabricate", 0.11)):
            spread = 100 * values.spread(model, shown[key], metric)
            bar = None if math.isnan(spread) else spread
            style = {"color": shade, "ls": "", "elinewidth": 0.7, "clip_on": False, "zorder": 3, **_MARKS[key]}
            axes.errorbar(points[key], row + lift, xerr=bar, **style)
    axes.set_xlim(-2, 102)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel(f"{METRIC_TITLES[metric]} (%)")
    axes.tick_params(axis="y", length=0)
