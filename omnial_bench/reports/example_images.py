"""Figures of example images: synthetic anomalies, detections on the clean test and under attack. No torch here."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from omnial_bench.data.decode import converted, open_image
from omnial_bench.errors import UserError
from omnial_bench.reports.conditions import Condition
from omnial_bench.reports.grid import Cell, Pixels, lay_out
from omnial_bench.reports.style import Drawing, paper_style
from omnial_bench.reports.table import TIMES
from omnial_bench.reports.values import Values
from omnial_bench.reports.wording import set_words
from omnial_bench.results import read_texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("model", "set", "category", "defect", "id", "role", "path")
PANELS = ("left", "right", "top", "bottom", "all")
_LEVELS = {255: ("easy", "#FDE725"), 170: ("medium", "#21918C"), 85: ("hard", "#3B528B")}
_NORMAL = "#EDEDED"
Row = tuple[str, pd.DataFrame, bool]
"""A label, the rows of the index of one image, and whether it is attacked."""


class Examples:
    """The images that a run kept, by what they show."""

    def __init__(self, folder: Path) -> None:
        """Reads `index.csv` of the folder; UserError where it is no such index. A missing file is an empty index."""
        self.folder = folder.resolve()
        self._read: dict[tuple[str, str], Pixels] = {}
        index = read_texts(folder / "index.csv", COLUMNS)
        self.index = pd.DataFrame(columns=list(COLUMNS), dtype=str) if index is None else index

    def rows(self, **wanted: str) -> pd.DataFrame:
        return self.index[(self.index[list(wanted)] == pd.Series(wanted)).all(axis=1)]

    def image(self, rows: pd.DataFrame, role: str) -> Pixels | None:
        """The first image of a role as `h w 3` or `h w` bytes; UserError where it is missing, broken or outside."""
        paths = rows.loc[rows["role"] == role, "path"]
        if paths.empty:
            return None
        name, mode = str(paths.iloc[0]), "L" if role in ("truth", "map") else "RGB"
        if (name, mode) not in self._read:
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder):
                raise UserError(f"{self.folder / 'index.csv'} names {name!r}, which lies outside the examples")
            if not path.is_file():
                raise UserError(f"cannot read the example image {path}: it is missing")
            self._read[name, mode] = np.asarray(converted(open_image(path), mode, path))
        return self._read[name, mode]

    def change(self, rows: pd.DataFrame) -> NDArray[np.int16] | None:
        """Input less original, in grey levels."""
        after, before = self.image(rows, "input"), self.image(rows, "original")
        if after is None or before is None or after.shape != before.shape:
            return None
        return after.astype(np.int16) - before.astype(np.int16)

    def aspect(self, rows: pd.DataFrame) -> float:
        """Height over width of the first input; 1 where there is none."""
        image = self.image(rows, "input")
        return 1.0 if image is None else image.shape[0] / image.shape[1]


def gallery(examples: Examples, values: Values) -> list[Drawing]:
    """Synthetic anomalies with their labels, one figure a detector, a column a panel, as the paper's Fig. 4."""
    index = examples.rows(set="synthesis")
    drawings = []
    for detector in sorted(set(index["model"]), key=lambda name: _rank(name, values.detectors)):
        mine = index[index["model"] == detector]
        panels = sorted(set(mine["defect"]), key=lambda name: _rank(name, PANELS))
        caption = (
            f"Synthetic anomalies as {values.titles.of_detector(detector)} makes them for training, by the panel that "
            "confines them (columns): the normal image, the same with its anomaly, and below it the labels."
        )
        figure = _gallery(examples, mine, sorted(set(mine["category"]))[:4], panels)
        drawings.append(Drawing(f"synthesis_{detector}", caption, "Synthetic anomalies by panel.", figure))
    return drawings


def _gallery(examples: Examples, mine: pd.DataFrame, categories: Sequence[str], panels: Sequence[str]) -> "Figure":
    """Two rows a category, images and labels; the normal image of the first panel leads."""
    from matplotlib.patches import Patch

    lines, seen = list[tuple[str, list[Cell]]](), set[int]()
    for category in categories:
        here = mine[mine["category"] == category]
        samples = [first_image(here[here["defect"] == panel]) for panel in panels]
        labels = [examples.image(sample, "truth") for sample in samples]
        inputs = [Cell(examples.image(sample, "input")) for sample in samples]
        lines.append((category, [Cell(examples.image(samples[0], "clean")), *inputs]))
        lines.append(("", [Cell(None), *(Cell(None if each is None else _coloured(each)) for each in labels)]))
        seen |= {level for each in labels if each is not None for level in np.unique(each).tolist()} & set(_LEVELS)
    handles = {name: shade for value, (name, shade) in _LEVELS.items() if value in seen}
    handles = ({"anomalous": _LEVELS[255][1]} if seen == {255} else handles) | {"normal": _NORMAL}
    with paper_style():
        grid = lay_out(lines, ("normal", *panels), aspect=examples.aspect(mine), bar=0, foot=0.3, most=0.85)
        grid.figure.legend(
            handles=[Patch(color=shade, label=name) for name, shade in handles.items()],
            loc="lower center", ncols=4, handlelength=1.2, borderaxespad=0.1,
        )  # fmt: skip
        return grid.done()


def detections(examples: Examples, values: Values) -> list[Drawing]:
    """Clean test images in rows: input with the truth's contour, then reconstruction and map of each detector."""
    drawings = []
    clean = examples.rows(set="clean")
    for paradigm, models, part in families(examples, values):
        mine = of_models(clean, models)
        shown = mine.drop_duplicates(["category", "defect", "id"])
        shown = shown[shown["defect"] != "good"].groupby("category", sort=True).head(3).head(8)
        if shown.empty:
            continue
        rows = [(f"{row.category}\n{row.defect}", mine[mine["id"] == row.id], False) for row in shown.itertuples()]
        figure = _rows(examples, rows, models)
        caption = (
            f"Clean test images, {paradigm} models: input with the contour of the ground truth (green), then each "
            "detector's reconstruction and anomaly map, a probability on the same scale [0, 1] throughout."
        )
        name = f"images_clean_{paradigm}{part}"
        drawings.append(Drawing(name, caption, f"Detections of {paradigm} models.", figure))
    return drawings


def under_attack(examples: Examples, values: Values) -> list[Drawing]:
    """A clean test image, then one synthetic anomaly before and after each attack with the perturbation amplified."""
    drawings = []
    sets = [condition for condition in values.conditions if not condition.clean and not condition.white_box]
    for paradigm, models, part in families(examples, values):
        mine = of_models(examples.index, models)
        for category in sorted(set(mine["category"]))[:4]:
            rows = _attack_rows(mine[mine["category"] == category], sets)
            if len(rows) < 2:
                continue
            amplify = amplification(examples.change(shown) for _, shown, attacked in rows if attacked)
            figure = _rows(examples, rows, models, amplify=amplify)
            factor = f"its change {TIMES} {amplify}, centred on grey (128 + {amplify} {TIMES} change in grey levels), "
            caption = (
                f"{category}, {paradigm} models: a test image (top) and one synthetic anomaly on a training normal, "
                "before the attack (control) and in each set. Input with the contour of the ground truth (green), "
                f"{factor if amplify else ''}then each detector's reconstruction and anomaly map on the same scale "
                f"[0, 1]. {set_words(values)}"
            )
            name = f"images_attack_{paradigm}_{re.sub(r'[^A-Za-z0-9-]+', '-', category)}{part}"
            drawings.append(Drawing(name, caption, f"{category} before and under attack.", figure))
    return drawings


def families(examples: Examples, values: Values) -> list[tuple[str, dict[str, str], str]]:
    """Each paradigm with at most three of its models (name -> title of the detector), a suffix where there are more."""
    families = []
    for paradigm in dict.fromkeys(model.paradigm for model in values.models):
        models = [each for each in values.models if each.paradigm == paradigm]
        models = [each for each in models if len(of_models(examples.index, [each.name]))]
        for start in range(0, len(models), 3):
            titles = {each.name: values.titles.of_detector(each.detector) for each in models[start : start + 3]}
            families.append((paradigm, titles, f"_{start // 3 + 1}" * (len(models) > 3)))
    return families


def of_models(rows: pd.DataFrame, models: Collection[str]) -> pd.DataFrame:
    """The rows of the index that are of any of the models, also where there are none; separate models carry their
    category at the end."""
    own = [any(name == model or name.startswith(f"{model}-") for model in models) for name in rows["model"]]
    return rows[np.array(own, dtype=bool)]


def _attack_rows(mine: pd.DataFrame, sets: Sequence[Condition]) -> list[Row]:
    anomalous = mine[mine["defect"] != "good"]
    attacked = anomalous[anomalous["set"].isin([condition.set for condition in sets])]
    if attacked.empty:
        return []
    # The image that most sets have an example of, so that rows show one and the same.
    ids = attacked.groupby("id", sort=True)["set"].nunique()
    chosen = attacked[attacked["id"] == ids.idxmax()]
    rows = [("Clean test", first_image(anomalous[anomalous["set"] == "clean"]), False)]
    rows += [(each.label.replace(" ", "\n", 1), chosen[chosen["set"] == each.set], each.attacked) for each in sets]
    return [row for row in rows if len(row[1])]


def amplification(changes: Iterable[NDArray[np.int16] | None]) -> int | None:
    """The whole factor that brings the largest change nearest to the ends of the scale; None where nothing changed."""
    largest = max((int(np.abs(change).max()) for change in changes if change is not None), default=0)
    return max(1, 127 // largest) if largest else None


def amplified(change: NDArray[np.int16] | None, factor: int) -> Pixels | None:
    """A change as an image, centred on grey."""
    return None if change is None else np.clip(128 + factor * change.astype(int), 0, 255).astype(np.uint8)


def _rows(
    examples: Examples, rows: Sequence[Row], models: Mapping[str, str], *, amplify: int | None = None
) -> "Figure":
    """Rows of images: input, the perturbation where `amplify` is given, then two cells a model."""
    change = [f"change {TIMES} {amplify}"] if amplify else []
    tops = [("", 1 + len(change)), *((title, 2) for title in models.values())]
    lines = []
    for label, shown, attacked in rows:
        cells = [Cell(examples.image(shown, "input"), examples.image(shown, "truth"))]
        if amplify:
            cells.append(Cell(amplified(examples.change(shown) if attacked else None, amplify), none="none"))
        for model in models:
            mine = of_models(shown, [model])
            cells += [Cell(examples.image(mine, "reconstruction")), Cell(examples.image(mine, "map"), scale=True)]
        lines.append((label, cells))
    with paper_style():
        heads = ["input", *change, *["reconstr.", "map"] * len(models)]
        return lay_out(lines, heads, tops, aspect=examples.aspect(rows[0][1])).done()


def _coloured(labels: Pixels) -> Pixels:
    from matplotlib.colors import to_rgb

    image = np.empty((*labels.shape, 3), dtype=np.uint8)
    image[:] = [round(255 * part) for part in to_rgb(_NORMAL)]
    for value, (_, shade) in _LEVELS.items():
        image[labels == value] = [round(255 * part) for part in to_rgb(shade)]
    return image


def first_image(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first image, of none where there are none."""
    return rows[rows["id"] == rows["id"].iloc[0]] if len(rows) else rows


def _rank(detector: str, known: Sequence[str]) -> tuple[int, str]:
    return (known.index(detector) if detector in known else len(known)), detector
