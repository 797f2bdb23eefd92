"""How every figure looks and is saved: widths, fonts, colours; the same bytes for the same drawing. No torch here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnial_bench.io.whole import file_name, whole

if TYPE_CHECKING:
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
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "hatch.linewidth": 0.6,
    "figure.dpi": 100,
    # Names of categories may hold dollars.
    "text.parse_math": False,
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
    paths = folder / f"{drawing.name}.png", folder / f"{drawing.name}.svg"
    with paper_style():
        plainly: list[dict[str, Any]] = [
            {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": PACKED}},
            {"metadata": {"Date": None, "Creator": None}},
        ]
        for path, how in zip(paths, plainly, strict=True):
            with whole(path) as aside:
                drawing.figure.savefig(aside, format=path.suffix[1:], dpi=DPI, **how)
            # What the layout found for the first file holds for the second, which is then drawn once and not twice.
            drawing.figure.set_layout_engine(None)
    return paths


def colour(detector: str, detectors: Sequence[str]) -> str:
    """The colour of a detector, the same in every figure of a report."""
    if detector in COLOURS:
        return COLOURS[detector]
    others = [name for name in detectors if name not in COLOURS]
    return OTHER_COLOURS[others.index(detector) % len(OTHER_COLOURS)]


def new_figure(width: float, height: float) -> "Figure":
    """A figure of its own canvas, apart from pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
