"""DAGM 2007: ten kinds of drawn textures, of which defective ones have an ellipse around the defect as a mask.

`Class<n>/{Train,Test}/<stem>.PNG` with `Label/<stem>_label.PNG` in the same folder for defective ones (Wieler and Hahn,
"Weakly supervised learning for industrial optical inspection", DAGM 2007). Anomalous training images are left out. The
ellipses take much around a defect along, so that pixel figures are bounded below 1. Where `Label/Labels.txt` lists an
image as defective it is, whether its mask is there or not.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, Split, folders
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

SUFFIX = "_label"
SPLITS: dict[str, Split] = {"Train": "train", "Test": "test"}


def _is_category(path: Path) -> bool:
    return path.name.casefold().startswith("class") and any((path / part / "Label").is_dir() for part in SPLITS)


def categories(root: Path) -> list[str]:
    return [path.name for path in folders(root) if _is_category(path)]


def matches(root: Path) -> bool:
    return any(all((root / name / part).is_dir() for part in SPLITS) for name in categories(root))


def read(root: Path) -> Iterator[Sample]:
    for name in categories(root):
        for part, split in SPLITS.items():
            if (root / name / part).is_dir():
                yield from _read_part(root / name / part, name, split)


def _read_part(folder: Path, category: str, split: Split) -> Iterator[Sample]:
    if not (folder / "Label").is_dir():
        raise UserError(f"no folder {folder / 'Label'}, which tells defective images from others; add it")
    labels = decode.image_files(folder / "Label")
    masks = {path.stem.removesuffix(SUFFIX): path for path in labels if path.stem.endswith(SUFFIX)}
    images, bad = decode.image_files(folder), {*masks, *_listed(folder / "Label/Labels.txt")}
    if split == "train" and (left_out := sum(image.stem in bad for image in images)):
        log.info("%d anomalous images in %s are left out of training", left_out, folder)
    for image in images:
        if image.stem not in bad:
            yield Sample(image=image, category=category, split=split, label="good")
        elif split == "test":
            truth = (masks[image.stem],) if image.stem in masks else ()
            yield Sample(image=image, category=category, split=split, label="defect", masks=truth)


def _listed(table: Path) -> set[str]:
    """The stems of the images that it calls defective, by its columns: number, 0 or 1, image, 0, mask or 0."""
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines() if table.is_file() else []
    rows = [line.split() for line in lines]
    return {Path(row[2]).stem for row in rows if len(row) == 5 and row[1] == "1"}


def _mask_of(sample: Sample) -> str:
    return f"{sample.image.parent / 'Label' / sample.image.stem}{SUFFIX}.PNG"


def hint(root: Path) -> str:
    if _is_category(root):
        return f"this is one class of DAGM, try its parent folder {root.resolve().parent}"
    for name in categories(root):
        lacks = [f"{name}/{part}" for part in SPLITS if not (root / name / part).is_dir()]
        return f"looks like DAGM: expected {' and '.join(lacks)}"
    return ""


READER = Reader(
    matches=matches, read=read, hint=hint, categories=categories, left_alone=("*/Train/*",), mask_of=_mask_of,
    looked_for=f"Class<n>/{{Train,Test}}/*.PNG and Label/<stem>{SUFFIX}.PNG beside them", normals="{category}/{split}",
)  # fmt: skip
