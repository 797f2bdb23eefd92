"""Real-IAD: images by category, sample and camera, and a JSON file a category that says which are trained on.

`realiad_<size>/<category>/{OK,NG/<kind>}/S<n>/*.jpg` with masks `*_mask.png` beside them, and
`realiad_jsons/realiad_jsons/<category>.json` with the lists `train` and `test` of `anomaly_class`, `image_path` and
`mask_path`, from the category's folder on (Wang et al., "Real-IAD", CVPR 2024). Anomalous training images, which its
noisy splits hold on purpose, are left out.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omnial_bench.data.readers.base import Reader, Sample, Split, folders
from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

JSONS = "realiad_jsons"
SPLITS: tuple[Split, ...] = ("train", "test")


def _image_folders(root: Path) -> list[Path]:
    return [path for path in folders(root) if path.name.startswith("realiad_") and not path.name.startswith(JSONS)]


def _tables(root: Path) -> list[Path]:
    """The JSON files of the split that is named as its folder, a category each."""
    for folder in (root / JSONS / JSONS, root / JSONS):
        if folder.is_dir() and (tables := sorted(folder.glob("*.json"))):
            return tables
    return []


def _matches(root: Path) -> bool:
    return len(_image_folders(root)) == 1 and bool(_tables(root))


def _categories(root: Path) -> list[str]:
    """Those that have both a table and images."""
    (images,) = _image_folders(root)
    return [table.stem for table in _tables(root) if (images / table.stem).is_dir()]


def _read(root: Path) -> Iterator[Sample]:
    (images,) = _image_folders(root)
    for table in _tables(root):
        if (images / table.stem).is_dir():
            yield from _read_table(table, images / table.stem)


def _read_table(table: Path, folder: Path) -> Iterator[Sample]:
    try:
        lists = json.loads(table.read_text(encoding="utf-8"))
        entries: list[tuple[Split, Any]] = [(split, entry) for split in SPLITS for entry in lists[split]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"cannot read {table} as lists of train and test: {error}; fetch it anew") from error
    left_out = 0
    for split, entry in entries:
        kind, image, mask = _entry(table, folder, entry)
        if kind == "OK":
            yield Sample(image=image, category=folder.name, split=split, label="good")
        elif split == "test":
            masks = (mask,) if mask else ()
            yield Sample(image=image, category=folder.name, split=split, label=kind, masks=masks)
        else:
            left_out += 1
    if left_out:
        log.warning("%d anomalous images that %s trains on are left out", left_out, table)


def _entry(table: Path, folder: Path, entry: Any) -> tuple[str, Path, Path | None]:
    fields = entry if isinstance(entry, dict) else {}
    kind, image, mask = (fields.get(key) for key in ("anomaly_class", "image_path", "mask_path"))
    name = inside(kind) if isinstance(kind, str) else None
    if name is None or len(name.parts) != 1 or not isinstance(image, str) or not isinstance(mask, str | None):
        raise UserError(f"{table}: expected anomaly_class, image_path and mask_path, got {str(entry)[:200]}; mend it")
    return str(name), _file(table, folder, image), None if not mask else _file(table, folder, mask)


def _file(table: Path, folder: Path, text: str) -> Path:
    place = inside(text)
    if place is None or not (folder / place).is_file():
        raise UserError(f"{table} names {text[:200]!r}, which is not in {folder}; unpack all of the category")
    return folder / place


def _hint(root: Path) -> str:
    some, tables = _image_folders(root), _tables(root)
    if len(some) > 1:
        return f"Real-IAD in several sizes, {', '.join(path.name for path in some)}: keep one of them in the folder"
    if some and not tables:
        return f"looks like Real-IAD: expected {JSONS}/{JSONS}/<category>.json, found {some[0].name} only"
    return f"looks like Real-IAD: expected realiad_<size>, found {JSONS} only" if tables and not some else ""


READER = Reader(
    matches=_matches, read=_read, hint=_hint, categories=_categories, left_alone=("*/NG/*",),
    looked_for=f"realiad_<size>/<category>/* and {JSONS}/{JSONS}/<category>.json",
    mask_of=lambda sample: f"{sample.image.with_suffix('')}_mask.png in its table", normals="realiad_*/{category}/OK",
)  # fmt: skip
