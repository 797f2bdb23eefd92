"""Folders of images in MVTec AD's layout and in VisA's official one-class layout.

Without torch until images are loaded, so that a folder that is missing is told at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from omnial_bench.data import cache, decode
from omnial_bench.data.catalog import guess_name
from omnial_bench.errors import UserError, is_printable, unknown
from omnial_bench.io import whole as files

if TYPE_CHECKING:
    import torch

    from omnial_bench.data.images import Images

Split = Literal["train", "test"]
Layout = Literal["mvtec", "visa"]
LOOKED_FOR = "<category>/train/good/* and <category>/test/<good or defect>/*"


@dataclass(frozen=True)
class File:
    """One image file; `mask` is None for a normal image and where a defect's mask is missing."""

    category: str
    split: Split
    defect: str
    path: Path
    mask: Path | None

    @property
    def id(self) -> str:
        return f"{self.category}/{self.split}/{self.defect}/{self.path.stem}"


@dataclass(frozen=True)
class Dataset:
    """The files of the chosen categories of one data set, sorted by category, split (test after train) and id."""

    name: str
    root: Path
    layout: Layout
    categories: tuple[str, ...]
    files: tuple[File, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the relative paths and contents of all chosen images and masks: the same wherever they lie."""
        return fingerprint_of(
            {path: digest for name in self.categories for path, digest in self._digests(name).items()}
        )

    def digests(self, split: Split, categories: Sequence[str]) -> dict[str, str]:
        """SHA-256 of each image and mask of a split, by its path below the root."""
        own = {
            path.relative_to(self.root).as_posix()
            for file in self.files
            if file.split == split and file.category in categories
            for path in (file.path, file.mask)
            if path is not None
        }
        return {path: digest for name in categories for path, digest in self._digests(name).items() if path in own}

    def _digests(self, category: str) -> dict[str, str]:
        paths = sorted({p for f in self.files if f.category == category for p in (f.path, f.mask) if p is not None})
        stamps = cache.file_stamps(self.root, paths)
        text = cache.remember_text(f"{category}-hashes", stamps, lambda: json.dumps(_hashes(self.root, paths)))
        found: dict[str, str] = json.loads(text)
        return found

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Number of images by category, split and defect."""
        table: dict[str, dict[str, dict[str, int]]] = {name: {"train": {}, "test": {}} for name in self.categories}
        for file in self.files:
            part = table[file.category][file.split]
            part[file.defect] = part.get(file.defect, 0) + 1
        return table

    def load(self, split: Split, categories: Sequence[str] | None, size: tuple[int, int]) -> Images:
        """The images of a split at `size` (height, width), on the CPU as bytes; `categories` None takes all.

        Decoded once and cached. UserError for an unknown or empty category, a file that cannot be decoded, and a mask
        that is missing or of another size than its image.
        """
        import torch

        from omnial_bench.data.images import Images

        chosen = self.categories if categories is None else check_categories(categories, self.categories)
        parts = [self._load(split, category, size) for category in chosen]
        files = [file for part_files, _, _ in parts for file in part_files]
        images = [images for _, images, _ in parts]
        if all(masks is None for _, _, masks in parts):
            # Normals only: one row of zeros seen many times, not a byte a pixel.
            masks = torch.zeros((1, *size), dtype=torch.bool).expand(len(files), *size)
        else:
            full = [torch.zeros((len(f), *size), dtype=torch.bool) if m is None else m for f, _, m in parts]
            masks = full[0] if len(full) == 1 else torch.cat(full)
        return Images(
            images=images[0] if len(images) == 1 else torch.cat(images),
            masks=masks,
            categories=tuple(file.category for file in files),
            defects=tuple(file.defect for file in files),
            ids=tuple(file.id for file in files),
        )

    def _load(
        self, split: Split, category: str, size: tuple[int, int]
    ) -> tuple[list[File], torch.Tensor, torch.Tensor | None]:
        files = [file for file in self.files if file.category == category and file.split == split]
        if not files:
            raise UserError(
                f"category {category!r} has no {split} images; expected some in "
                f"{self.root / category / split}; add them or leave the category out"
            )
        require_masks(files)
        paths = [path for file in files for path in (file.path, file.mask) if path is not None]
        decided_by = [decode.VERSION, list(size), [file.id for file in files], cache.file_stamps(self.root, paths)]
        name = f"{category}-{split}-{size[0]}x{size[1]}"
        tensors = cache.remember(name, decided_by, lambda: _decode(files, size))
        return files, tensors["images"], tensors.get("masks")


def find_dataset(root: Path, categories: Sequence[str] | None = None, *, name: str | None = None) -> Dataset:
    """The data set in `root`, restricted to `categories` where given; its name is guessed from them unless given.

    UserError, one line, where the folder is missing, empty or in another layout, for an unknown category, and where a
    defect image has no mask.
    """
    dataset = scan(root, categories, name=name)
    require_masks(dataset.files)
    return dataset


def scan(root: Path, categories: Sequence[str] | None = None, *, name: str | None = None) -> Dataset:
    """As `find_dataset`, but masks may be missing."""
    known = _find_categories(root)
    chosen = known if categories is None else check_categories(categories, known)
    files = tuple(file for category in chosen for file in _find_files(root, category))
    if not files:
        raise UserError(f"no images in {root}: expected {LOOKED_FOR}; {_found(root / chosen[0])}")
    return Dataset(name=name or guess_name(known), root=root, layout=_layout(files), categories=chosen, files=files)


def check_root(root: Path, categories: Collection[str] = ()) -> None:
    """UserError as of `scan` where there is no data set in `root`, or not these categories; no file is looked at."""
    known = _find_categories(root)
    if categories:
        check_categories(tuple(categories), known)


def check_categories(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The wanted categories, sorted, each once; UserError for an unknown one."""
    for name in wanted:
        if name not in known:
            raise unknown("category", name, known)
    if not wanted:
        raise UserError(f"no category given; known: {', '.join(known)}")
    return tuple(sorted(set(wanted)))


def require_masks(files: Sequence[File]) -> None:
    """UserError naming the first defect image without a mask."""
    for file in files:
        if file.defect != "good" and file.mask is None:
            expected = file.path.parents[2] / "ground_truth" / file.defect / f"{file.path.stem}_mask.png"
            raise UserError(f"no mask for {file.path}: expected {expected} or the same without '_mask'; add it")


def _find_categories(root: Path) -> tuple[str, ...]:
    if not root.exists():
        raise UserError(f"no data folder at {root}: expected {LOOKED_FOR} in it; check the path")
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: expected one with {LOOKED_FOR}; give the folder")
    try:
        found = tuple(path.name for path in _folders(root) if _is_category(path))
        if found:
            _check_names(root, map(Path, found))
            return found
        raise UserError(f"no data set in {root}: looked for {LOOKED_FOR}; {_found(root)}{_hint(root)}")
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: permission denied; change its permissions") from error


def _is_category(path: Path) -> bool:
    return (path / "train" / "good").is_dir() or ((path / "test").is_dir() and bool(_folders(path / "test")))


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _found(root: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    if not names:
        return "found nothing, the folder is empty"
    return f"found {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}"


def _hint(root: Path) -> str:
    if _is_category(root):
        return f"; this is one category, try its parent folder {root.resolve().parent}"
    for folder in _folders(root):
        if any(_is_category(inner) for inner in _folders(folder)):
            return f"; try {folder}"
        if (folder / "Data" / "Images").is_dir():
            return "; this is VisA as downloaded, omnial-bench data download visa brings it to the one-class layout"
    return ""


def _find_files(root: Path, category: str) -> list[File]:
    files = _split_files(category, "train", [root / category / "train" / "good"])
    files += _split_files(category, "test", _test_folders(root / category))
    _check_names(root, (path.relative_to(root) for file in files for path in (file.path, file.mask) if path))
    seen: dict[str, Path] = {}
    for file in files:
        if file.id in seen:
            raise UserError(f"two images have one name, {seen[file.id]} and {file.path.name}; rename or remove one")
        seen[file.id] = file.path
    return files


def _check_names(root: Path, paths: Iterable[Path]) -> None:
    """UserError for a name that no table, document or record of a set could hold."""
    for path in paths:
        if not is_printable(path.as_posix()):
            raise UserError(f"cannot use {root / path}: its name holds characters that cannot be printed; rename it")


def _split_files(category: str, split: Split, folders: Sequence[Path]) -> list[File]:
    files = []
    for folder in folders:
        if folder.is_dir():
            masks = {} if folder.name == "good" else find_masks(folder.parents[1] / "ground_truth" / folder.name)
            files += [
                File(category, split, folder.name, path, masks.get(path.stem)) for path in decode.image_files(folder)
            ]
    return files


def _test_folders(category: Path) -> list[Path]:
    return _folders(category / "test") if (category / "test").is_dir() else []


def find_masks(folder: Path) -> dict[str, Path]:
    """Mask files by the stem of the image that each belongs to; `<stem>_mask` goes before `<stem>`."""
    if not folder.is_dir():
        return {}
    files = decode.image_files(folder)
    plain = {path.stem: path for path in files}
    return plain | {path.stem.removesuffix("_mask"): path for path in files if path.stem.endswith("_mask")}


def _layout(files: Sequence[File]) -> Layout:
    """VisA's one-class layout has one defect folder, `bad`, and masks of the image's own name."""
    defects = {file.defect for file in files if file.split == "test"}
    suffixed = any(file.mask is not None and file.mask.stem.endswith("_mask") for file in files)
    return "visa" if "bad" in defects and defects <= {"good", "bad"} and not suffixed else "mvtec"


def _hashes(root: Path, paths: Sequence[Path]) -> dict[str, str]:
    hashes = cache.in_parallel(files.sha256, paths)
    return {path.relative_to(root).as_posix(): digest for path, digest in zip(paths, hashes, strict=True)}


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the paths and hashes of files."""
    lines = (f"{path}\0{digests[path]}\n" for path in sorted(digests, key=lambda path: path.split("/")))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _decode(files: Sequence[File], size: tuple[int, int]) -> dict[str, torch.Tensor]:
    import torch

    images = np.empty((len(files), 3, *size), np.uint8)
    masks = np.zeros((len(files), *size), bool)

    def read(index: int) -> None:
        file = files[index]
        pixels, original = decode.read_image(file.path, size)
        images[index] = pixels.transpose(2, 0, 1)
        if file.mask is not None:
            masks[index] = decode.read_mask(file.mask, size, original=original)

    cache.in_parallel(read, range(len(files)))
    tensors = {"images": torch.from_numpy(images)}
    if any(file.mask is not None for file in files):
        tensors["masks"] = torch.from_numpy(masks)
    return tensors
