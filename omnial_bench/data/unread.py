"""What lies in a data folder and is not read: masks that belong to no image, images in a place or format where none is
looked for, folders that hold nothing."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.dataset import Dataset
from omnial_bench.data.doubts import Problem, warning
from omnial_bench.data.levels import read_levels
from omnial_bench.errors import UserError

IMAGES = decode.EXTENSIONS | {".gif", ".jfif", ".jpe", ".jp2", ".tga", ".avif", ".heic"}
"""Endings of images, also of such formats as are not read."""
MASK_FOLDERS = frozenset({"ground_truth", "groundtruth", "gt", "label", "labels", "mask", "masks", "mask_images"})
MASK_STEM = re.compile(r"[-_.](mask|gt|label|seg)\d*$", re.IGNORECASE)


def unread(dataset: Dataset, *, whole: bool) -> Iterator[Problem]:
    """A problem for the masks of a folder that no image has, a warning for other images there, with the first's name.

    What a layout leaves alone is not told, nor the masks of normal images. Of a part of the categories (not `whole`)
    their own folders are looked through.
    """
    places = [path for path in (dataset.root / name for name in dataset.categories) if path.is_dir()]
    used = {path for sample in dataset.samples for path in sample.files}
    normals = {sample.image.with_suffix("") for sample in dataset.samples if sample.label == "good"}
    names = {(path.parent.name, path.name) for path in normals}
    for place in [dataset.root] if whole else places:
        for folder, inner, files in os.walk(place):
            inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
            if not inner and not files:
                yield warning(dataset.place(Path(folder)), "holds nothing", "fill it, or remove it")
            masks: list[str] = []
            images: list[str] = []
            for path in (Path(folder) / name for name in sorted(files) if not name.startswith(".")):
                where, bare = dataset.place(path), path.with_name(MASK_STEM.sub("", path.stem))
                is_mask = bool(MASK_STEM.search(path.stem)) or not MASK_FOLDERS.isdisjoint(where.lower().split("/"))
                of_normal = bare in normals or (is_mask and (bare.parent.name, bare.name) in names)
                known = (
                    path in used or of_normal or any(fnmatch(where, pattern) for pattern in dataset.reader.left_alone)
                )
                if path.suffix.lower() in IMAGES and not known:
                    (masks if is_mask else images).append(where)
                if is_mask and of_normal and path.suffix.lower() in decode.EXTENSIONS and _marks(path):
                    yield warning(where, "marks something, and its image is normal", "look which is right")
            if masks:
                yield Problem(masks[0], f"mask without an image{_more(masks)}", "add its image, or remove it")
            if images:
                yield warning(images[0], f"not read{_more(images)}", "see docs/layouts.md for its place")


def _marks(path: Path) -> bool:
    with suppress(UserError):
        return bool(read_levels(path).any())
    return False


def _more(paths: list[str]) -> str:
    return f", as are {len(paths) - 1} more in its folder" if len(paths) > 1 else ""
