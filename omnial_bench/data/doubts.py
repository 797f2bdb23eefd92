"""What the inspected samples of a category say against it: each doubt with its file, a number and what to do."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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


def warning(path: str, what: str, remedy: str) -> Problem:
    return Problem(path, what, remedy, wrong=False)


def look_over(dataset: Dataset, looks: Sequence[Inspection], cut: Cut, size: decode.Size) -> Iterator[Problem]:
    """What is wrong with single samples of a category, and with those that are unlike the rest."""
    for look in looks:
        for path, reason in look.unusable:
            what, _, remedy = reason.replace(f" {path}", "").partition("; ")
            yield Problem(dataset.place(path), what, remedy)
        yield from _of_masks(dataset, look, cut, size)
        yield from _of_image(dataset, look)
    usable = [look for look in looks if look.mode]
    yield from _unlike(dataset, usable)
    yield from _like_masks(dataset, usable, len(looks))
    yield from _apart([look for look in looks if look.light])


def _of_image(dataset: Dataset, look: Inspection) -> Iterator[Problem]:
    path = dataset.place(look.sample.image)
    if look.orientation != 1:
        what = f"its EXIF says orientation {look.orientation}, which is not applied"
        remedy = "store the image as it is seen, without the tag, and the mask on the same pixels"
        yield Problem(path, what, remedy, wrong=bool(look.sample.masks))
    if look.levels[0] == look.levels[1]:
        yield warning(path, f"every pixel has level {look.levels[0]}", "replace or remove it")


def _of_masks(dataset: Dataset, look: Inspection, cut: Cut, size: decode.Size) -> Iterator[Problem]:
    sample = look.sample
    if sample.label == "good" or dataset.labels == "image":
        return
    if not sample.masks:
        what = _without_mask(dataset, sample)
        yield Problem(dataset.place(sample.image), what, "add it, or use --labels image")
        return
    if not look.marked or cut.wrong:
        return
    path, marked = dataset.place(sample.masks[0]), look.marked[cut.above]
    if cut.above and any(_is_photograph(value.counts) for value in look.values):
        yield Problem(path, "its grey levels are those of a photograph", "give the mask, black and white")
    elif any(value.inverted for value in look.values):
        what = f"marks {marked.share:.0%} of the image and its frame, as an inverted mask does"
        yield Problem(path, what, "invert it: the defect is white")
    elif not marked.share:
        yield warning(path, "marks nothing", "draw it; until then pixel figures leave the image out")
    elif marked.share > NEARLY_ALL:
        yield warning(path, f"marks {marked.share:.0%} of the image", "look whether all of it is defect")
    elif not marked.left:
        what = f"marks {marked.share:.4%} of the image, of which at {size[0]}x{size[1]} nothing is left"
        yield warning(path, what, "take a larger size; pixel figures leave the image out")


def _is_photograph(counts: Sequence[int]) -> bool:
    return sum(counts[NEAR_BLACK + 1 : NEAR_WHITE]) > NO_MASK * sum(counts)


def _without_mask(dataset: Dataset, sample: Sample) -> str:
    folder = Path(dataset.reader.mask_of(sample)).parent
    for home in (dataset.root / sample.category, dataset.root):
        if folder.is_relative_to(home) and folder != home:
            return f"no mask in {folder.relative_to(home).as_posix()}"
    return "no mask"


def _unlike(dataset: Dataset, looks: Sequence[Inspection]) -> Iterator[Problem]:
    """Images of another size, mode or format than most of their category, or that most of them vary; or by which normal
    test images are told from anomalous ones."""
    kinds: dict[str, Callable[[Inspection], str]] = {
        "pixels": lambda look: f"{look.size[1]}x{look.size[0]}",
        "mode": lambda look: look.mode,
        "format": lambda look: look.format,
    }
    for what, kind in kinds.items() if looks else ():
        category, counts = looks[0].sample.category, Counter(map(kind, looks))
        most, number = counts.most_common(1)[0]
        tests = [look for look in looks if look.sample.split == "test"]
        normal = {kind(look) for look in tests if look.sample.label == "good"}
        anomalous = {kind(look) for look in tests if look.sample.label != "good"}
        if normal and anomalous and normal.isdisjoint(anomalous) and len(counts) <= FEW:
            text = f"{what} {', '.join(sorted(normal))} of normal test images, {', '.join(sorted(anomalous))} of others"
            yield warning(category, text, "make them alike: it gives the label away")
        elif number < THE_REST * len(looks):
            text = f"{len(counts)} kinds of {what}, the most frequent {most} in {number} of {len(looks)} images"
            yield warning(category, text, "all are brought to the network's")
        else:
            for look in looks:
                if kind(look) != most:
                    text = f"{what} {kind(look)}, unlike {number} of {len(looks)} images, {most}"
                    yield warning(dataset.place(look.sample.image), text, "make it like the rest")


def _like_masks(dataset: Dataset, looks: Sequence[Inspection], count: int) -> Iterator[Problem]:
    """Masks that are read as images, where most of the `count` images are none; and images that are all dark."""
    few = [look.sample for look in looks if look.few_colours and look.signature]
    what = "has 4 colours at most, as a mask has, and is read as an image"
    for sample in few if 2 * len(few) < count else ():
        yield Problem(dataset.place(sample.image), what, "name it or move it as its layout says")
    dark = [look.sample for look in looks if look.black_rows > BLACK and not look.few_colours]
    what = "a part of it is black from edge to edge, as where a file ends too early"
    for sample in dark if 20 * len(dark) < len(looks) else ():
        yield warning(dataset.place(sample.image), what, "look at it")
    top = max((look.levels[1] for look in looks), default=255)
    if top < DARK:
        what = f"the brightest of its images has level {top} of 255"
        yield warning(looks[0].sample.category, what, "scale them to the whole range")


def _apart(looks: Sequence[Inspection]) -> Iterator[Problem]:
    """Normal test images that are all brighter, darker, of another colour or blurred beside the training images, or
    anomalous ones beside all normal ones: what sets them apart is then not their defects."""
    trains = [look.light for look in looks if look.sample.split == "train"]
    tests = [look.light for look in looks if look.sample.split == "test" and look.sample.label == "good"]
    others = [look.light for look in looks if look.sample.label != "good"]
    for what, some, than, rest in (
        ("normal test images", tests, "training images", trains),
        ("anomalous images", others, "normal images", trains + tests),
    ):
        for at, sign in enumerate(("mean of red", "mean of green", "mean of blue", "mean step between neighbours")):
            own, theirs = [light[at] for light in some], [light[at] for light in rest]
            if min(len(own), len(theirs)) < MANY:
                continue
            if min(own) > APART * max(theirs) or APART * max(own) < min(theirs):
                ends = f"{min(own):.1f} to {max(own):.1f} in all {what}, {min(theirs):.1f} to {max(theirs):.1f}"
                yield warning(
                    looks[0].sample.category, f"{sign} {ends} in {than}", "look whether they were taken alike"
                )
                break


def look_over_pairs(dataset: Dataset, looks: Sequence[Inspection]) -> Iterator[Problem]:
    """Images that are there twice: wrong where one is trained on and the other tested, or they differ in label."""
    signatures = [look.signature for look in looks]
    for earlier, later, likeness in pairs_alike(signatures):
        first, second = looks[earlier].sample, looks[later].sample
        what = f"{'the same as' if likeness == 1 else f'alike to {likeness:.4f} with'} {dataset.place(first.image)}"
        if first.split != second.split:
            what += ", which is trained on"
        elif first.label != second.label:
            what += f", which is {first.label}"
        wrong = likeness == 1 and (first.split, first.label) != (second.split, second.label)
        yield Problem(dataset.place(second.image), what, "keep one of them", wrong=wrong)
    trains, tests = (
        [place for place, look in enumerate(looks) if look.sample.split == split] for split in ("train", "test")
    )
    for train, test, likeness in turned_alike(signatures, trains, tests):
        of = dataset.place(looks[train].sample.image)
        what = f"turned or mirrored alike to {likeness:.4f} with {of}, which is trained on"
        yield warning(dataset.place(looks[test].sample.image), what, "keep one of them")
    checksums: dict[int, Sample] = {}
    for look in looks:
        first = checksums.setdefault(look.checksum, look.sample)
        if first is not look.sample and look.marked and look.marked[0].share:
            what = f"the same as {dataset.place(first.masks[0])}"
            yield warning(dataset.place(look.sample.masks[0]), what, "look whose it is")
    pairs = [(look.sample.image, mask) for look in looks for mask in look.sample.masks]
    odd = [(image, mask) for image, mask in pairs if image.stem not in "/".join(mask.parts[-2:])]
    for image, mask in odd if 2 * len(odd) < len(pairs) else ():
        what = f"is the mask of {dataset.place(image)}, whose name it does not have"
        yield warning(dataset.place(mask), what, "look whose it is")


def look_over_categories(dataset: Dataset, looks: Sequence[Inspection], seen: dict[bytes, Sample]) -> Iterator[Problem]:
    """Images that another category has as well: wrong for a model of all where one is trained on and the other tested.
    `seen` holds those of the categories before, and gets these."""
    for look in looks:
        if look.signature:
            sample = look.sample
            first = seen.setdefault(hashlib.sha256(look.signature).digest(), sample)
            if first.category != sample.category:
                what, wrong = f"the same as {dataset.place(first.image)}", first.split != sample.split
                yield Problem(dataset.place(sample.image), what, "keep one of them", wrong=wrong)
