"""KolektorSDD2: one category of images, each with a mask beside it, which is empty for normal ones.

`train/<n>.png` with `train/<n>_GT.png`, and `test/` likewise (Bozic et al., "Mixed supervision for surface-defect
detection", Computers in Industry 129, 2021). Anomalous training images are left out, for one class is trained on.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, Split
from omnial_bench.data.readers.marking import mark_anything
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

CATEGORY = "kolektorsdd2"
SPLITS: tuple[Split, ...] = ("train", "test")
SUFFIX = "_GT"


def _has_masks(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob(f"*{SUFFIX}.*"))


def matches(root: Path) -> bool:
    return all(_has_masks(root / split) for split in SPLITS)


def read(root: Path) -> Iterator[Sample]:
    pairs = [(split, *pair) for split in SPLITS for pair in _pairs(root / split)]
    anomalous = mark_anything(root, CATEGORY, [mask for _, _, mask in pairs])
    left_out = 0
    for (split, image, mask), bad in zip(pairs, anomalous, strict=True):
        if not bad:
            yield Sample(image=image, category=CATEGORY, split=split, label="good")
        elif split == "test":
            yield Sample(image=image, category=CATEGORY, split=split, label="defect", masks=(mask,))
        else:
            left_out += 1
    if left_out:
        log.info("%d anomalous images in %s are left out of training", left_out, root / "train")


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    # The published archive holds an image that was copied by mistake, `10301 (copy).png`.
    files = {path.stem: path for path in decode.image_files(folder) if "(copy)" not in path.stem}
    for stem, image in files.items():
        if not stem.endswith(SUFFIX):
            if f"{stem}{SUFFIX}" not in files:
                raise UserError(f"no mask for {image}: expected {mask_at(image)}, as all of KolektorSDD2; add it")
            yield image, files[f"{stem}{SUFFIX}"]


def hint(root: Path) -> str:
    found = [f"{split}/*{SUFFIX}.png" for split in SPLITS if _has_masks(root / split)]
    lacks = [f"{split}/*{SUFFIX}.png" for split in SPLITS if not _has_masks(root / split)]
    return f"looks like KolektorSDD2: expected {lacks[0]}, found {found[0]} only" if found and lacks else ""


def mask_at(image: Path) -> str:
    return f"{image.parent / image.stem}{SUFFIX}.png"


READER = Reader(
    matches=matches, read=read, looked_for=f"train/* and test/*, each image with <stem>{SUFFIX}.png beside it",
    hint=hint, mask_of=lambda sample: mask_at(sample.image), normals="{split}",
    left_alone=("train/*",),
)  # fmt: skip
