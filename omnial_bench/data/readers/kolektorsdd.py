"""KolektorSDD: fifty commutators, photographed some eight times each, and a label image beside each photograph.

`kos<nn>/Part<n>.jpg` with `kos<nn>/Part<n>_label.bmp` (Tabernik et al., "Segmentation-based deep-learning approach for
surface-defect detection", Journal of Intelligent Manufacturing 31, 2020). An image is anomalous where its label image
marks anything. There is no split: the normal images of one commutator in five, by a hash of its name, are for the test,
and so are all anomalous ones. Most commutators have a defect, so that one may be in both.
"""

from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, Split, folders, held_out
from omnial_bench.data.readers.marking import mark_anything
from omnial_bench.errors import UserError

CATEGORY = "kolektorsdd"
SUFFIX = "_label"


def _items(root: Path) -> list[Path]:
    return [path for path in folders(root) if path.name.startswith("kos") and path.name[3:].isdigit()]


def matches(root: Path) -> bool:
    return any(any(item.glob(f"*{SUFFIX}.*")) for item in _items(root))


def read(root: Path) -> Iterator[Sample]:
    items = _items(root)
    tests = held_out(root, items)
    files = {image: mask for item in items for image, mask in _pairs(item)}
    marks = mark_anything(root, CATEGORY, list(files.values()))
    for (image, mask), bad in zip(files.items(), marks, strict=True):
        name = f"{image.parent.name}_{image.stem}"
        if bad:
            yield Sample(image=image, category=CATEGORY, split="test", label="defect", masks=(mask,), name=name)
        else:
            split: Split = "test" if image.parent in tests else "train"
            yield Sample(image=image, category=CATEGORY, split=split, label="good", name=name)


def _pairs(item: Path) -> Iterator[tuple[Path, Path]]:
    files = {path.stem: path for path in decode.image_files(item)}
    for stem, image in files.items():
        if not stem.endswith(SUFFIX):
            if f"{stem}{SUFFIX}" not in files:
                raise UserError(f"no mask for {image}: expected {mask_at(image)}, as all of KolektorSDD; add it")
            yield image, files[f"{stem}{SUFFIX}"]


def mask_at(image: Path) -> str:
    return f"{image.parent / image.stem}{SUFFIX}.bmp"


def hint(root: Path) -> str:
    items = _items(root)
    if not items or matches(root):
        return ""
    return f"looks like KolektorSDD: expected {items[0].name}/Part<n>{SUFFIX}.bmp beside each Part<n>.jpg"


READER = Reader(
    matches=matches, read=read, hint=hint, looked_for=f"kos<nn>/Part<n>.jpg and kos<nn>/Part<n>{SUFFIX}.bmp",
    mask_of=lambda sample: mask_at(sample.image), normals="kos<nn>", left_alone=(),
)  # fmt: skip
