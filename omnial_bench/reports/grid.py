"""Images in rows and columns, laid out in inches. No torch here."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omnial_bench.reports.drawing import DOUBLE, SINGLE, new_figure

Picture = NDArray[np.uint8]
BAR = 0.48
"""Inches that a colour bar takes at the right."""
_LEFT, _HEAD, _GAP = 0.62, 0.42, 0.05
"""Inches: row labels, column heads, between cells."""


class Grid:
    """Cells of one size on a single plane measured in inches from the top left; labels at the left, heads above."""

    def __init__(
        self, down: int, across: int, aspect: float, *, bar: float = 0.0, foot: float = 0.0, most: float = 1.15
    ) -> None:
        self.down, self.foot = down, foot
        self.width = min((DOUBLE - _LEFT - bar - _GAP * (across - 1)) / across, most)
        self.height = self.width * aspect
        self.total = _HEAD + down * (self.height + _GAP) + foot
        self.wide = max(SINGLE, min(DOUBLE, _LEFT + across * (self.width + _GAP) + bar))
        self.figure = new_figure(self.wide, self.total)
        self.figure.set_layout_engine("none")
        self.plane = self.figure.add_axes((0, 0, 1, 1))
        self.plane.set_axis_off()
        self._hold()

    def _hold(self) -> None:
        """Images and contours pull the limits towards themselves: put them back."""
        self.plane.set_xlim(0, self.wide)
        self.plane.set_ylim(self.total, 0)

    def _extent(self, row: int, column: int) -> tuple[float, float, float, float]:
        left, top = _LEFT + column * (self.width + _GAP), _HEAD + row * (self.height + _GAP)
        return left, left + self.width, top + self.height, top

    def show(self, row: int, column: int, picture: Picture | None, *, scale: bool = False, none: str = "") -> None:
        """An image in a cell, `scale` on the common scale of maps; the word `none` where there is no image."""
        left, right, bottom, top = self._extent(row, column)
        if picture is None:
            middle = (left + right) / 2, (top + bottom) / 2
            self.plane.text(*middle, none, ha="center", va="center", size=8, color="#777777")
            return
        colours: dict[str, Any] = {"cmap": "magma", "vmin": 0, "vmax": 255} if scale else {}
        self.plane.imshow(picture, extent=(left, right, bottom, top), interpolation="nearest", aspect="auto", **colours)
        self._hold()

    def contour(self, row: int, column: int, truth: Picture | None) -> None:
        """The outline of what is bright in `truth`."""
        if truth is None or not (truth > 127).any() or (truth > 127).all():
            return
        left, right, bottom, top = self._extent(row, column)
        h, w = truth.shape
        x = left + (np.arange(w) + 0.5) * (right - left) / w
        y = top + (np.arange(h) + 0.5) * (bottom - top) / h
        for width, shade in ((1.4, "black"), (0.7, "#39FF14")):
            self.plane.contour(x, y, (truth > 127).astype(float), levels=[0.5], colors=shade, linewidths=width)
        self._hold()

    def label(self, row: int, text: str) -> None:
        lines = [part for line in text.split("\n") for part in _wrapped(line)]
        middle = _HEAD + row * (self.height + _GAP) + self.height / 2
        self.plane.text(_LEFT - 0.06, middle, "\n".join(lines), ha="right", va="center", size=8, linespacing=1.1)

    def head(self, column: int, span: int, text: str, *, upper: bool = False) -> None:
        width = span * self.width + (span - 1) * _GAP
        middle = _LEFT + column * (self.width + _GAP) + width / 2
        top = 0.2 if upper else _HEAD - 0.05
        self.plane.text(middle, top, text, ha="center", va="bottom", size=9 if upper else 8)

    def colour_bar(self) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        height = self.down * (self.height + _GAP) - _GAP
        short = min(height, 2.2)
        bottom = self.total - _HEAD - (height + short) / 2
        place = ((self.wide - BAR + 0.08) / self.wide, bottom / self.total, 0.09 / self.wide, short / self.total)
        scale = ScalarMappable(Normalize(0, 1), "magma")
        bar = self.figure.colorbar(scale, cax=self.figure.add_axes(place), ticks=[0, 0.5, 1])
        bar.ax.set_yticklabels(["0", "\u00bd", "1"], size=8)


def _wrapped(text: str, longest: int = 11) -> list[str]:
    """A long name broken at its underscores or blanks, else cut, so that it fits beside the cells."""
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", text):
        if lines[-1] and len(lines[-1] + part) > longest:
            lines.append("")
        lines[-1] += part
    return [line if len(line) <= longest + 1 else f"{line[: longest - 1]}…" for line in lines]
