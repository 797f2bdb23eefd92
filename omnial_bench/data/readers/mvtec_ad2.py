"""MVTec AD 2: MVTec AD's training images, and a public test whose masks lie inside it.

`<category>/train/good`, `<category>/test_public/{good,bad}`, `<category>/test_public/ground_truth/bad/<stem>_mask`
(Heckler-Kram et al., "The MVTec AD 2 dataset", arXiv 2503.21622, 2025). Stems end in the light: `regular`,
`overexposed`, `underexposed` or `shift_<n>`, which is a label of its own, `bad_shift_1`, and a condition, in which the
normal images of that light stand against it. Of the private tests nothing is known, and validation images are left
alone.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Sample, folders

TEST = "test_public"
LIGHT = re.compile(r"_(regular|overexposed|underexposed|shift_\d+)$")
PARTS = ("train/good", f"{TEST}/good", f"{TEST}/bad", f"{TEST}/ground_truth/bad")


def _is_category(path: Path) -> bool:
    return any(entry.name.startswith(("test_public", "test_private")) for entry in folders(path))


def categories(root: Path) -> list[str]:
    return [path.name for path in folders(root) if _is_category(path)]


def matches(root: Path) -> bool:
    return any((root / name / "train/good").is_dir() and (root / name / TEST).is_dir() for name in categories(root))


def read(root: Path) -> Iterator[Sample]:
    for name in categories(root):
        yield from _read_category(root / name)


def _read_category(path: Path) -> Iterator[Sample]:
    for image in _images(path / "train/good"):
        yield Sample(image=image, category=path.name, split="train", label="good")
    for image in _images(path / TEST / "good"):
        yield Sample(image=image, category=path.name, split="test", label="good", condition=_light(image))
    masks = mvtec.find_masks(path / TEST / "ground_truth/bad")
    for image in _images(path / TEST / "bad"):
        light = _light(image)
        yield Sample(
            image=image, category=path.name, split="test", label=f"bad_{light}" if light else "bad", condition=light,
            masks=(masks[image.stem],) if image.stem in masks else (),
        )  # fmt: skip


def _light(image: Path) -> str:
    light = LIGHT.search(image.stem)
    return light[1] if light else ""


def _images(folder: Path) -> list[Path]:
    return decode.image_files(folder) if folder.is_dir() else []


def hint(root: Path) -> str:
    if _is_category(root):
        return f"this is one category of MVTec AD 2, try its parent folder {root.resolve().parent}"
    for name in categories(root):
        lacks = [f"{name}/{part}" for part in PARTS if not (root / name / part).is_dir()]
        return f"looks like MVTec AD 2: expected {' and '.join(lacks)}"
    return ""


def mask_of(sample: Sample) -> str:
    return f"{sample.image.parents[1] / 'ground_truth/bad' / sample.image.stem}_mask.png"


READER = replace(
    mvtec.READER, matches=matches, read=read, hint=hint, categories=categories, mask_of=mask_of,
    left_alone=("*/validation/*", "*/test_private*"),
    looked_for=f"<category>/train/good/* and <category>/{TEST}/{{good,bad}}/*", normals="{category}/{split}*/good",
)  # fmt: skip
