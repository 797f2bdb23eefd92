"""DAGM 2007: ten kinds of drawn textures, of which defective ones have an ellipse around the defect as a mask.

`Class<n>/{Train,Test}/<stem>.PNG` with `Label/<stem>_label.PNG` in the same folder for defective ones (Wieler and Hahn,
"Weakly supervised learning for industrial optical inspection", DAGM 2007). Anomalous training images are left out. The
ellipses take much around a defect along, so that pixel figures are bounded below 1.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, Split, folders

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
    labels = decode.image_files(folder / "Label") if (folder / "Label").is_dir() else []
    masks = {path.stem.removesuffix(SUFFIX): path for path in labels if path.stem.endswith(SUFFIX)}
    images = decode.image_files(folder)
    if split == "train" and (bad := sum(image.stem in masks for image in images)):
        log.info("%d anomalous images in %s are left out of training", bad, folder)
    for image in images:
        if image.stem not in masks:
            yield Sample(image=image, category=category, split=split, label="good")
        elif split == "test":
            mask = masks[image.stem]
            yield Sample(image=image, category=category, split=split, label="defect", masks=(mask,))


def hint(root: Path) -> str:
    if _is_category(root):
        return f"this is one class of DAGM, try its parent folder {root.resolve().parent}"
    for name in categories(root):
        lacks = [f"{name}/{part}" for part in SPLITS if not (root / name / part).is_dir()]
        return f"looks like DAGM: expected {' and '.join(lacks)}"
    return ""


def mask_files(root: Path, category: str) -> Iterator[Path]:
    test = root / category / "Test/Label"
    yield from decode.image_files(test) if test.is_dir() else ()


READER = Reader(
    matches=matches, read=read, hint=hint, categories=categories, mask_files=mask_files,
    looked_for=f"Class<n>/{{Train,Test}}/*.PNG and Label/<stem>{SUFFIX}.PNG beside them", normals="{category}/{split}",
)  # fmt: skip
