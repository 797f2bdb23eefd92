"""How figures look and are saved: widths, fonts, a colour and marker a detector, a line a paradigm. No torch here."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from omnial_bench.io.whole import file_name, whole
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.table import MINUS
from omnial_bench.reports.values import Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure

SINGLE, DOUBLE = 3.25, 6.875
"""Widths of one column and of both in inches."""
DPI = 200
"""Pixels of a PNG, and of the images inside an SVG, to the inch."""
PACKED = 4
"""How hard PNGs are packed, of 9: half the time that the usual 6 takes, for 3 % more bytes."""
STYLE: Any = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.labelsize"), 9),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 8),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width", "hatch.linewidth"), 0.6),
    "lines.linewidth": 1.1,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "figure.dpi": 100,
    # `parse_math`: names of categories may hold dollars.
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right", "text.parse_math"), False),
    "svg.hashsalt": "omnial-bench",
    "svg.fonttype": "path",
}
# Okabe and Ito's palette: told apart under every common kind of colour blindness.
COLOURS: Mapping[str, str] = {"draem": "#0072B2", "jnld": "#E69F00", "omnial": "#009E73"}
OTHER_COLOURS = ("#CC79A7", "#D55E00", "#56B4E9", "#8C6D1F", "#000000")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure with what a reader is told of it; `alt` says in words what it shows."""

    name: str
    caption: str
    alt: str
    figure: "Figure"

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", file_name(self.name))


@contextmanager
def paper_style() -> Iterator[None]:
    """Fonts, lines and hash salt of every figure, whatever a matplotlibrc in the working folder says; the settings of
    the process are put back."""
    import matplotlib as mpl

    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
    with mpl.rc_context({**defaults, **STYLE}):
        yield


def save(drawing: Drawing, folder: Path) -> tuple[Path, Path]:
    """Write the PNG and the SVG, both without dates."""
    png, svg = folder / f"{drawing.name}.png", folder / f"{drawing.name}.svg"
    packing: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": PACKED}}
    with paper_style():
        with whole(png) as aside:
            drawing.figure.savefig(aside, format="png", dpi=DPI, **packing)
        # What the layout found for the first file holds for the second, which is then drawn once and not twice.
        drawing.figure.set_layout_engine(None)
        with whole(svg) as aside:
            drawing.figure.savefig(aside, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    return png, svg


def colour(detector: str, detectors: Sequence[str]) -> str:
    """The colour of a detector, the same in every figure of a report."""
    if detector in COLOURS:
        return COLOURS[detector]
    return OTHER_COLOURS[_others(detectors).index(detector) % len(OTHER_COLOURS)]


def marker(detector: str, detectors: Sequence[str]) -> str:
    """The marker of a detector: of those that share a colour each has one of its own."""
    if detector in MARKERS:
        return MARKERS[detector]
    return OTHER_MARKERS[_others(detectors).index(detector) // len(OTHER_COLOURS) % len(OTHER_MARKERS)]


def _others(detectors: Sequence[str]) -> list[str]:
    return [name for name in detectors if name not in COLOURS]


def new_figure(width: float, height: float) -> "Figure":
    """A figure of its own canvas, apart from pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def panels(
    count: int, across: int, height: float, rest: float = 0.0, *, width: float = DOUBLE, **shared: Any
) -> Iterator[tuple["Figure", list[Any]]]:
    """A figure of so many panels, `across` side by side, each `height` inches high, with a `rest` for what stands
    around them; `shared` as matplotlib's `subplots` takes it."""
    with paper_style():
        down = math.ceil(count / across)
        figure = new_figure(width, height * down + rest)
        places = list(figure.subplots(down, across, squeeze=False, **shared).flat)
        for axes in places[count:]:
            axes.set_axis_off()
        yield figure, places[:count]


Style = dict[str, Any]
# Kept apart in grey print too: full line and full marker against dashes and an open one.
LINES: dict[str, Any] = {"unified": "-", "separate": (0, (3, 1.5))}
MARKERS: Mapping[str, str] = {"draem": "o", "jnld": "s", "omnial": "^"}
OTHER_MARKERS = ("D", "v", "P", "X", "<", ">", "*", "p")
CHANCE_LINE: Style = {"color": "#777777", "ls": (0, (1, 1.5)), "lw": 1.0, "zorder": 1}
"""The line of a chance level."""


def line_of(model: Model, values: Values) -> Style:
    """Keywords of a line of a model."""
    shade = colour(model.detector, values.detectors)
    face = shade if model.paradigm == "unified" else "white"
    ends = {"marker": marker(model.detector, values.detectors), "mfc": face, "mec": shade, "ms": 4, "mew": 1.0}
    return {"color": shade, "ls": LINES.get(model.paradigm, "-"), **ends}


def lines_of(values: Values, **changed: Any) -> dict[str, Style]:
    """Keywords of the line of every model by its label, some of them `changed`."""
    return {values.label(model): line_of(model, values) | changed for model in values.models}


def legend(figure: "Figure", lines: Mapping[str, Style]) -> None:
    """Lines by their labels above the figure, where they cover nothing, in as many columns as it is wide for."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **style, label=label) for label, style in lines.items()]
    columns = len(handles) if len(handles) <= 4 else min(4, (len(handles) + 1) // 2)
    how: dict[str, Any] = {"loc": "outside upper center", "columnspacing": 1.6, "handlelength": 2.6}
    while (drawn := figure.legend(handles=handles, ncols=columns, **how)).get_window_extent().width > figure.bbox.width:
        if columns == 1:
            break
        drawn.remove()
        columns -= 1


def figures_of(values: Values, shown: Mapping[Any, Condition | None], metric: str) -> pd.DataFrame:
    """Each model's figures in per cent under the conditions `at` some place, a row a seed."""
    rows = [
        (values.label(model), at, 100 * value)
        for model, (at, condition) in product(values.models, shown.items())
        for value in values.each(model, condition, metric)
    ]
    return pd.DataFrame(rows, columns=["model", "at", "value"])


def draw_lines(axes: "Axes", values: Values, shown: Mapping[Any, Condition | None], metric: str) -> None:
    """A line a model through its figures in per cent under the conditions `at` some place, with bars over seeds."""
    import seaborn as sns

    lines = lines_of(values, clip_on=False)
    for label, part in figures_of(values, shown, metric).groupby("model", sort=False):
        sns.lineplot(
            part, x="at", y="value", errorbar="sd", err_style="bars",
            err_kws={"elinewidth": 0.7, "capsize": 1.5, "zorder": 1.5}, ax=axes, **lines[str(label)],
        )  # fmt: skip


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
