"""Hiding a defect and inventing one, side by side. No torch here."""

from typing import TYPE_CHECKING, Any

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition
from omnial_bench.reports.style import CHANCE_LINE, DOUBLE, Drawing, colour, figures_of, legend, new_figure, paper_style
from omnial_bench.reports.titles import joined
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import count_words, mean_words, spread_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = ("image_auroc", "pixel_auroc")
_MARKS: dict[str, dict[str, Any]] = {
    "unattacked": {"marker": "|", "markersize": 9, "markeredgewidth": 1.4},
    "hide": {"marker": "v", "markersize": 5.5, "markeredgewidth": 1},
    "fabricate": {"marker": "o", "markerfacecolor": "white", "markersize": 5, "markeredgewidth": 1.2},
}
_WORDS = {"unattacked": "before any attack", "hide": "hide", "fabricate": "fabricate"}


def goals_figure(campaign: Campaign) -> Drawing | None:
    """Image AUROC and pixel AUROC under hide and under fabricate, a row a model, from the value before any attack."""
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
        marks = {_WORDS[key]: {"color": "#333333", "ls": "", **mark} for key, mark in _MARKS.items()}
        legend(figure, marks | {"chance": CHANCE_LINE})
    caption = (
        f"Hide and fabricate at {campaign.size}, white-box: each model attacked itself, anomalous images alone "
        f"towards normal maps (hide) or normal images alone towards anomalous maps "
        f"(fabricate); {mean_words(values)}; "
        f"{count_words(values, shown.values())}.{spread_words(values, shown.values(), 'Bars:')} The images that a "
        "goal does not attack are scored as they were."
    )
    attacks = [(model, goals[goal].own) for goal in ("hide", "fabricate") for model in values.models]
    free = [METRIC_TITLES[name] for name in metrics if not all(campaign.bounds(*each, name) for each in attacks)]
    caption += f" No attack here was after {joined(free)}, so it is not bounded." if free else ""
    alt = "Dots of image AUROC and pixel AUROC of each model before any attack, under hide and under fabricate."
    return Drawing("goals", caption, alt, figure)


def _panel(axes: "Axes", values: Values, shown: dict[str, Condition | None], metric: str) -> None:
    import seaborn as sns

    shades = {values.label(model): colour(model.detector, values.detectors) for model in values.models}
    table = figures_of(values, shown, metric)
    table["row"] = table["model"].map({label: row for row, label in enumerate(shades)})
    axes.axvline(50, **CHANCE_LINE)
    ends = table.groupby(["row", "model", "at"])["value"].mean().groupby(["row", "model"]).agg(["min", "max"])
    for row, label, low, high in ends.reset_index().itertuples(index=False, name=None):
        axes.hlines(row, low, high, color=shades[label], lw=0.8, alpha=0.6)
    # A shift of a ninth of a row keeps two marks at one value apart.
    for key, lift in (("unattacked", 0.0), ("hide", -0.11), ("fabricate", 0.11)):
        part = table[table["at"] == key]
        sns.pointplot(
            part.assign(row=part["row"] + lift), x="value", y="row", orient="y", native_scale=True, hue="model",
            palette=shades, errorbar="sd", err_kws={"lw": 0.7, "zorder": 2}, ls="", legend=False, clip_on=False,
            zorder=3, ax=axes, **_MARKS[key],
        )  # fmt: skip
    axes.set(xlim=(-2, 102), xticks=range(0, 101, 25), xlabel=f"{METRIC_TITLES[metric]} (%)", ylabel="")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
