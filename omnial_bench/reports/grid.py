"""Images in rows and columns, laid out in inches. No torch here."""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial_bench.reports.style import DOUBLE, DPI, PACKED, SINGLE, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]
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
        self.figure.set_layout_engine(None)
        self.plane = self.figure.add_axes((0, 0, 1, 1))
        self.plane.set_axis_off()
        self._sheet = np.full((round(self.total * DPI), round(self.wide * DPI), 4), 255, dtype=np.uint8)
        self._hold()

    def _hold(self) -> None:
        """Contours pull the limits towards themselves: put them back."""
        self.plane.set_xlim(0, self.wide)
        self.plane.set_ylim(self.total, 0)

    def _extent(self, row: int, column: int) -> tuple[float, float, float, float]:
        left, top = _LEFT + column * (self.width + _GAP), _HEAD + row * (self.height + _GAP)
        return left, left + self.width, top + self.height, top

    def show(self, row: int, column: int, image: Pixels | None, *, scale: bool = False, none: str = "") -> None:
        """An image in a cell, `scale` on the common scale of maps; the word `none` where there is no image."""
        left, right, bottom, top = self._extent(row, column)
        if image is None:
            middle = (left + right) / 2, (top + bottom) / 2
            self.plane.text(*middle, none, ha="center", va="center", size=8, color="#777777")
            return
        # All cells are laid into one image at the resolution of the file: to draw each apart takes ten times as long.
        place = [slice(round(DPI * start), round(DPI * end)) for start, end in ((top, bottom), (left, right))]
        cell = self._sheet[place[0], place[1]]
        pairs = zip(cell.shape[:2], image.shape[:2], strict=True)
        shown = image[np.ix_(*((2 * np.arange(count) + 1) * size // (2 * count) for count, size in pairs))]
        if shown.ndim == 2:
            shown = _magma()[shown] if scale else np.repeat(shown[..., None], 3, axis=2)
        cell[..., :3] = shown

    def contour(self, row: int, column: int, truth: Pixels | None) -> None:
        """The outline of what is bright in `truth`."""
        if truth is None or not (truth > 127).any() or (truth > 127).all():
            return
        from matplotlib.patheffects import withStroke

        left, right, bottom, top = self._extent(row, column)
        h, w = truth.shape
        x, y = left + (np.arange(w) + 0.5) * (right - left) / w, top + (np.arange(h) + 0.5) * (bottom - top) / h
        line = self.plane.contour(x, y, (truth > 127).astype(float), levels=[0.5], colors="#39FF14", linewidths=0.7)
        line.set_path_effects([withStroke(linewidth=1.4, foreground="black")])
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

    def done(self) -> "Figure":
        """The figure, once all cells are shown."""
        self.figure.add_artist(_sheet(self._sheet))
        return self.figure

    def colour_bar(self) -> None:
        """The scale of maps at the right; painted, for an axis of its own takes as long as all cells."""
        height = self.down * (self.height + _GAP) - _GAP
        short = min(height, 2.2)
        left, top = self.wide - BAR + 0.08, _HEAD + (height - short) / 2
        right, bottom = left + 0.09, top + short
        rows, columns = (slice(round(DPI * start), round(DPI * end)) for start, end in ((top, bottom), (left, right)))
        count = rows.stop - rows.start
        self._sheet[rows, columns, :3] = _magma()[255 - 256 * np.arange(count) // count][:, None]
        look: dict[str, Any] = {"color": "black", "lw": 0.6, "clip_on": False}
        self.plane.plot([left, right, right, left, left], [top, top, bottom, bottom, top], **look)
        for part, name in ((0.0, "0"), (0.5, "\u00bd"), (1.0, "1")):
            level = bottom - part * short
            self.plane.plot([right, right + 0.05], [level, level], **look)
            self.plane.text(right + 0.1, level, name, ha="left", va="center", size=8)
        self._hold()


class Cell(NamedTuple):
    """An image with the outline of what is bright in `truth`, or the word `none` where there is no image."""

    image: Pixels | None
    truth: Pixels | None = None
    scale: bool = False
    """Whether it is a map, shown on the common scale of maps."""
    none: str = ""


def lay_out(
    lines: Sequence[tuple[str, Sequence[Cell]]], heads: Sequence[str], tops: Sequence[tuple[str, int]] = (), *,
    aspect: float, bar: float = BAR, **room: float,
) -> Grid:  # fmt: skip
    """Labelled lines of cells of one `aspect`, height over width, the `heads` of the columns, and above these `tops`,
    each over so many of them."""
    grid, column = Grid(len(lines), len(heads), aspect, bar=bar, **room), 0
    for i, (label, cells) in enumerate(lines):
        grid.label(i, label)
        for j, cell in enumerate(cells):
            grid.show(i, j, cell.image, scale=cell.scale, none=cell.none)
            grid.contour(i, j, cell.truth)
    for top, span in tops or [("", len(heads))]:
        for place in range(column, column + span):
            grid.head(place, 1, heads[place])
        grid.head(column, span, top, upper=True)
        column += span
    if bar:
        grid.colour_bar()
    return grid


def _sheet(pixels: Pixels) -> "Artist":
    """An image of the whole figure, below all else, put into a file pixel by pixel and not sampled again."""
    from matplotlib.artist import Artist
    from matplotlib.backends.backend_svg import RendererSVG

    class Sheet(Artist):
        def draw(self, renderer: Any) -> None:
            if not isinstance(renderer, RendererSVG):
                renderer.draw_image(renderer.new_gc(), 0, 0, pixels[::-1])
                return
            # As matplotlib writes it, but packed as fast as the PNG beside it.
            down, across = (f"{72 * side / DPI:g}" for side in pixels.shape[:2])
            packed = BytesIO()
            Image.fromarray(pixels[..., :3]).save(packed, format="png", compress_level=PACKED)
            href = f"data:image/png;base64,{b64encode(packed.getvalue()).decode('ascii')}"
            place = {"x": "0", "y": "0", "width": across, "height": down}
            cast(Any, renderer).writer.element("image", attrib={**place, "xlink:href": href})

    sheet = Sheet()
    sheet.set_zorder(-1)
    return sheet


@cache
def _magma() -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return np.asarray(colormaps["magma"](np.arange(256), bytes=True)[:, :3])


def _wrapped(text: str, longest: int = 11) -> list[str]:
    """A long name broken at its underscores or blanks, else cut, so that it fits beside the cells."""
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", text):
        if lines[-1] and len(lines[-1] + part) > longest:
            lines.append("")
        lines[-1] += part
    return [line if len(line) <= longest + 1 else f"{line[: longest - 1]}…" for line in lines]
