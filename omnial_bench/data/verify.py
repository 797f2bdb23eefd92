"""A data folder looked through: counts, files that cannot be read, masks that are missing or do not fit."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnial_bench.data import cache, decode
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import Dataset, File, find_masks, scan
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


def verify(root: Path) -> Verification:
    """Decode every image and mask in `root`; UserError only where there is no data set at all."""
    dataset = scan(root)
    problems = [
        problem for found in cache.in_parallel(lambda file: _check(root, file), dataset.files) for problem in found
    ]
    for category in dataset.categories:
        problems += _check_category(dataset, category)
    return Verification(
        root=str(root),
        name=dataset.name,
        layout=dataset.layout,
        counts=tuple(_count(dataset, category) for category in dataset.categories),
        problems=tuple(problems),
    )


def _check(root: Path, file: File) -> list[Problem]:
    problems = []
    original = None
    try:
        _, original = decode.read_image(file.path)
    except UserError as error:
        problems.append(_problem(root, file.path, error))
    if file.mask is not None:
        try:
            decode.read_mask(file.mask, original=original)
        except UserError as error:
            problems.append(_problem(root, file.mask, error))
    elif file.defect != "good":
        problems.append(Problem(file.path.relative_to(root).as_posix(), f"no mask in ground_truth/{file.defect}"))
    return problems


def _problem(root: Path, path: Path, error: UserError) -> Problem:
    return Problem(path.relative_to(root).as_posix(), str(error).replace(f" {path}", ""))


def _check_category(dataset: Dataset, category: str) -> list[Problem]:
    """Masks that belong to no image, and splits without normal images."""
    files = [file for file in dataset.files if file.category == category]
    problems = []
    if not any(file.split == "train" for file in files):
        problems.append(Problem(f"{category}/train/good", "no training images"))
    if not any(file.split == "test" and file.defect == "good" for file in files):
        problems.append(Problem(f"{category}/test/good", "no normal test images"))
    used = {file.mask for file in files}
    truth = dataset.root / category / "ground_truth"
    for folder in sorted(truth.iterdir()) if truth.is_dir() else []:
        orphans = {path for path in find_masks(folder).values() if path not in used}
        problems += [Problem(p.relative_to(dataset.root).as_posix(), "mask without an image") for p in sorted(orphans)]
    return problems


def _count(dataset: Dataset, category: str) -> Count:
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
    )
