"""MVTec AD's layout, which MPDD has too.

`<category>/train/good`, `<category>/test/<good or defect>`, and masks `<category>/ground_truth/<defect>/<stem>_mask`
(Bergmann et al., "MVTec AD", CVPR 2019). A mask may bear its image's own name as well.
"""

from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, Split, folders

LOOKED_FOR = "<category>/train/good/* and <category>/test/<good or defect>/*"


def categories(root: Path) -> list[str]:
    return [path.name for path in folders(root) if is_category(path)]


def is_category(path: Path) -> bool:
    return (path / "train" / "good").is_dir() or ((path / "test").is_dir() and bool(folders(path / "test")))


def is_part(root: Path) -> bool:
    """Whether the folder is the test split, say, of a category that has its training images beside it."""
    root = root.resolve()
    return root.name in ("train", "test", "ground_truth") and (root.parent / "train" / "good").is_dir()


def claims(root: Path) -> bool:
    """Whether the folder or one in it has a split with `good`, as no other layout does: what else lies there is then
    no reason to take it for another one's."""
    return any((path / split / "good").is_dir() for path in (root, *folders(root)) for split in ("train", "test"))


def matches(root: Path) -> bool:
    return bool(categories(root))


def read(root: Path) -> Iterator[Sample]:
    for category in categories(root):
        yield from read_category(root / category)


def read_category(path: Path, *, normal: str = "good") -> Iterator[Sample]:
    """The samples of one category whose normal images lie in folders called `normal`."""
    if (path / "train" / normal).is_dir():
        yield from _read_folder(path, "train", path / "train" / normal, normal)
    for folder in folders(path / "test") if (path / "test").is_dir() else ():
        yield from _read_folder(path, "test", folder, normal)


def _read_folder(path: Path, split: Split, folder: Path, normal: str) -> Iterator[Sample]:
    is_normal = folder.name == normal
    masks = {} if is_normal else find_masks(path / "ground_truth" / folder.name)
    for image in decode.image_files(folder):
        yield Sample(
            image=image, category=path.name, split=split, label="good" if is_normal else folder.name,
            masks=(masks[image.stem],) if image.stem in masks else (),
        )  # fmt: skip


def find_masks(folder: Path) -> dict[str, Path]:
    """Mask files by the stem of the image that each belongs to; `<stem>_mask` goes before `<stem>`."""
    if not folder.is_dir():
        return {}
    files = decode.image_files(folder)
    plain = {path.stem: path for path in files}
    return plain | {path.stem.removesuffix("_mask"): path for path in files if path.stem.endswith("_mask")}


def mask_of(sample: Sample) -> str:
    truth = sample.image.parents[2] / "ground_truth" / sample.label
    return f"{truth / sample.image.stem}_mask.png or the same without '_mask'"


def hint(root: Path) -> str:
    root = root.resolve()
    if is_category(root):
        return f"this is one category, try its parent folder {root.parent}"
    if is_part(root):
        return f"this is a part of one category, try the folder of all categories {root.parents[1]}"
    return ""


READER = Reader(
    matches=matches, read=read, looked_for=LOOKED_FOR, hint=hint, categories=categories, mask_of=mask_of,
    left_alone=(), normals="{category}/{split}/good",
)  # fmt: skip
