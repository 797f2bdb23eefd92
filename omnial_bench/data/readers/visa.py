"""VisA as its authors publish it, read where it lies, or brought into its one-class layout, by the table of that split.

`<category>/Data/Images/{Normal,Anomaly}`, `<category>/Data/Masks/Anomaly`, and `split_csv/1cls.csv` (Zou et al.,
"SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation", ECCV 2022). Ids are those of
the one-class layout either way.
"""

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Reader, Sample, folders
from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

COLUMNS = ("object", "split", "label", "image", "mask")
TABLE = "split_csv/1cls.csv"
PLACES = {("train", "normal"): "train/good", ("test", "normal"): "test/good", ("test", "anomaly"): "test/bad"}


@dataclass(frozen=True)
class Row:
    """An image of the table, its place in the one-class layout, and its mask; relative paths."""

    image: Path
    place: Path
    mask: Path | None

    def moves(self) -> Iterator[tuple[Path, Path]]:
        yield self.image, self.place
        if self.mask is not None:
            yield self.mask, self.place.parents[2] / "ground_truth/bad" / f"{self.place.stem}{self.mask.suffix}"


def one_class(raw: Path, folder: Path) -> int:
    """Move the images and masks of `raw` into `folder` as its table says; gives how many images.

    `<category>/Data/Images/{Normal,Anomaly}` become `<category>/{train/good,test/good,test/bad}`, and the masks
    `<category>/ground_truth/bad/<stem of the image>.png`, byte for byte: they hold small class numbers, and every
    value but 0 is anomalous (`data.levels`). The table and the licence come along; images that it does not name
    do not. UserError, one line and before anything is moved, where the table is missing or wrong, names a file that is
    not there or lies outside, or gives two files one place.
    """
    rows = read_table(raw)
    for source, target in (move for row in rows for move in row.moves()):
        _move(raw / source, folder / target)
    left = sum(path.is_file() for path in raw.glob("*/Data/Images/*/*"))
    if left:
        log.warning("%d images of %s are in no split and are left out", left, raw)
    for path in [raw / TABLE, *sorted(raw.glob("LICENSE*"))]:
        _move(path, folder / path.relative_to(raw))
    return len(rows)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def read_table(raw: Path) -> list[Row]:
    """Every image that the table in `raw` names; nothing is moved. UserError as of `one_class`."""
    table = raw / TABLE
    rows = list(_rows(table))
    seen: dict[str, Path] = {}
    sources = set()
    for source, target in (move for row in rows for move in row.moves()):
        path = raw / source
        if not path.is_file() or path.resolve() != raw.resolve() / source:
            raise UserError(f"{table} names {source}, which is not in {raw}; fetch the published archive")
        # One stem is one image, whatever its extension, and some file systems do not tell a from A.
        key = target.with_suffix("").as_posix().casefold()
        if key in seen:
            raise UserError(f"{table} gives {seen[key]} and {source} one place, {target}; mend it")
        if source in sources:
            raise UserError(f"{table} names {source} twice; an image belongs to one split, mend it")
        seen[key] = source
        sources.add(source)
    if not rows:
        raise UserError(f"{table} names no images; expected one a row, in the columns {','.join(COLUMNS)}")
    return rows


def _rows(table: Path) -> Iterator[Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header != COLUMNS:
                raise UserError(f"{table} has the columns {','.join(header)[:200]}; expected {','.join(COLUMNS)}")
            for row in rows:
                yield _row(f"row {rows.line_num} of {table}", row)
    except FileNotFoundError as error:
        raise UserError(f"no split table at {table}; expected VisA as published, with it inside") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {table} as a table: {error}; fetch the published archive") from error


def _row(where: str, cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise UserError(f"{where} has {len(cells)} columns; expected {','.join(COLUMNS)}")
    category, split, label, image, mask = cells
    if (split, label) not in PLACES:
        known = ", ".join(f"{split} {label}" for split, label in PLACES)
        raise UserError(f"{where} says {split[:50]!r} {label[:50]!r}; expected {known}")
    name, source, truth = inside(category), inside(image), inside(mask)
    if name is None or len(name.parts) != 1 or name.parts[0].startswith("."):
        raise UserError(f"{where} has the category {category[:50]!r}; expected the name of a folder")
    if source is None or not source.parts:
        raise UserError(f"{where} names {image[:200]!r}; expected a path inside the data set")
    place = Path(name) / PLACES[split, label] / source.name
    if label == "normal":
        return Row(Path(source), place, None)
    if truth is None or not truth.parts:
        raise UserError(f"{where} has the mask {mask[:200]!r}; expected a path inside the data set")
    return Row(Path(source), place, Path(truth))


def _is_published(root: Path) -> bool:
    return any((path / "Data" / "Images").is_dir() for path in folders(root))


def _read(root: Path) -> Iterator[Sample]:
    for row in read_table(root):
        category, split, label, _ = row.place.parts
        yield Sample(
            image=root / row.image, category=category, split="train" if split == "train" else "test", label=label,
            masks=() if row.mask is None else (root / row.mask,),
        )  # fmt: skip


def _hint(root: Path) -> str:
    if not _is_published(root) or mvtec.claims(root):
        return ""
    return (
        f"this is VisA as downloaded, expected {TABLE} in it; add the table, or omnial-bench data download visa brings "
        "it to the one-class layout"
    )


READER = Reader(
    matches=lambda root: (root / TABLE).is_file() and _is_published(root), read=_read, hint=_hint, left_alone=(),
    looked_for=f"<category>/Data/Images/{{Normal,Anomaly}}/*, <category>/Data/Masks/Anomaly/* and {TABLE}",
)  # fmt: skip
