"""Figures made of example pictures: synthetic anomalies by panel, detections on the clean test, and under attack. No torch here."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from omnial_bench.errors import UserError
from omnial_bench.reports.plots import DOUBLE, Drawing, new_figure, paper_style
from omnial_bench.reports.values import Condition, Values, detector_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = NDArray[np.uint8]
COLUMNS = ("model", "set", "category", "defect", "id", "role", "path")
PANELS = ("left", "right", "top", "bottom", "all")
_LEVELS = {255: ("easy", "#FDE725"), 170: ("medium", "#21918C"), 85: ("hard", "#3B528B")}
_NORMAL = "#EDEDED"
_LEFT, _HEAD, _GAP, _BAR = 0.62, 0.42, 0.05, 0.48
"""Inches: row labels, column heads, between cells, and the colour bar."""


class Examples:
    """The pictures that a run kept, by what they show."""

    def __init__(self, folder: Path) -> None:
        """Reads `index.csv` of the folder; UserError where it is no such index. A missing file is an empty index."""
        self.folder = folder.resolve()
        file = folder / "index.csv"
        try:
            self.index = pd.read_csv(file, dtype=str, keep_default_na=False)
        except FileNotFoundError:
            self.index = pd.DataFrame(columns=list(COLUMNS), dtype=str)
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise UserError(f"cannot read {file} as an index of pictures: {error}") from error
        if missing := [name for name in COLUMNS if name not in self.index.columns]:
            raise UserError(f"{file} lacks the column {missing[0]!r}; expected {', '.join(COLUMNS)}")

    def rows(self, **wanted: str) -> pd.DataFrame:
        found = self.index
        for name, value in wanted.items():
            found = found[found[name] == value]
        return found

    def picture(self, rows: pd.DataFrame, role: str) -> Picture | None:
        """The first picture of a role as `h w 3` or `h w` bytes; UserError where the file is missing, broken or outside."""
        from PIL import Image

        paths = rows.loc[rows["role"] == role, "path"]
        if paths.empty:
            return None
        path = (self.folder / paths.iloc[0]).resolve()
        if not path.is_relative_to(self.folder):
            raise UserError(f"{self.folder / 'index.csv'} names {paths.iloc[0]!r}, which lies outside the examples")
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("L" if role in ("truth", "map") else "RGB"))
        except OSError as error:
            raise UserError(f"cannot read the example picture {path}: {error}") from error


def gallery(examples: Examples, values: Values, notice: str | None) -> list[Drawing]:
    """Synthetic anomalies with their labels, one figure a detector, a column a panel, as the paper's Fig. 4."""
    drawings = []
    index = examples.rows(set="synthesis")
    for detector in sorted(set(index["model"]), key=lambda name: _rank(name, values.detectors)):
        mine = index[index["model"] == detector]
        panels = [name for name in PANELS if name in set(mine["defect"])]
        panels += sorted(set(mine["defect"]) - set(PANELS))
        blocks: list[list[tuple[str, pd.DataFrame]]]
        if len(panels) > 1:
            blocks = [
                [(panel, one) for panel in panels if len(one := _first(mine, category=name, defect=panel))]
                for name in sorted(set(mine["category"]))[:3]
            ]
            labels = sorted(set(mine["category"]))[:3]
        else:
            singles = mine.drop_duplicates(["category", "id"]).sort_values(["category", "id"], kind="stable")
            blocks = [
                [(row.category, _first(mine, category=row.category, id=row.id)) for row in singles.head(5).itertuples()]
            ]
            labels = [""]
        drawings.append(_gallery(examples, detector, blocks, labels, notice))
    return drawings


def detections(examples: Examples, values: Values, notice: str | None) -> list[Drawing]:
    """Clean test pictures in rows: input with the contour of the truth, then reconstruction and map of each detector."""
    drawings = []
    clean = examples.rows(set="clean")
    for paradigm, models, part in _families(examples, values):
        found = clean[clean["model"].map(lambda name, models=models: _owner(name, models) is not None)]
        shown = found.drop_duplicates(["category", "defect", "id"])
        shown = shown[shown["defect"] != "good"].groupby("category", sort=True).head(3).head(8)
        if shown.empty:
            continue
        rows = [(f"{row.category}\n{row.defect}", found[found["id"] == row.id], None) for row in shown.itertuples()]
        figure = _rows(examples, rows, models, amplify=None)
        caption = (
            f"Clean test pictures, {paradigm} models: input with the contour of the ground truth (green), then each "
            "detector's reconstruction and anomaly map, a probability on the same scale [0, 1] throughout."
        )
        name = f"pictures_clean_{paradigm}{part}"
        drawings.append(Drawing(name, _noticed(caption, notice), f"Detections of {paradigm} models.", figure))
    return drawings


def under_attack(examples: Examples, values: Values, notice: str | None) -> list[Drawing]:
    """A clean test picture, then one synthetic anomaly before and after each attack with the perturbation amplified."""
    drawings = []
    sets = [condition for condition in values.conditions if not condition.clean and not condition.white_box]
    for paradigm, models, part in _families(examples, values):
        mine = examples.index[examples.index["model"].map(lambda name, models=models: _owner(name, models) is not None)]
        for category in sorted(set(mine["category"]))[:4]:
            rows = _attack_rows(mine[mine["category"] == category], sets)
            if len(rows) < 2:
                continue
            changes = [change for _, one, base in rows if base and (change := _change(examples, one)) is not None]
            largest = max((int(np.abs(change).max()) for change in changes), default=0)
            amplify = max(1, 127 // largest) if largest else None
            figure = _rows(examples, rows, models, amplify=amplify)
            shown = f"its perturbation × {amplify}, centred on grey (in grey levels: 128 + {amplify} × change), " if amplify else ""
            caption = (
                f"{category}, {paradigm} models: a test picture (top) and one synthetic anomaly on a training normal, "
                f"before the attack (control) and in each set. Input with the contour of the ground truth (green), {shown}"
                "then each detector's reconstruction and anomaly map on the same scale [0, 1]."
            )
            name = f"pictures_attack_{paradigm}_{re.sub(r'[^A-Za-z0-9-]+', '-', category)}{part}"
            drawings.append(Drawing(name, _noticed(caption, notice), f"{category} before and under attack.", figure))
    return drawings


def _families(examples: Examples, values: Values) -> list[tuple[str, dict[str, str], str]]:
    """Each paradigm with at most three of its models (name -> detector), and a suffix where there are more."""
    families = []
    present = set(examples.index["model"])
    for paradigm in dict.fromkeys(model.paradigm for model in values.models):
        models = {
            model.name: model.detector
            for model in values.models
            if model.paradigm == paradigm and any(_owner(name, {model.name: ""}) for name in present)
        }
        names = list(models)
        for start in range(0, len(names), 3):
            chosen = {name: models[name] for name in names[start : start + 3]}
            families.append((paradigm, chosen, f"_{start // 3 + 1}" if len(names) > 3 else ""))
    return families


def _owner(name: str, models: Mapping[str, str]) -> str | None:
    """The model that a name of the index belongs to; separate models carry their category at the end."""
    return next((model for model in models if name == model or name.startswith(f"{model}-")), None)


def _attack_rows(mine: pd.DataFrame, sets: Sequence[Condition]) -> list[tuple[str, pd.DataFrame, bool]]:
    rows: list[tuple[str, pd.DataFrame, bool]] = []
    clean = mine[(mine["set"] == "clean") & (mine["defect"] != "good")]
    if len(clean):
        rows.append(("Clean test", clean[clean["id"] == clean["id"].iloc[0]], False))
    attacked = mine[mine["set"].isin([condition.set for condition in sets]) & (mine["defect"] != "good")]
    if attacked.empty:
        return []
    # The picture that most sets have an example of, so that rows show one and the same.
    ids = attacked.groupby("id", sort=True)["set"].nunique()
    chosen = attacked[attacked["id"] == ids.idxmax()]
    for condition in sets:
        found = chosen[chosen["set"] == condition.set]
        if len(found):
            label = condition.label.replace(" ", "\n", 1)
            rows.append((label, found, condition.attacked))
    return rows


def _change(examples: Examples, rows: pd.DataFrame) -> NDArray[np.int16] | None:
    """Input less original, in grey levels."""
    after, before = examples.picture(rows, "input"), examples.picture(rows, "original")
    if after is None or before is None or after.shape != before.shape:
        return None
    return after.astype(np.int16) - before.astype(np.int16)


def _rows(
    examples: Examples, rows: Sequence[tuple[str, pd.DataFrame, bool | None]], models: Mapping[str, str], *,
    amplify: int | None,
) -> "Figure":  # fmt: skip
    """Rows of pictures: input, the perturbation where `amplify` is given, then two cells a model."""
    lead = 2 if amplify else 1
    count = lead + 2 * len(models)
    first = examples.picture(rows[0][1], "input")
    aspect = first.shape[0] / first.shape[1] if first is not None else 1.0
    with paper_style():
        grid = _Grid(len(rows), count, aspect, bar=_BAR)
        for i, (label, found, attacked) in enumerate(rows):
            grid.label(i, label)
            cell = grid.cell(i, 0)
            _show(cell, examples.picture(found, "input"))
            _contour(cell, examples.picture(found, "truth"))
            if amplify:
                change = _change(examples, found) if attacked else None
                picture = None if change is None else np.clip(128 + amplify * change, 0, 255).astype(np.uint8)
                _show(grid.cell(i, 1), picture, none="none")
            for j, model in enumerate(models):
                one = found[found["model"].map(lambda name, model=model: _owner(name, {model: ""}) is not None)]
                _show(grid.cell(i, lead + 2 * j), examples.picture(one, "reconstruction"))
                _show(grid.cell(i, lead + 2 * j + 1), examples.picture(one, "map"), scale=True)
        grid.head(0, 1, "input")
        if amplify:
            grid.head(1, 1, f"change × {amplify}")
        for j, detector in enumerate(models.values()):
            grid.head(lead + 2 * j, 1, "reconstr.")
            grid.head(lead + 2 * j + 1, 1, "map")
            grid.head(lead + 2 * j, 2, detector_title(detector), upper=True)
        grid.colour_bar()
    return grid.figure


def _gallery(
    examples: Examples,
    detector: str,
    blocks: Sequence[Sequence[tuple[str, pd.DataFrame]]],
    labels: Sequence[str],
    notice: str | None,
) -> Drawing:
    from matplotlib.patches import Patch

    roles = ("clean", "input", "truth")
    first = examples.picture(blocks[0][0][1], "input")
    aspect = first.shape[0] / first.shape[1] if first is not None else 1.0
    count = max(len(block) for block in blocks)
    across = count * len(blocks) if len(blocks) * count <= 10 else count
    stacked = across == count and len(blocks) > 1
    seen: set[int] = set()
    with paper_style():
        grid = _Grid(3 * len(blocks) if stacked else 3, across, aspect, foot=0.3, most=0.85)
        for b, block in enumerate(blocks):
            down, right = (3 * b, 0) if stacked else (0, count * b)
            for i, role in enumerate(roles):
                words = {"clean": "normal", "input": "synthetic", "truth": "labels"}[role]
                grid.label(down + i, f"{labels[b]}\n{words}" if stacked else words)
                for j, (_, one) in enumerate(block):
                    picture = examples.picture(one, role)
                    if role == "truth" and picture is not None:
                        seen |= set(np.unique(picture).tolist()) & set(_LEVELS)
                        picture = _coloured(picture)
                    _show(grid.cell(down + i, right + j), picture)
            for j, (name, _) in enumerate(block):
                grid.head(right + j, 1, name)
            if labels[b] and not stacked:
                grid.head(right, len(block), labels[b], upper=True)
        handles = [Patch(color=shade, label=name) for value, (name, shade) in _LEVELS.items() if value in seen]
        if seen == {255}:
            handles = [Patch(color=_LEVELS[255][1], label="anomalous")]
        handles.append(Patch(color=_NORMAL, label="normal"))
        grid.figure.legend(handles=handles, loc="lower center", ncols=4, handlelength=1.2, borderaxespad=0.1)
    columns = "a column a panel" if any(name in PANELS[:-1] for block in blocks for name, _ in block) else "a column a picture"
    caption = (
        f"Synthetic anomalies that {detector_title(detector)} trains on, {columns}: the normal picture, the same with its "
        "anomaly, and the labels."
    )
    return Drawing(f"synthesis_{detector}", _noticed(caption, notice), f"Synthetic anomalies of {detector}.", grid.figure)


class _Grid:
    """Cells of one size laid out in inches, with labels at the left and heads above."""

    def __init__(self, down: int, across: int, aspect: float, *, bar: float = 0.0, foot: float = 0.0, most: float = 1.15) -> None:
        self.down, self.foot = down, foot
        self.width = (DOUBLE - _LEFT - bar - _GAP * (across - 1)) / across
        self.width = min(self.width, most)
        self.height = self.width * aspect
        self.total = _HEAD + down * (self.height + _GAP) + foot
        self.wide = min(DOUBLE, _LEFT + across * (self.width + _GAP) + bar)
        self.figure = new_figure(self.wide, self.total)
        self.figure.set_layout_engine("none")

    def _at(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.wide, 1 - (top + height) / self.total, width / self.wide, height / self.total

    def cell(self, row: int, column: int) -> "Axes":
        left, top = _LEFT + column * (self.width + _GAP), _HEAD + row * (self.height + _GAP)
        axes = self.figure.add_axes(self._at(left, top, self.width, self.height))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def label(self, row: int, text: str) -> None:
        top = _HEAD + row * (self.height + _GAP) + self.height / 2
        lines = [part for line in text.split("\n") for part in _wrapped(line)]
        place = (_LEFT - 0.06) / self.wide, 1 - top / self.total
        self.figure.text(*place, "\n".join(lines), ha="right", va="center", size=8, linespacing=1.1)

    def head(self, column: int, span: int, text: str, *, upper: bool = False) -> None:
        width = span * self.width + (span - 1) * _GAP
        middle = _LEFT + column * (self.width + _GAP) + width / 2
        top = 0.2 if upper else _HEAD - 0.05
        self.figure.text(middle / self.wide, 1 - top / self.total, text, ha="center", va="bottom", size=9 if upper else 8)

    def colour_bar(self) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        height = self.down * (self.height + _GAP) - _GAP
        short = min(height, 2.2)
        axes = self.figure.add_axes(
            self._at(self.wide - _BAR + 0.08, _HEAD + (height - short) / 2, 0.09, short)
        )
        bar = self.figure.colorbar(ScalarMappable(Normalize(0, 1), "magma"), cax=axes, ticks=[0, 0.5, 1])
        bar.ax.set_yticklabels(["0", "½", "1"], size=8)
        bar.outline.set_linewidth(0.4)  # type: ignore[operator]


def _wrapped(text: str, longest: int = 11) -> list[str]:
    """A long name broken at its underscores or blanks, else cut, so that it fits beside the cells."""
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", text):
        if lines[-1] and len(lines[-1] + part) > longest:
            lines.append("")
        lines[-1] += part
    return [line if len(line) <= longest + 1 else f"{line[: longest - 1]}…" for line in lines]


def _show(axes: "Axes", picture: Picture | None, *, scale: bool = False, none: str = "") -> None:
    if picture is None:
        axes.text(0.5, 0.5, none, ha="center", va="center", size=8, color="#777777", transform=axes.transAxes)
    elif scale:
        axes.imshow(picture, cmap="magma", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
    else:
        axes.imshow(picture, interpolation="nearest", aspect="auto")


def _contour(axes: "Axes", truth: Picture | None) -> None:
    if truth is None or not (truth > 127).any() or (truth > 127).all():
        return
    for width, shade in ((1.9, "black"), (0.9, "#39FF14")):
        axes.contour((truth > 127).astype(float), levels=[0.5], colors=shade, linewidths=width)


def _coloured(labels: Picture) -> Picture:
    from matplotlib.colors import to_rgb

    picture = np.empty((*labels.shape, 3), dtype=np.uint8)
    picture[:] = [round(255 * part) for part in to_rgb(_NORMAL)]
    for value, (_, shade) in _LEVELS.items():
        picture[labels == value] = [round(255 * part) for part in to_rgb(shade)]
    return picture


def _first(rows: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    """The rows of the first picture that fits."""
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows[rows["id"] == rows["id"].iloc[0]] if len(rows) else rows


def _rank(detector: str, known: Sequence[str]) -> tuple[int, str]:
    return (known.index(detector) if detector in known else len(known)), detector


def _noticed(caption: str, notice: str | None) -> str:
    return f"{caption} {notice.rstrip('.')}." if notice else caption
