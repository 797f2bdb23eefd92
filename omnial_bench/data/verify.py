"""A data folder looked through: counts, files that cannot be read, masks that are missing or do not fit."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnial_bench.data import cache, decode
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import Dataset, scan
from omnial_bench.data.levels import Cut, Values, choose_cut, measure, read_levels, together
from omnial_bench.data.readers.base import Reader, Sample
from omnial_bench.errors import UserError


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one file; `path` is relative to the data folder."""

    path: str
    what: str


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
    counts: tuple[Count, ...]
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(root: Path, *, reader: str | Reader | None = None, trusted: Collection[str] = ()) -> Verification:
    """Decode every image and mask in `root`, read as `find_dataset` does; UserError where there is no data set."""
    dataset = scan(root, reader=reader, trusted=trusted)
    looked = cache.in_parallel(lambda sample: _check(dataset, sample), dataset.samples)
    problems = [problem for part, _ in looked for problem in part]
    cuts = {}
    for category in dataset.categories:
        pairs = zip(dataset.samples, looked, strict=True)
        values = [part for sample, (_, parts) in pairs if sample.category == category for part in parts]
        cuts[category] = choose_cut(together(values)) if values else Cut()
        problems += _check_category(dataset, category, cuts[category])
    return Verification(
        root=str(root),
        name=dataset.name,
        layout=dataset.layout,
        counts=tuple(_count(dataset, category, cuts[category]) for category in dataset.categories),
        problems=tuple(problems),
    )


def _check(dataset: Dataset, sample: Sample) -> tuple[list[Problem], list[Values]]:
    """What is wrong with an image and its masks, and the levels of these."""
    root, problems, values, original = dataset.root, [], [], None
    try:
        _, original = decode.read_image(sample.image)
    except UserError as error:
        problems.append(_problem(root, sample.image, error))
    for mask in sample.masks:
        try:
            values.append(measure(read_levels(mask, original=original)))
        except UserError as error:
            problems.append(_problem(root, mask, error))
    if dataset.labels == "pixel" and sample.label != "good" and not sample.masks:
        problems.append(Problem(sample.image.relative_to(root).as_posix(), _without_mask(dataset, sample)))
    return problems, values


def _without_mask(dataset: Dataset, sample: Sample) -> str:
    folder = Path(dataset.reader.mask_of(sample)).parent
    for home in (dataset.root / sample.category, dataset.root):
        if folder.is_relative_to(home) and folder != home:
            return f"no mask in {folder.relative_to(home).as_posix()}"
    return "no mask"


def _problem(root: Path, path: Path, error: UserError) -> Problem:
    return Problem(path.relative_to(root).as_posix(), str(error).replace(f" {path}", ""))


def _check_category(dataset: Dataset, category: str, cut: Cut) -> list[Problem]:
    """Masks that mean nothing or belong to no image, and splits without normal images."""
    samples = [sample for sample in dataset.samples if sample.category == category]
    problems = [Problem(category, f"cannot use its masks: {cut.wrong}")] if cut.wrong else []
    for split, what in (("train", "no training images"), ("test", "no normal test images")):
        if not any(sample.split == split and sample.label == "good" for sample in samples):
            problems.append(Problem(dataset.reader.normals.format(category=category, split=split), what))
    used = {mask for sample in samples for mask in sample.masks}
    orphans = {path for path in dataset.reader.mask_files(dataset.root, category) if path not in used}
    lost = [path.relative_to(dataset.root).as_posix() for path in sorted(orphans)]
    return problems + [Problem(path, "mask without an image") for path in lost]


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
