"""How models look in every figure of the test suites: colour by detector, line by paradigm. No torch here."""

from typing import TYPE_CHECKING, Any

from omnial_bench.reports.drawing import colour
from omnial_bench.reports.values import Model, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Kept apart in grey print too: full line and full marker against dashes and an open one.
_LINES: dict[str, Any] = {"unified": "-", "separate": (0, (3, 1.5))}
_MARKERS = {"draem": "o", "jnld": "s", "omnial": "^"}
CHANCE: dict[str, Any] = {"color": "#777777", "ls": (0, (1, 1.5)), "lw": 1.0, "zorder": 1}
"""The line of a chance level."""


def line_of(model: Model, values: Values) -> dict[str, Any]:
    """Keywords of a line of a model."""
    shade = colour(model.detector, values.detectors)
    face = shade if model.paradigm == "unified" else "white"
    marker = _MARKERS.get(model.detector, "D")
    return {"color": shade, "ls": _LINES.get(model.paradigm, "-"), "marker": marker, "mfc": face, "ms": 4, "mew": 1.0}


def legend(figure: "Figure", values: Values, *, chance: bool = False, markers: bool = True) -> None:
    """All models above the figure, and the line of chance where it is drawn."""
    from matplotlib.lines import Line2D

    styles = [(values.label(model), line_of(model, values)) for model in values.models]
    styles = [(label, style if markers else {**style, "marker": ""}) for label, style in styles]
    styles += [("chance", CHANCE)] if chance else []
    handles = [Line2D([], [], **style, label=label) for label, style in styles]
    place: dict[str, Any] = {
        "loc": "outside upper center",
        "ncols": len(handles) if len(handles) <= 4 else min(4, (len(handles) + 1) // 2),
    }
    figure.legend(handles=handles, columnspacing=1.6, handlelength=2.6, **place)
