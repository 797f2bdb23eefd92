"""What of a data set bears on the figures that are made with it, a sentence each: for the run folder and its report."""

from collections import Counter
from collections.abc import Sequence

from omnial_bench.data.dataset import Dataset

MOST, FRAME = 0.5, 0.9
"""Shares of an image and of its frame: what marks more of both may be inverted."""


def notes_of(dataset: Dataset, size: tuple[int, int]) -> list[str]:
    """The notes on the test images at `size`, (height, width), from what `load` has cached and the hashes of the files;
    none where all is well."""
    tested = {sample.category for sample in dataset.samples if sample.split == "test"}
    categories, notes = [name for name in dataset.categories if name in tested], []
    if twice := _trained_on(dataset, categories):
        notes.append(f"{_count(twice, 'test image')} lie among the training images too, to the byte; remove them.")
    if dataset.labels == "image":
        return [*notes, "Of this data only the labels of images are known: pixel figures are empty."]
    marks = [mark for name in categories for mark in dataset.marks(name, size)]
    if empty := [sample.category for sample, area, _, _ in marks if not area]:
        notes.append(f"The masks of {_count(empty, 'defect')} are empty: pixel figures leave them out.")
    if gone := [sample.category for sample, area, left, _ in marks if area and not left]:
        notes.append(f"{_count(gone, 'defect')} vanish at {size[0]}x{size[1]} pixels: pixel figures leave them out.")
    if around := [sample.category for sample, area, _, frame in marks if area > MOST and frame > FRAME]:
        notes.append(f"The masks of {_count(around, 'defect')} mark most of the image and its frame; see data verify.")
    return notes


def _trained_on(dataset: Dataset, categories: Sequence[str]) -> list[str]:
    """The category of each test image that is a training image as well, of whatever category."""
    hashes = {path: digest for name in dataset.categories for path, digest in dataset.hashes(name).items()}
    digests = {sample: hashes[dataset.place(sample.image)] for sample in dataset.samples}
    trained = {digest for sample, digest in digests.items() if sample.split == "train"}
    tests = [sample for sample in dataset.samples if sample.split == "test" and sample.category in categories]
    return [sample.category for sample in tests if digests[sample] in trained]


def _count(categories: Sequence[str], what: str) -> str:
    """As `12 defects (bottle 3, cable 9)`."""
    shares = ", ".join(f"{name} {number}" for name, number in sorted(Counter(categories).items()))
    return f"{len(categories)} {what}{'s' * (len(categories) != 1)} ({shares})"
