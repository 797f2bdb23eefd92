"""A data set in a folder: its samples, as the reader of its layout gives them, decoded and cached.

Without torch until images are loaded, so that a folder that is missing is told at once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from omnial_bench.data import cache, decode
from omnial_bench.data.catalog import guess_name
from omnial_bench.data.readers.base import Reader, Sample
from omnial_bench.data.readers.base import Split as Split
from omnial_bench.data.readers.registry import choose_reader, content
from omnial_bench.data.splits import fields_of, fill
from omnial_bench.errors import UserError, is_printable, unknown
from omnial_bench.io import whole as files
from omnial_bench.trust import is_foreign

if TYPE_CHECKING:
    import torch

    from omnial_bench.data.images import Images

log = logging.getLogger(__name__)

Truth = Literal["pixel", "image"]
"""What is known of a test image: which of its pixels are anomalous, or only whether it is."""


@dataclass(frozen=True)
class Dataset:
    """The chosen categories of one data set; samples by category, split (test after train), label and file."""

    name: str
    root: Path
    layout: str
    """The name of the reader."""
    reader: Reader
    categories: tuple[str, ...]
    samples: tuple[Sample, ...]
    named_by: Mapping[str, Any] = field(default_factory=dict)
    """What keys and provenance hold of a reader that the user named, as `readers.registry.Chosen` says, and of labels
    of images alone."""
    labels: Truth = "pixel"
    """`image` where no masks are read: what is anomalous is known of images alone."""
    _hashes: dict[str, dict[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Of the categories that were asked for: files are looked at once a process."""

    def place(self, path: Path) -> str:
        """A file's path below the root."""
        return path.relative_to(self.root).as_posix()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the relative paths and contents of all chosen images and masks: the same wherever they lie."""
        return fingerprint_of({path: digest for name in self.categories for path, digest in self.hashes(name).items()})

    def digests(self, split: Split, categories: Sequence[str]) -> dict[str, str]:
        """SHA-256 of each image and mask of a split, by its path below the root.

        Of a reader that the user named, together with the id: what it makes of a file need not stand in its path.
        """
        own = {
            self.place(path): sample.id
            for sample in self.samples
            if sample.split == split and sample.category in categories
            for path in sample.files
        }
        hashes = {path: digest for name in categories for path, digest in self.hashes(name).items() if path in own}
        if not self.named_by:
            return hashes
        return {path: hashlib.sha256(f"{digest}\0{own[path]}".encode()).hexdigest() for path, digest in hashes.items()}

    def hashes(self, category: str) -> dict[str, str]:
        """SHA-256 of each image and mask of a category, by its path below the root."""
        if category not in self._hashes:
            samples = [sample for sample in self.samples if sample.category == category]
            paths = sorted({path for sample in samples for path in sample.files}, key=lambda path: path.parts)

            def make() -> str:
                return json.dumps(dict(zip(map(self.place, paths), cache.streamed(files.sha256, paths), strict=True)))

            text = cache.remember_text(f"{category}-hashes", cache.file_stamps(self.root, paths), make)
            self._hashes[category] = json.loads(text)
        return self._hashes[category]

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Number of images by category, split and defect."""
        table: dict[str, dict[str, dict[str, int]]] = {name: {"train": {}, "test": {}} for name in self.categories}
        for sample in self.samples:
            part = table[sample.category][sample.split]
            part[sample.label] = part.get(sample.label, 0) + 1
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
        samples = [sample for part_samples, _ in parts for sample in part_samples]
        if any("masks" in tensors for _, tensors in parts):
            masks = _joined(
                tensors["masks"] if "masks" in tensors else torch.zeros((len(part), *size), dtype=torch.bool)
                for part, tensors in parts
            )
        else:
            # Normals only: one row of zeros seen many times, not a byte a pixel.
            masks = torch.zeros((1, *size), dtype=torch.bool).expand(len(samples), *size)
        return Images(
            images=_joined(tensors["images"] for _, tensors in parts),
            masks=masks,
            categories=tuple(sample.category for sample in samples),
            defects=tuple(sample.label for sample in samples),
            ids=tuple(sample.id for sample in samples),
            conditions=tuple(sample.condition for sample in samples),
        )

    def marks(self, category: str, size: tuple[int, int]) -> list[tuple[Sample, float, bool, float]]:
        """The anomalous test images of a category, what share of its file's pixels the masks of each mark, whether
        any of it is left at `size`, and what share of the frame is; from what `load` has cached."""
        samples, tensors = self._load("test", category, size)
        if "masks" not in tensors:
            return [(sample, 0.0, False, 0.0) for sample in samples if sample.label != "good"]
        masks = tensors["masks"]
        frame = (masks[:, [0, -1]].float().mean((1, 2)) + masks[:, :, [0, -1]].float().mean((1, 2))) / 2
        left, areas = masks.flatten(1).any(1).tolist(), tensors["areas"].tolist()
        every = zip(samples, areas, left, frame.tolist(), strict=True)
        return [mark for mark in every if mark[0].label != "good"]

    def _load(self, split: Split, category: str, size: tuple[int, int]) -> tuple[list[Sample], dict[str, torch.Tensor]]:
        samples = self.part(split, category)
        if not samples:
            place = self.root / category / split
            raise UserError(
                f"category {category!r} has no {split} images; expected some in {place}; add them or leave the "
                "category out"
            )
        self.require_masks(samples)
        return samples, self.decoded(samples, size, lambda arrays: fill(arrays, samples, size))

    def part(self, split: Split, category: str) -> list[Sample]:
        """The samples of one split of one category."""
        return [sample for sample in self.samples if sample.category == category and sample.split == split]

    def decoded(
        self, samples: Sequence[Sample], size: tuple[int, int], filled: Callable[[cache.Arrays], None]
    ) -> dict[str, torch.Tensor]:
        """What a split is kept as, see `splits.fields_of`: from the cache, or from `filled`, which decodes."""
        category, split = samples[0].category, samples[0].split
        stamps = cache.file_stamps(self.root, (path for sample in samples for path in sample.files))
        decided_by = [decode.VERSION, list(size), [sample.id for sample in samples], stamps]
        if self.named_by:
            decided_by.append([len(sample.masks) for sample in samples])
        name = f"{category}-{split}-{size[0]}x{size[1]}"
        return cache.remember_arrays(name, decided_by, fields_of(samples, size), filled)

    def require_masks(self, samples: Sequence[Sample]) -> None:
        """UserError naming the first anomalous image without a mask."""
        for sample in samples if self.labels == "pixel" else ():
            if sample.label != "good" and not sample.masks:
                raise UserError(
                    f"no mask for {sample.image}: expected {self.reader.mask_of(sample)}; add it, or do "
                    "without all masks by --labels image"
                )


def find_dataset(root: Path, categories: Sequence[str] | None = None, **settings: Any) -> Dataset:
    """As `scan`, with its settings; UserError where a defect image has no mask as well."""
    dataset = scan(root, categories, **settings)
    dataset.require_masks(dataset.samples)
    return dataset


def scan(
    root: Path,
    categories: Sequence[str] | None = None,
    *,
    name: str | None = None,
    reader: str | Reader | None = None,
    trusted: Collection[str] = (),
    labels: Truth | None = None,
) -> Dataset:
    """The data set in `root`, restricted to `categories` where given; its name is guessed from them unless given.

    It is read by the reader of its layout, or by `reader`: a name of READERS, one of `trusted`,
    `package.module:object`, or a Reader. UserError, one line, where the folder is missing, empty or in another layout,
    for an unknown category, and for code that is not trusted.

    With `labels` of `image` no mask is read; None takes them so where the whole folder has no mask and an anomalous
    image. UserError for `pixel` there.
    """
    read_by = choose_reader(root, reader, trusted=trusted)
    samples = read_by.read(root)
    if labels not in (None, *get_args(Truth)):
        raise unknown("kind of labels", str(labels), get_args(Truth))
    bare = not any(sample.masks for sample in samples) and any(sample.label != "good" for sample in samples)
    if bare and labels is None:
        log.info("%s has no masks: image labels alone, so that pixel figures stay empty", root)
    labels = labels or ("image" if bare else "pixel")
    if labels == "image":
        samples = [replace(sample, masks=()) for sample in samples]
    known = read_by.categories(root, samples)
    _check_names(root, map(Path, known))
    chosen = tuple(known) if categories is None else check_categories(categories, known)
    samples = [sample for sample in samples if sample.category in chosen]
    if not samples:
        empty = root / chosen[0] if chosen and (root / chosen[0]).is_dir() else root
        raise UserError(f"no images in {root}: expected {read_by.reader.looked_for}; {content(empty)}")
    # As they lie, whatever order the reader gives: that of a folder differs between file systems.
    samples.sort(key=lambda item: (item.category, item.split != "train", item.label, item.image.parts))
    _check_names(root, (path.relative_to(root) for sample in samples for path in sample.files))
    _check_distinct(samples)
    return Dataset(
        name=name or guess_name(known), root=root, layout=read_by.name, reader=read_by.reader, categories=chosen,
        samples=tuple(samples), labels=labels,
        named_by={**read_by.named_by, **({"labels": "image"} if labels == "image" else {})},
    )  # fmt: skip


def check_root(root: Path, categories: Collection[str] = (), *, reader: str | None = None) -> None:
    """UserError as of `scan` where there is no data set in `root`, or not these categories. No file is looked at, and a
    reader from elsewhere is not asked."""
    if reader is not None and is_foreign(reader):
        return
    read_by = choose_reader(root, reader)
    if categories:
        # All of it is listed where nothing less says what categories there are.
        samples = read_by.read(root) if read_by.reader.categories is None else ()
        check_categories(tuple(categories), read_by.categories(root, samples))


def check_categories(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The wanted categories, sorted, each once; UserError for an unknown one."""
    for name in wanted:
        if name not in known:
            raise unknown("category", name, known)
    if not wanted:
        raise UserError(f"no category given; known: {', '.join(known)}")
    return tuple(sorted(set(wanted)))


def _check_distinct(samples: Sequence[Sample]) -> None:
    seen: dict[str, Path] = {}
    for sample in samples:
        if (first := seen.get(sample.id)) is not None:
            raise UserError(f"two images have one name, {first} and {sample.image.name}; rename or remove one")
        seen[sample.id] = sample.image


def _check_names(root: Path, paths: Iterable[Path]) -> None:
    """UserError for a name that no table, document or record of a set could hold."""
    for path in paths:
        if not is_printable(path.as_posix()):
            raise UserError(f"cannot use {root / path}: its name holds characters that cannot be printed; rename it")


def _joined(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """One part alone is not copied."""
    import torch

    first, *others = parts
    return torch.cat([first, *others]) if others else first


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the paths and hashes of files."""
    lines = (f"{path}\0{digests[path]}\n" for path in sorted(digests, key=lambda path: path.split("/")))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
