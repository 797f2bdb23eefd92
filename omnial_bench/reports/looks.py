"""How models look in every figure: colour and marker by detector, line and filling by paradigm. No torch here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omnial_bench.reports.drawing import colour
from omnial_bench.reports.table import MINUS
from omnial_bench.reports.values import Condition, Model, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure

Style = dict[str, Any]
# Kept apart in grey print too: full line and full marker against dashes and an open one.
LINES: dict[str, Any] = {"unified": "-", "separate": (0, (3, 1.5))}
_MARKERS = {"draem": "o", "jnld": "s", "omnial": "^"}
CHANCE: Style = {"color": "#777777", "ls": (0, (1, 1.5)), "lw": 1.0, "zorder": 1}
"""The line of a chance level."""


def line_of(model: Model, values: Values) -> Style:
    """Keywords of a line of a model."""
    shade = colour(model.detector, values.detectors)
    face = shade if model.paradigm == "unified" else "white"
    marker = _MARKERS.get(model.detector, "D")
    line = {"color": shade, "ls": LINES.get(model.paradigm, "-")}
    return line | {"marker": marker, "mfc": face, "mec": shade, "ms": 4, "mew": 1.0}


def lines_of(values: Values, **changed: Any) -> dict[str, Style]:
    """Keywords of the line of every model by its label, some of them `changed`."""
    return {values.label(model): line_of(model, values) | changed for model in values.models}


def legend(figure: "Figure", lines: Mapping[str, Style]) -> None:
    """Lines by their labels above the figure, where they cover nothing."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **style, label=label) for label, style in lines.items()]
    columns = len(handles) if len(handles) <= 4 else min(4, (len(handles) + 1) // 2)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, columnspacing=1.6, handlelength=2.6)


def figures_of(values: Values, shown: Mapping[Any, Condition | None], metric: str) -> pd.DataFrame:
    """Each model's figures in per cent under the conditions `at` some place, a row a seed."""
    rows = [
        (values.label(model), at, 100 * value)
        for model in values.models
        for at, condition in shown.items()
        for value in values.each(model, condition, metric)
    ]
    return pd.DataFrame(rows, columns=["model", "at", "value"])


def heat(
    axes: "Axes", table: pd.DataFrame, low: float, high: float, *, digits: int | None, **marked: Any
) -> "Collection":
    """A heat map whose colours are palest in the middle of the scale, brown below it and purple above; numbers with so
    many `digits` stand in the cells, or none."""
    import seaborn as sns

    texts = False if digits is None else table.map(lambda value: f"{value:z.{digits}f}".replace("-", MINUS)).to_numpy()
    sns.heatmap(
        table, vmin=low, vmax=high, cmap="PuOr", annot=texts, fmt="", annot_kws={"size": 7.5}, cbar=False, ax=axes,
        **marked,
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)
    cells = axes.collections[0]
    shades = np.asarray(cells.get_facecolor())[~table.isna().to_numpy().ravel()]
    for text, light in zip(axes.texts, map(sns.utils.relative_luminance, shades), strict=False):
        # Where black and white stand out alike by WCAG 2; seaborn takes to white much earlier.
        text.set_color("white" if light < 0.179 else "black")
    return cells
