"""VisA as published brought into its one-class layout, by the table that its authors published with it. No torch here.

Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation", ECCV 2022.
"""

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

COLUMNS = ("object", "split", "label", "image", "mask")
SPLIT = "split_csv/1cls.csv"
"""The table of the one-class split, in the folder as published."""
_PLACES = {("train", "normal"): "train/good", ("test", "normal"): "test/good", ("test", "anomaly"): "test/bad"}


@dataclass(frozen=True)
class Move:
    """One file of the published folder and its place in the one-class layout, both relative."""

    source: Path
    target: Path

    @property
    def is_mask(self) -> bool:
        return self.target.parts[1] == "ground_truth"


def one_class(raw: Path, folder: Path, *, split: str = SPLIT) -> int:
    """Move the images and masks of `raw` into `folder` as the table at `raw/split` says; gives how many images.

    `<category>/Data/Images/{Normal,Anomaly}` become `<category>/{train/good,test/good,test/bad}`, and the masks
    `<category>/ground_truth/bad/<stem of the image>.png`, byte for byte: they hold small class numbers, and every
    value but 0 is anomalous (`data.levels`). The table and the licence come along; images that it does not name
    do not. UserError, one line and before anything is moved, where the table is missing or wrong, names a file that is
    not there or lies outside, or gives two files one place.
    """
    moves = planned_moves(raw, split)
    for move in moves:
        (folder / move.target).parent.mkdir(parents=True, exist_ok=True)
        (raw / move.source).rename(folder / move.target)
    images = [move for move in moves if not move.is_mask]
    left = sum(path.is_file() for path in raw.glob("*/Data/Images/*/*"))
    if left:
        log.warning("%d images of %s are in no split and are left out", left, raw)
    for path in [raw / split, *sorted(raw.glob("LICENSE*"))]:
        target = folder / path.relative_to(raw)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return len(images)


def planned_moves(raw: Path, split: str = SPLIT) -> list[Move]:
    """Every image and mask that the table at `raw/split` names, an anomalous image before its mask; nothing is moved.

    UserError as of `one_class`.
    """
    table = raw / split
    moves = list(_moves(table))
    seen: dict[str, Move] = {}
    sources = set()
    for move in moves:
        path = raw / move.source
        if not path.is_file() or path.resolve() != raw.resolve() / move.source:
            raise UserError(f"{table} names {move.source}, which is not in {raw}; fetch the published archive")
        # One stem is one image, whatever its extension, and some file systems do not tell a from A.
        key = move.target.with_suffix("").as_posix().casefold()
        if key in seen:
            raise UserError(f"{table} gives {seen[key].source} and {move.source} one place, {move.target}; mend it")
        if move.source in sources:
            raise UserError(f"{table} names {move.source} twice; an image belongs to one split, mend it")
        seen[key] = move
        sources.add(move.source)
    if not moves:
        raise UserError(f"{table} names no images; expected one a row, in the columns {','.join(COLUMNS)}")
    return moves


def _moves(table: Path) -> Iterator[Move]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header != COLUMNS:
                raise UserError(f"{table} has the columns {','.join(header)[:200]}; expected {','.join(COLUMNS)}")
            for row in rows:
                yield from _of_row(f"row {rows.line_num} of {table}", row)
    except FileNotFoundError as error:
        raise UserError(f"no split table at {table}; expected VisA as published, with it inside") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {table} as a table: {error}; fetch the published archive") from error


def _of_row(where: str, row: list[str]) -> Iterator[Move]:
    if len(row) != len(COLUMNS):
        raise UserError(f"{where} has {len(row)} columns; expected {','.join(COLUMNS)}")
    category, split, label, image, mask = row
    place = _PLACES.get((split, label))
    if place is None:
        known = ", ".join(f"{split} {label}" for split, label in _PLACES)
        raise UserError(f"{where} says {split[:50]!r} {label[:50]!r}; expected {known}")
    name, source = inside(category), inside(image)
    if name is None or len(name.parts) != 1 or name.parts[0].startswith("."):
        raise UserError(f"{where} has the category {category[:50]!r}; expected the name of a folder")
    if source is None or not source.parts:
        raise UserError(f"{where} names {image[:200]!r}; expected a path inside the data set")
    yield Move(Path(source), Path(name) / place / source.name)
    if label == "normal":
        return
    truth = inside(mask)
    if truth is None or not truth.parts:
        raise UserError(f"{where} has the mask {mask[:200]!r}; expected a path inside the data set")
    yield Move(Path(truth), Path(name) / "ground_truth/bad" / f"{source.stem}{truth.suffix}")
