"""What the inspected samples of a category say against it: each doubt with its file, a number and what to do."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.dataset import Dataset
from omnial_bench.data.duplicates import pairs_alike, turned_alike
from omnial_bench.data.inspection import Inspection
from omnial_bench.data.levels import NEAR_BLACK, NEAR_WHITE, Cut
from omnial_bench.data.readers.base import Sample

NEARLY_ALL = 0.95
"""Of the frame: a mask that marks more is doubted."""
THE_REST = 0.8
"""Of a category: where as many images are alike in size or mode, the others are named."""
FEW = 4
"""Sizes, modes or formats of a category: of more, it is no wonder where two kinds of images share none."""
DARK = 32
"""A category whose images have no brighter level has its levels at the wrong scale, as 12 bits stored in 16."""
MANY = 5
"""Images of either kind, so that something may be said of all of them."""
BLACK = 8
"""Rows of a small copy: an image with more of them that are black is doubted, where hardly another one has any."""
APART = 1.1
"""Times as bright as any of the others, or as much less: images of which each is are not taken alike."""
NO_MASK = 0.2
"""Of a mask: more of grey levels that are neither nearly black nor nearly white is no drawing with grey edges."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one file; `path` is relative to the data folder."""

    path: str
    what: str
    remedy: str = ""
    wrong: bool = True
    """Whether a figure would be wrong, or missing, with it; else it is a warning."""


def look_over(
    dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Inspection], cut: Cut, size: decode.Size
) -> list[Problem]:
    """What is wrong with single samples of a category, and with those that are unlike the rest."""
    problems: list[Problem] = []
    for sample, look in zip(samples, looks, strict=True):
        problems += _unusable(dataset, look)
        problems += _of_masks(dataset, sample, look, cut, size)
        problems += _of_image(dataset, sample, look)
    problems += _unlike(dataset, samples, looks) + _like_masks(dataset, samples, looks)
    return problems + _apart(samples, looks)


def _unusable(dataset: Dataset, look: Inspection) -> list[Problem]:
    problems = []
    for path, told in look.unusable:
        what, _, remedy = told.replace(f" {path}", "").partition("; ")
        problems.append(Problem(_place(dataset, path), what, remedy))
    return problems


def _of_image(dataset: Dataset, sample: Sample, look: Inspection) -> list[Problem]:
    problems = []
    if look.orientation != 1:
        what = f"its EXIF says orientation {look.orientation}, which is not applied"
        remedy = "store the image as it is seen, without the tag, and the mask on the same pixels"
        problems.append(Problem(_place(dataset, sample.image), what, remedy, wrong=bool(sample.masks)))
    if look.levels[0] == look.levels[1]:
        what = f"every pixel has level {look.levels[0]}"
        problems.append(Problem(_place(dataset, sample.image), what, "replace or remove it", wrong=False))
    return problems


def _of_masks(dataset: Dataset, sample: Sample, look: Inspection, cut: Cut, size: decode.Size) -> list[Problem]:
    if sample.label == "good" or dataset.labels == "image":
        return []
    if not sample.masks:
        return [Problem(_place(dataset, sample.image), _without_mask(dataset, sample), "add it, or use --labels image")]
    if not look.marked or cut.wrong:
        return []
    path, marked = _place(dataset, sample.masks[0]), look.marked[cut.above]
    if cut.above and any(_is_photograph(value.counts) for value in look.values):
        return [Problem(path, "its grey levels are those of a photograph", "give the mask, black and white")]
    if any(value.inverted for value in look.values):
        what = f"marks {marked.share:.0%} of the image and its frame, as an inverted mask does"
        return [Problem(path, what, "invert it: the defect is white")]
    if not marked.share:
        return [Problem(path, "marks nothing", "draw it; until then pixel figures leave the image out", wrong=False)]
    if marked.share > NEARLY_ALL:
        return [
            Problem(path, f"marks {marked.share:.0%} of the image", "look whether all of it is defect", wrong=False)
        ]
    if not marked.left:
        what = f"marks {marked.share:.4%} of the image, of which at {size[0]}x{size[1]} nothing is left"
        return [Problem(path, what, "take a larger size; pixel figures leave the image out", wrong=False)]
    return []


def _is_photograph(counts: Sequence[int]) -> bool:
    return sum(counts[NEAR_BLACK + 1 : NEAR_WHITE]) > NO_MASK * sum(counts)


def _without_mask(dataset: Dataset, sample: Sample) -> str:
    folder = Path(dataset.reader.mask_of(sample)).parent
    for home in (dataset.root / sample.category, dataset.root):
        if folder.is_relative_to(home) and folder != home:
            return f"no mask in {folder.relative_to(home).as_posix()}"
    return "no mask"


def _unlike(dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Inspection]) -> list[Problem]:
    """Images of another size, mode or format than most of their category, or that most of them vary; or by which normal
    test images are told from anomalous ones."""
    usable = [(sample, look) for sample, look in zip(samples, looks, strict=True) if look.mode]
    problems: list[Problem] = []
    kinds: dict[str, Callable[[Inspection], str]] = {
        "pixels": lambda look: f"{look.size[1]}x{look.size[0]}",
        "mode": lambda look: look.mode,
        "format": lambda look: look.format,
    }
    for what, kind in kinds.items():
        counts = Counter(kind(look) for _, look in usable)
        most, number = counts.most_common(1)[0] if counts else ("", 0)
        normal, anomalous = (
            {kind(look) for sample, look in usable if sample.split == "test" and (sample.label == "good") == good}
            for good in (True, False)
        )
        if normal and anomalous and normal.isdisjoint(anomalous) and len(counts) <= FEW:
            text = f"{what} {', '.join(sorted(normal))} of normal test images, {', '.join(sorted(anomalous))} of others"
            problems.append(Problem(samples[0].category, text, "make them alike: it gives the label away", wrong=False))
            continue
        for sample, look in usable if THE_REST * len(usable) <= number < len(usable) else ():
            if kind(look) != most:
                text = f"{what} {kind(look)}, unlike {number} of {len(usable)} images, {most}"
                problems.append(Problem(_place(dataset, sample.image), text, "make it like the rest", wrong=False))
        if number < THE_REST * len(usable):
            text = f"{len(counts)} kinds of {what}, the most frequent {most} in {number} of {len(usable)} images"
            problems.append(Problem(samples[0].category, text, "all are brought to the network's", wrong=False))
    return problems


def _like_masks(dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Inspection]) -> list[Problem]:
    """Masks that are read as images, where most images are none; and images that are all dark."""
    usable = [(sample, look) for sample, look in zip(samples, looks, strict=True) if look.mode]
    few = [sample for sample, look in usable if look.few_colours and look.signature]
    what, remedy = (
        "has 4 colours at most, as a mask has, and is read as an image",
        "name it or move it as its layout says",
    )
    problems = [Problem(_place(dataset, one.image), what, remedy) for one in few if 2 * len(few) < len(samples)]
    dark = [sample for sample, look in usable if look.black_rows > BLACK and not look.few_colours]
    if 20 * len(dark) < len(usable):
        what = "a part of it is black from edge to edge, as where a file ends too early"
        problems += [Problem(_place(dataset, one.image), what, "look at it", wrong=False) for one in dark]
    top = max((look.levels[1] for _, look in usable), default=255)
    if top < DARK:
        what = f"the brightest of its images has level {top} of 255"
        problems.append(Problem(samples[0].category, what, "scale them to the whole range", wrong=False))
    return problems


def _apart(samples: Sequence[Sample], looks: Sequence[Inspection]) -> list[Problem]:
    """Normal test images that are all brighter, darker, of another colour or blurred beside the training images, or
    anomalous ones beside all normal ones: what sets them apart is then not their defects."""
    usable = [(sample, look.light) for sample, look in zip(samples, looks, strict=True) if look.light]
    trains = [light for sample, light in usable if sample.split == "train"]
    tests = [light for sample, light in usable if sample.split == "test" and sample.label == "good"]
    others = [light for sample, light in usable if sample.label != "good"]
    problems = []
    for what, some, than, rest in (
        ("normal test images", tests, "training images", trains),
        ("anomalous images", others, "normal images", trains + tests),
    ):
        for at, sign in enumerate(("mean of red", "mean of green", "mean of blue", "mean step between neighbours")):
            own, theirs = [light[at] for light in some], [light[at] for light in rest]
            if min(len(own), len(theirs)) >= MANY and (
                min(own) > APART * max(theirs) or APART * max(own) < min(theirs)
            ):
                text = (
                    f"{sign} {min(own):.1f} to {max(own):.1f} in all {what}, {min(theirs):.1f} to {max(theirs):.1f} "
                    f"in {than}"
                )
                problems.append(Problem(samples[0].category, text, "look whether they were taken alike", wrong=False))
                break
    return problems


def look_over_pairs(dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Inspection]) -> list[Problem]:
    """Images that are there twice: wrong where one is trained on and the other tested, or they differ in label."""
    problems = []
    for one, other, likeness in pairs_alike([look.signature for look in looks]):
        first, second = samples[one], samples[other]
        same, labels = likeness == 1, {first.label, second.label}
        what = f"{'the same as' if same else f'alike to {likeness:.4f} with'} {_place(dataset, first.image)}"
        if first.split != second.split:
            what += ", which is trained on"
        elif len(labels) > 1:
            what += f", which is {first.label}"
        wrong = same and (first.split != second.split or len(labels) > 1)
        problems.append(Problem(_place(dataset, second.image), what, "keep one of them", wrong=wrong))
    trains = [place for place, sample in enumerate(samples) if sample.split == "train"]
    tests = [place for place, sample in enumerate(samples) if sample.split == "test"]
    for train, test, likeness in turned_alike([look.signature for look in looks], trains, tests):
        of = _place(dataset, samples[train].image)
        what = f"turned or mirrored alike to {likeness:.4f} with {of}, which is trained on"
        problems.append(Problem(_place(dataset, samples[test].image), what, "keep one of them", wrong=False))
    checksums: dict[int, Sample] = {}
    for sample, look in zip(samples, looks, strict=True):
        first = checksums.setdefault(look.checksum, sample)
        if first is not sample and look.marked and look.marked[0].share:
            what = f"the same as {_place(dataset, first.masks[0])}"
            problems.append(Problem(_place(dataset, sample.masks[0]), what, "look whose it is", wrong=False))
    pairs = [(sample.image, mask) for sample in samples for mask in sample.masks]
    odd = [(image, mask) for image, mask in pairs if image.stem not in "/".join(mask.parts[-2:])]
    for image, mask in odd if 2 * len(odd) < len(pairs) else ():
        what = f"is the mask of {_place(dataset, image)}, whose name it does not have"
        problems.append(Problem(_place(dataset, mask), what, "look whose it is", wrong=False))
    return problems


def look_over_categories(
    dataset: Dataset, samples: Sequence[Sample], looks: Sequence[Inspection], seen: dict[bytes, Sample]
) -> list[Problem]:
    """Images that another category has as well: wrong for a model of all where one is trained on and the other tested.
    `seen` holds those of the categories before, and gets these."""
    problems = []
    for sample, look in zip(samples, looks, strict=True):
        if look.signature:
            first = seen.setdefault(hashlib.sha256(look.signature).digest(), sample)
            if first.category != sample.category:
                what, wrong = f"the same as {_place(dataset, first.image)}", first.split != sample.split
                problems.append(Problem(_place(dataset, sample.image), what, "keep one of them", wrong=wrong))
    return problems


def _place(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.root).as_posix()
