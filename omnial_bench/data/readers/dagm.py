"""DAGM 2007: ten kinds of drawn textures, of which defective ones have an ellipse around the defect as a mask.

`Class<n>/{Train,Test}/<stem>.PNG` with `Label/<stem>_label.PNG` in the same folder for defective ones (Wieler and Hahn,
"Weakly supervised learning for industrial optical inspection", DAGM 2007). Anomalous training images are left out. The
ellipses take much around a defect along, so that pixel figures are bounded below 1. Where `Label/Labels.txt` lists an
image as defective it is, whether its mask is there or not.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Sample, Split, by_category, samples_of
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

SUFFIX = "_label"
SPLITS: dict[str, Split] = {"Train": "train", "Test": "test"}


def _is_category(path: Path) -> bool:
    return path.name.casefold().startswith("class") and any((path / part / "Label").is_dir() for part in SPLITS)


def _read_category(path: Path) -> Iterator[Sample]:
    for part, split in SPLITS.items():
        if (path / part).is_dir():
            yield from _read_part(path / part, path.name, split)


def _read_part(folder: Path, category: str, split: Split) -> Iterator[Sample]:
    if not (folder / "Label").is_dir():
        raise UserError(f"no folder {folder / 'Label'}, which tells defective images from others; add it")
    labels = decode.image_files(folder / "Label")
    masks = {path.stem.removesuffix(SUFFIX): path for path in labels if path.stem.endswith(SUFFIX)}
    images, bad = decode.image_files(folder), {*masks, *_listed(folder / "Label/Labels.txt")}
    if split == "train" and (left_out := sum(image.stem in bad for image in images)):
        log.info("%d anomalous images in %s are left out of training", left_out, folder)
    yield from samples_of([image for image in images if image.stem not in bad], category, split, "good")
    if split == "test":
        yield from samples_of([image for image in images if image.stem in bad], category, split, "defect", masks)


def _listed(table: Path) -> set[str]:
    """The stems of the images that it calls defective, by its columns: number, 0 or 1, image, 0, mask or 0."""
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines() if table.is_file() else []
    rows = [line.split() for line in lines]
    return {Path(row[2]).stem for row in rows if len(row) == 5 and row[1] == "1"}


READER = replace(
    by_category("DAGM", _read_category, _is_category, needed=tuple(SPLITS), kind="class"),
    looked_for=f"Class<n>/{{Train,Test}}/*.PNG and Label/<stem>{SUFFIX}.PNG beside them",
    mask_of=lambda sample: f"{sample.image.parent / 'Label' / sample.image.stem}{SUFFIX}.PNG",
    left_alone=("*/Train/*",), normals="{category}/{split}",
)  # fmt: skip
