"""A data folder looked through: counts, files that cannot be read, and truth that cannot be right."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from omnial_bench.data import cache, decode
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import Dataset, Truth, scan
from omnial_bench.data.doubts import Problem, look_over, look_over_categories, look_over_pairs
from omnial_bench.data.duplicates import MOST
from omnial_bench.data.inspection import Inspection, inspect
from omnial_bench.data.levels import Cut, choose_cut, together
from omnial_bench.data.readers.base import Reader, Sample, Split
from omnial_bench.data.readers.folders import NORMAL
from omnial_bench.data.splits import Filling
from omnial_bench.data.swapped import look_over_masks
from omnial_bench.data.unread import unread

Tell = Callable[[int, int], None]
"""Called with the images that are done and all of them."""


@dataclass(frozen=True)
class Count:
    """Images of one category; the published numbers are None where the data set is not known by name."""

    category: str
    train: int
    test_good: int
    test_defect: int
    defects: dict[str, int]
    published: tuple[int | None, int | None, int | None]
    masks: str
    """What the levels of its masks mean, in words; empty where there are no masks, or where they mean nothing."""


@dataclass(frozen=True)
class Verification:
    """What was found in a data folder; good where `problems` is empty. Fewer images than published is no problem."""

    root: str
    name: str
    layout: str
    labels: Truth
    counts: tuple[Count, ...]
    problems: tuple[Problem, ...]
    """With each of which a figure would be wrong, or there would be none."""
    warnings: tuple[Problem, ...]
    images: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(
    root: Path,
    categories: Sequence[str] | None = None,
    *,
    reader: str | Reader | None = None,
    trusted: Collection[str] = (),
    labels: Truth | None = None,
    size: decode.Size = (256, 256),
    tell: Tell | None = None,
) -> Verification:
    """Decode every image and mask in `root`, or of `categories`, each once, read as `find_dataset` does.

    `size` is the network's, at which a defect may vanish. UserError where there is no data set.
    """
    started = time.monotonic()
    dataset = scan(root, categories, reader=reader, trusted=trusted, labels=labels)
    problems: list[Problem] = []
    seen: dict[bytes, Sample] = {}
    counts, done = [], 0

    def tick() -> None:
        nonlocal done
        done += 1
        if tell is not None:
            tell(done, len(dataset.samples))

    for category in dataset.categories:
        samples = [sample for sample in dataset.samples if sample.category == category]
        looks: list[Inspection] = []
        for split in get_args(Split):
            looks += _looks(dataset, dataset.part(split, category), size, tick)
        values = [part for look in looks for part in look.values]
        cut = choose_cut(together(values)) if values else Cut()
        problems += _of_category(dataset, category, samples, cut)
        problems += look_over(dataset, samples, looks, cut, size) + look_over_pairs(dataset, samples, looks)
        problems += look_over_categories(dataset, samples, looks, seen)
        problems += () if cut.wrong else look_over_masks(dataset, samples, looks, cut)
        counts.append(_count(dataset, category, cut))
    if labels != "image":
        problems += unread(dataset, whole=categories is None)
    return Verification(
        root=str(root),
        name=dataset.name,
        layout=dataset.layout,
        labels=dataset.labels,
        counts=tuple(counts),
        problems=tuple(problem for problem in problems if problem.wrong),
        warnings=tuple(problem for problem in problems if not problem.wrong),
        images=len(dataset.samples),
        seconds=round(time.monotonic() - started, 3),
    )


class _Unfit(Exception):
    """What was decoded is not to be kept, for a part of it is missing."""


def _looks(
    dataset: Dataset, samples: Sequence[Sample], size: decode.Size, tick: Callable[[], None]
) -> list[Inspection]:
    """The inspections of a split, which is kept for runs at this size as it is decoded, if all of it can be."""
    looks: list[Inspection] = []
    whole = sum(sample.category == samples[0].category for sample in dataset.samples) <= MOST if samples else True

    def fill(arrays: cache.Arrays) -> None:
        looks.clear()
        filling = Filling(arrays, size)

        def look(index: int) -> Inspection:
            found, drawn = inspect(samples[index], size, whole=whole)
            if drawn is not None:
                filling.put(index, drawn)
            return found

        for found in cache.streamed(look, range(len(samples))):
            looks.append(found)
            tick()
        values = [part for found in looks for part in found.values]
        cut = choose_cut(together(values)) if values else Cut()
        bare = any(sample.label != "good" and not sample.masks for sample in samples)
        if cut.wrong or any(found.unusable for found in looks) or (bare and dataset.labels == "pixel"):
            raise _Unfit
        filling.end(cut)

    if samples:
        with suppress(_Unfit):
            dataset.decoded(samples, size, fill)
    if len(looks) != len(samples):
        for found in cache.streamed(lambda sample: inspect(sample, size, whole=whole)[0], samples):
            looks.append(found)
            tick()
    return looks


FEW = {"training images": 20, "normal test images": 5, "anomalous test images": 5}
"""Fewer than these are told, for figures made with them would say little."""


def _of_category(dataset: Dataset, category: str, samples: Sequence[Sample], cut: Cut) -> list[Problem]:
    """Masks that mean nothing or belong to no image, and too few images of a kind."""
    problems = []
    if cut.wrong:
        problems.append(Problem(category, f"cannot use its masks: {cut.wrong.partition('; ')[0]}", _remedy(cut.wrong)))
    kinds = {
        "training images": [one for one in samples if one.split == "train"],
        "normal test images": [one for one in samples if one.split == "test" and one.label == "good"],
        "anomalous test images": [one for one in samples if one.label != "good"],
    }
    places = {"training images": "train", "normal test images": "test"}
    for what, some in kinds.items():
        place = dataset.reader.normals.format(category=category, split=places[what]) if what in places else category
        if not some:
            problems.append(Problem(place, f"no {what}", "add some", wrong=what in places))
        elif len(some) < FEW[what]:
            remedy = f"add some: {FEW[what]} are few already"
            problems.append(Problem(place, f"only {len(some)} {what}", remedy, wrong=False))
    return problems + [
        Problem(
            category, f"{label!r}, a name of normal images, is read as a defect", "see docs/layouts.md for its place"
        )
        for label in sorted({sample.label for sample in samples})
        if label != "good" and label.casefold() in NORMAL
    ]


def _remedy(wrong: str) -> str:
    return wrong.partition("; ")[2]


def _count(dataset: Dataset, category: str, cut: Cut) -> Count:
    counts = dataset.counts()[category]
    defects = {name: number for name, number in counts["test"].items() if name != "good"}
    entry = CATALOG.get(dataset.name)
    known = entry.categories.get(category) if entry else None
    return Count(
        category=category,
        train=sum(counts["train"].values()),
        test_good=counts["test"].get("good", 0),
        test_defect=sum(defects.values()),
        defects=defects,
        published=(known.train, known.test_good, known.test_defect) if known else (None, None, None),
        masks=cut.words,
    )
