"""The attacked objective along the steps, for attacks on the model itself. No torch here."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from omnial_bench.reports import looks
from omnial_bench.reports.attempts import losses_of
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.drawing import DOUBLE, Drawing, new_figure, paper_style
from omnial_bench.reports.suites import Evaluation, Trial
from omnial_bench.reports.tables import count_words, spread_words
from omnial_bench.reports.values import Model, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_suites(campaign: Campaign) -> list[Evaluation]:
    """The suites whose losses are drawn: the white-box one and the one of the worst case."""
    chosen = [each for each in (campaign.white_box, campaign.worst) if each]
    return list(dict.fromkeys(chosen))


def loss_figure(campaign: Campaign, suite: Evaluation) -> Drawing | None:
    """A panel a threat, a line a model: the mean objective before each step over images and categories."""
    values = campaign.values
    lines = {trial: _curves(campaign, trial) for trial in suite.own}
    lines = {trial: found for trial, found in lines.items() if found}
    if not lines:
        return None
    with paper_style():
        across = min(len(lines), 4 if len(lines) not in (5, 6, 9) else 3)
        down = math.ceil(len(lines) / across)
        figure = new_figure(DOUBLE, 1.6 * down + 0.75)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(lines) :]:
            axes.set_axis_off()
        for axes, (trial, found) in zip(grid.flat, lines.items(), strict=False):
            axes.set_title(suite.title(trial).replace(", ", "\n", 1), size=8)
            _panel(axes, values, found)
            if _direction(campaign, trial) == "down":
                axes.text(
                    0.96, 0.94, "descends", transform=axes.transAxes, ha="right", va="top", size=7, color="#555555"
                )
        figure.supxlabel("step", fontsize=9)
        figure.supylabel("mean objective", fontsize=9)
        looks.legend(figure, values, markers=False)
    several = len(campaign.attempts["seed"].dropna().unique()) > 1
    conditions = [trial.own for trial in lines]
    spread = spread_words(values, conditions, "Bands:")
    caption = (
        f"The objective along the steps of the suite {suite.label}: each model attacked itself, mean over the images "
        f"that a goal attacks, then over {_categories(values)}{' and seeds' if several else ''}; "
        f"{count_words(values, conditions)} are scored.{spread} An attack raises its objective, or lowers it towards a "
        "target where the panel says descends; each panel has its own scale, for objectives differ. A curve still "
        "steep at the end is not spent."
    )
    name = f"losses_{suite.name}"
    return Drawing(name, caption, "Curves of the mean attacked objective against the step, a panel a threat.", figure)


def _curves(campaign: Campaign, trial: Trial) -> dict[Model, list[NDArray[np.float64]]]:
    """Of each model one curve a seed, the mean over its categories; cut to the shortest where lengths differ."""
    attempts = campaign.attempts
    mine = attempts[(attempts["set"] == trial.set) & (attempts["source"] == "self") & (attempts["losses"] != "")]
    found: dict[Model, list[NDArray[np.float64]]] = {}
    for model in campaign.values.models:
        rows: pd.DataFrame = mine[(mine["detector"] == model.detector) & (mine["paradigm"] == model.paradigm)]
        for _, part in rows.groupby("seed"):
            curves = [losses_of(text) for text in part["losses"]]
            length = min(len(curve) for curve in curves)
            if length > 1:
                found.setdefault(model, []).append(np.mean([curve[:length] for curve in curves], axis=0))
    return found


def _panel(axes: "Axes", values: Values, found: dict[Model, list[NDArray[np.float64]]]) -> None:
    axes.grid(True)
    for model, curves in found.items():
        length = min(len(curve) for curve in curves)
        table = np.stack([curve[:length] for curve in curves])
        style = {**looks.line_of(model, values), "marker": ""}
        steps = np.arange(1, length + 1)
        axes.plot(steps, table.mean(0), **style)
        if len(curves) > 1:
            low, high = table.mean(0) - table.std(0, ddof=1), table.mean(0) + table.std(0, ddof=1)
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, lw=0)
    axes.margins(y=0.12)
    axes.locator_params(axis="x", integer=True, nbins=5)
    axes.locator_params(axis="y", nbins=5)


def _direction(campaign: Campaign, trial: Trial) -> str:
    attempts = campaign.attempts
    found = attempts.loc[(attempts["set"] == trial.set) & (attempts["source"] == "self"), "direction"]
    return "" if found.empty else str(found.iloc[0])


def _categories(values: Values) -> str:
    names = values.categories
    return f"{len(names)} categories" if len(names) != 1 else f"the category {names[0]}"
