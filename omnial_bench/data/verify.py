"""A data folder looked through: counts, files that cannot be read, and truth that cannot be right."""

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from omnial_bench.data import cache, decode
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import Dataset, Truth, scan
from omnial_bench.data.doubts import Problem, look_over, look_over_categories, look_over_pairs, warning
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
    counts, done = [], itertools.count(1)

    def tick() -> None:
        if tell is not None:
            tell(next(done), len(dataset.samples))

    for category in dataset.categories:
        looks: list[Inspection] = []
        for split in get_args(Split):
            looks += _looks(dataset, dataset.part(split, category), size, tick)
        cut = _cut_of(looks)
        problems += _of_category(dataset, category, looks, cut)
        problems += look_over(dataset, looks, cut, size)
        problems += look_over_pairs(dataset, looks)
        problems += look_over_categories(dataset, looks, seen)
        problems += () if cut.wrong else look_over_masks(dataset, looks, cut)
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

    def look(filling: Filling | None = None) -> None:
        def look_at(index: int) -> Inspection:
            inspection, drawn = inspect(samples[index], size, whole=whole)
            if filling is not None and drawn is not None:
                filling.put(index, drawn)
            return inspection

        looks.clear()
        for inspection in cache.streamed(look_at, range(len(samples))):
            looks.append(inspection)
            tick()

    def fill(arrays: cache.Arrays) -> None:
        filling = Filling(arrays, size)
        look(filling)
        cut = _cut_of(looks)
        bare = any(sample.label != "good" and not sample.masks for sample in samples)
        if cut.wrong or any(inspection.unusable for inspection in looks) or (bare and dataset.labels == "pixel"):
            raise _Unfit
        filling.end(cut)

    if samples:
        with suppress(_Unfit):
            dataset.decoded(samples, size, fill)
    if len(looks) != len(samples):
        look()
    return looks


def _cut_of(looks: Sequence[Inspection]) -> Cut:
    values = [part for look in looks for part in look.values]
    return choose_cut(together(values)) if values else Cut()


def _of_category(dataset: Dataset, category: str, looks: Sequence[Inspection], cut: Cut) -> Iterator[Problem]:
    """Masks that mean nothing or belong to no image, and too few images of a kind: figures would say little."""
    if cut.wrong:
        what, _, remedy = cut.wrong.partition("; ")
        yield Problem(category, f"cannot use its masks: {what}", remedy)
    samples = [look.sample for look in looks]
    tests = [sample.label == "good" for sample in samples if sample.split == "test"]
    kinds = {
        "training images": (len(samples) - len(tests), 20, "train"),
        "normal test images": (sum(tests), 5, "test"),
        "anomalous test images": (sum(sample.label != "good" for sample in samples), 5, ""),
    }
    for what, (count, few, split) in kinds.items():
        place = dataset.reader.normals.format(category=category, split=split) if split else category
        if not count:
            yield Problem(place, f"no {what}", "add some", wrong=bool(split))
        elif count < few:
            yield warning(place, f"only {count} {what}", f"add some: {few} are few already")
    for label in sorted({sample.label for sample in samples}):
        if label != "good" and label.casefold() in NORMAL:
            what = f"{label!r}, a name of normal images, is read as a defect"
            yield Problem(category, what, "see docs/layouts.md for its place")


def _count(dataset: Dataset, category: str, cut: Cut) -> Count:
    counts = dataset.counts()[category]
    defects = {name: number for name, number in counts["test"].items() if name != "good"}
    known = CATALOG[dataset.name].categories.get(category) if dataset.name in CATALOG else None
    return Count(
        category=category,
        train=sum(counts["train"].values()),
        test_good=counts["test"].get("good", 0),
        test_defect=sum(defects.values()),
        defects=defects,
        published=(known.train, known.test_good, known.test_defect) if known else (None, None, None),
        masks=cut.words,
    )
