"""KolektorSDD and KolektorSDD2: one category of images, each with a mask beside it, which alone says what is anomalous.

KolektorSDD are fifty commutators, photographed some eight times each: `kos<nn>/Part<n>.jpg` with
`kos<nn>/Part<n>_label.bmp` (Tabernik et al., "Segmentation-based deep-learning approach for surface-defect detection",
Journal of Intelligent Manufacturing 31, 2020). There is no split: the normal images of one commutator in five, by a
hash of its name, are for the test, and so are all anomalous ones. Most commutators have a defect, so that one may be in
both.

KolektorSDD2 has `train/<n>.png` with `train/<n>_GT.png`, and `test/` likewise (Bozic et al., "Mixed supervision for
surface-defect detection", Computers in Industry 129, 2021). Anomalous training images are left out, for one class is
trained on.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data import cache, decode
from omnial_bench.data.levels import choose_cut, measure, read_levels, together
from omnial_bench.data.readers.base import Reader, Sample, Split, folders, splits_by_hash
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

VERSION = 4
"""Raised where what counts as anomalous changes, so that what older code remembered is not found."""
SPLITS: tuple[Split, ...] = ("train", "test")


def _commutators(root: Path) -> list[Path]:
    return [path for path in folders(root) if path.name.startswith("kos") and path.name[3:].isdigit()]


def _matches_first(root: Path) -> bool:
    return any(any(item.glob("*_label.*")) for item in _commutators(root))


def _read_first(root: Path) -> Iterator[Sample]:
    items = _commutators(root)
    splits = splits_by_hash(root, items)
    files = [path for item in items for path in decode.image_files(item)]
    for sample in _judged(root, files, "_label.bmp", "KolektorSDD"):
        split = "test" if sample.masks else splits[sample.image.parent]
        yield replace(sample, split=split, name=f"{sample.image.parent.name}_{sample.image.stem}")


def _hint_first(root: Path) -> str:
    items = _commutators(root)
    if not items or _matches_first(root):
        return ""
    return f"looks like KolektorSDD: expected {items[0].name}/Part<n>_label.bmp beside each Part<n>.jpg"


def _lacks_masks(root: Path) -> list[str]:
    return [split for split in SPLITS if not any((root / split).glob("*_GT.*"))]


def _read_second(root: Path) -> Iterator[Sample]:
    # The published archive holds an image that was copied by mistake, `10301 (copy).png`.
    files = [path for split in SPLITS for path in decode.image_files(root / split) if "(copy)" not in path.stem]
    left_out = 0
    for sample in _judged(root, files, "_GT.png", "KolektorSDD2"):
        if sample.image.parent.name == "test":
            yield sample
        elif not sample.masks:
            yield replace(sample, split="train")
        else:
            left_out += 1
    if left_out:
        log.info("%d anomalous images in %s are left out of training", left_out, root / "train")


def _hint_second(root: Path) -> str:
    lacks = _lacks_masks(root)
    if len(lacks) != 1:
        return ""
    (has,) = set(SPLITS) - set(lacks)
    return f"looks like KolektorSDD2: expected {lacks[0]}/*_GT.png, found {has}/*_GT.png only"


def _judged(root: Path, files: Iterable[Path], suffix: str, title: str) -> Iterator[Sample]:
    """Each image among some files, for the test: a defect where its mask marks a pixel, by the levels of all masks."""
    ending, by_stem, pairs = Path(suffix).stem, {path.with_suffix(""): path for path in files}, {}
    for stem, image in by_stem.items():
        if not stem.name.endswith(ending):
            if (mask := stem.with_name(f"{stem.name}{ending}")) not in by_stem:
                raise UserError(f"no mask for {image}: expected {stem}{suffix}, as all of {title}; add it")
            pairs[image] = by_stem[mask]
    masks = list(pairs.values())

    def decide() -> str:
        values = list(cache.streamed(lambda mask: measure(read_levels(mask), mask), masks))
        cut = choose_cut(together(values))
        marks = [any(part.counts[cut.above + 1 :]) for part in values]
        if wrong := cut.wrong or ("" if any(marks) else "none marks anything; obtain them again"):
            raise UserError(f"cannot tell normal images from others by the {len(masks)} masks in {root}: {wrong}")
        return "".join("01"[mark] for mark in marks)

    category = title.casefold()
    answers = cache.remember_text(f"{category}-labels", [VERSION, cache.file_stamps(root, masks)], decide)
    for (image, mask), answer in zip(pairs.items(), answers, strict=True):
        label, truth = ("defect", (mask,)) if answer == "1" else ("good", ())
        yield Sample(image=image, category=category, split="test", label=label, masks=truth)


KOLEKTORSDD = Reader(
    matches=_matches_first, read=_read_first, hint=_hint_first,
    looked_for="kos<nn>/Part<n>.jpg and kos<nn>/Part<n>_label.bmp",
    mask_of=lambda sample: f"{sample.image.with_suffix('')}_label.bmp", normals="kos<nn>", left_alone=(),
)  # fmt: skip
KOLEKTORSDD2 = Reader(
    matches=lambda root: not _lacks_masks(root), read=_read_second, hint=_hint_second,
    looked_for="train/* and test/*, each image with <stem>_GT.png beside it",
    mask_of=lambda sample: f"{sample.image.with_suffix('')}_GT.png", normals="{split}", left_alone=("train/*",),
)  # fmt: skip
