"""Plain folders: `ok`, `good` or `normal`, and any others, which are anomalous, with masks beside their images.

`<category>/<normal or defect>/**/<stem>` with `<stem>_mask`, `_gt` or `_label` in the same folder; `<category>` may be
the folder itself. Where a category has `train` and `test` between, they are kept, but under other names than those of
MVTec AD's layout. Else one normal image in five, by the hash of its path, is for the test.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Reader, Sample, Split, folders, held_out

log = logging.getLogger(__name__)

NORMAL = frozenset({"ok", "good", "normal"})
SUFFIXES = ("_mask", "_gt", "_label")
NO_CATEGORY = frozenset({"train", "test", "ground_truth", "validation", "__MACOSX"})


def _is_normal(folder: Path) -> bool:
    return folder.name.casefold() in NORMAL


def _kinds(path: Path) -> list[Path]:
    """The folders of normal and of anomalous images of a category without splits."""
    return [folder for folder in folders(path) if folder.name not in NO_CATEGORY]


def _is_flat(path: Path) -> bool:
    kinds = _kinds(path)
    return any(map(_is_normal, kinds)) and not all(map(_is_normal, kinds))


def _is_split(path: Path) -> bool:
    parts = [path / "train", path / "test"]
    return all(part.is_dir() for part in parts) and any(map(_is_normal, folders(parts[0])))


def _places(root: Path) -> list[Path]:
    """The folders of the categories: those in `root`, or itself."""
    if mvtec.claims(root) or mvtec.is_part(root):
        return []
    inner = [path for path in folders(root) if path.name not in NO_CATEGORY]
    return [path for path in inner if _is_flat(path) or _is_split(path)] or (
        [root] if _is_flat(root) or _is_split(root) else []
    )


def categories(root: Path) -> list[str]:
    return [path.resolve().name for path in _places(root)]


def matches(root: Path) -> bool:
    return bool(_places(root))


def read(root: Path) -> Iterator[Sample]:
    for path, category in zip(_places(root), categories(root), strict=True):
        yield from _read_split(path, category) if _is_split(path) else _read_flat(path, category)


def _read_split(path: Path, category: str) -> Iterator[Sample]:
    for folder in folders(path / "train"):
        if _is_normal(folder):
            yield from (_sample(image, folder, category, "train") for image in _images(folder))
        else:
            log.warning("%s holds anomalous images to train on, which are left out", folder)
    for folder in folders(path / "test"):
        yield from (_sample(image, folder, category, "test") for image in _images(folder))


def _read_flat(path: Path, category: str) -> Iterator[Sample]:
    normals = [(image, folder) for folder in _kinds(path) if _is_normal(folder) for image in _images(folder)]
    tests = held_out(path, [image for image, _ in normals])
    for image, folder in normals:
        yield _sample(image, folder, category, "test" if image in tests else "train")
    for folder in _kinds(path):
        if not _is_normal(folder):
            yield from (_sample(image, folder, category, "test") for image in _images(folder))


def _images(folder: Path) -> list[Path]:
    """The images at any depth of a folder, without masks and what is hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if decode.is_image(path)
        and not path.stem.casefold().endswith(SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _sample(image: Path, folder: Path, category: str, split: Split) -> Sample:
    label = "good" if _is_normal(folder) else folder.name
    return Sample(
        image=image, category=category, split=split, label=label, masks=() if label == "good" else _masks(image),
        name="_".join((*image.relative_to(folder).parent.parts, image.stem)),
    )  # fmt: skip


def _masks(image: Path) -> tuple[Path, ...]:
    stems = {f"{image.stem}{suffix}".casefold() for suffix in SUFFIXES}
    beside = image.parent.glob(f"{_escaped(image.stem)}_*")
    return tuple(sorted(path for path in beside if path.stem.casefold() in stems and decode.is_image(path)))


def _escaped(stem: str) -> str:
    return "".join(f"[{one}]" if one in "*?[" else one for one in stem)


def hint(root: Path) -> str:
    places = [root, *(path for path in folders(root) if path.name not in NO_CATEGORY)]
    for path in () if mvtec.claims(root) or mvtec.is_part(root) else places:
        kinds = _kinds(path)
        if kinds and all(map(_is_normal, kinds)):
            return (
                f"{path} looks like plain folders: expected one of anomalous images beside {kinds[0].name}, found "
                f"{', '.join(kind.name for kind in kinds)} only"
            )
    return ""


def mask_of(sample: Sample) -> str:
    path = sample.image.with_name(f"{sample.image.stem}_mask.png")
    return f"{path} (or _gt, _label)"


READER = Reader(
    matches=matches, read=read, looked_for="<category>/<ok, good or normal>/* and <category>/<defect>/* with masks",
    hint=hint, categories=categories, mask_of=mask_of, left_alone=(),
)  # fmt: skip
