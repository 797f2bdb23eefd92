"""Plain folders: `ok`, `good` or `normal`, and any others, which are anomalous, with masks beside their images.

`<category>/<normal or defect>/**/<stem>` with `<stem>_mask`, `_gt` or `_label` in the same folder; `<category>` may be
the folder itself. Where a category has `train` and `test` between, they are kept, but under other names than those of
MVTec AD's layout. Else one normal image in five, by the hash of its path, is for the test.
"""

import glob
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Reader, Sample, Split, folders, inner_name, splits_by_hash

log = logging.getLogger(__name__)

NORMAL = frozenset({"ok", "good", "normal"})
SUFFIXES = ("_mask", "_gt", "_label")
NO_CATEGORY = frozenset({"train", "test", "ground_truth", "validation", "__MACOSX"})


def _is_normal(folder: Path) -> bool:
    return folder.name.casefold() in NORMAL


def _kinds(path: Path) -> list[Path]:
    """The folders in one but those of splits: of kinds of images, or of categories."""
    return [folder for folder in folders(path) if folder.name not in NO_CATEGORY]


def _is_flat(path: Path) -> bool:
    return len({_is_normal(kind) for kind in _kinds(path)}) == 2


def _is_split(path: Path) -> bool:
    return (path / "test").is_dir() and any(map(_is_normal, folders(path / "train")))


def _places(root: Path) -> list[Path]:
    """The folders of the categories: those in `root`, or itself."""
    if mvtec.claims(root) or mvtec.is_part(root):
        return []
    inner = [path for path in _kinds(root) if _is_flat(path) or _is_split(path)]
    return inner or ([root] if _is_flat(root) or _is_split(root) else [])


def _categories(root: Path) -> list[str]:
    return [path.resolve().name for path in _places(root)]


def _read(root: Path) -> Iterator[Sample]:
    for path in _places(root):
        yield from _read_split(path) if _is_split(path) else _read_flat(path)


def _read_split(path: Path) -> Iterator[Sample]:
    category = path.resolve().name
    for folder in folders(path / "train"):
        if _is_normal(folder):
            yield from _samples(folder, category, dict.fromkeys(_images(folder), "train"))
        else:
            log.warning("%s holds anomalous images to train on, which are left out", folder)
    for folder in folders(path / "test"):
        yield from _samples(folder, category, dict.fromkeys(_images(folder), "test"))


def _read_flat(path: Path) -> Iterator[Sample]:
    images = {folder: _images(folder) for folder in _kinds(path)}
    normals = [image for folder, inner in images.items() if _is_normal(folder) for image in inner]
    splits = splits_by_hash(path, normals)
    for folder, inner in images.items():
        yield from _samples(folder, path.resolve().name, {image: splits.get(image, "test") for image in inner})


def _images(folder: Path) -> list[Path]:
    """The images at any depth of a folder, without masks and what is hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if decode.is_image(path)
        and not path.stem.casefold().endswith(SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _samples(folder: Path, category: str, splits: Mapping[Path, Split]) -> Iterator[Sample]:
    label = "good" if _is_normal(folder) else folder.name
    for image, split in splits.items():
        masks = () if label == "good" else _masks(image)
        name = inner_name(folder, image)
        yield Sample(image=image, category=category, split=split, label=label, masks=masks, name=name)


def _masks(image: Path) -> tuple[Path, ...]:
    stems = {f"{image.stem}{suffix}".casefold() for suffix in SUFFIXES}
    beside = image.parent.glob(f"{glob.escape(image.stem)}_*")
    return tuple(sorted(path for path in beside if path.stem.casefold() in stems and decode.is_image(path)))


def _hint(root: Path) -> str:
    for path in () if mvtec.claims(root) or mvtec.is_part(root) else (root, *_kinds(root)):
        kinds = _kinds(path)
        if kinds and all(map(_is_normal, kinds)):
            return (
                f"{path} looks like plain folders: expected one of anomalous images beside {kinds[0].name}, found "
                f"{', '.join(kind.name for kind in kinds)} only"
            )
    return ""


READER = Reader(
    matches=lambda root: bool(_places(root)), read=_read, hint=_hint, categories=_categories, left_alone=(),
    looked_for="<category>/<ok, good or normal>/* and <category>/<defect>/* with masks",
    mask_of=lambda sample: f"{sample.image.with_name(f'{sample.image.stem}_mask.png')} (or _gt, _label)",
)  # fmt: skip
