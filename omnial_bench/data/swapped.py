"""Masks that do not belong where they are, under another image's name or all laid wrong in one way: an image ought to
differ from normal ones where its mask marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from omnial_bench.data.dataset import Dataset
from omnial_bench.data.doubts import Problem, warning
from omnial_bench.data.duplicates import SIGNATURE, Floats, Small, around_of, small_of
from omnial_bench.data.inspection import Inspection
from omnial_bench.data.levels import Cut

NORMALS, NEAREST, SHIFT = 500, 5, 3
"""Training images that an image is compared with, of these the nearest, and pixels by which parts may have moved."""
FEW, MOST = 6, 200
"""Images of a kind of defect that must fit their masks before those of others are doubted; of more than the second, as
many at a time are compared with each other."""
LEAST = 4
"""Of the small copy's pixels, those that a mask marks and the other does not, so that the two can be told apart."""
CLEARLY, MOSTLY = 0.2, 0.9
"""How much further up the pixels of the other mask rank than those of the own; and of all pairs of an image that fits
and another's mask, the share in which its own is the better one. On five categories of MVTec AD, and on 1,080 parts of
their kinds of defect, this says nothing, and on noise in 2 of 2,280 cases; of two masks that were swapped it names one
or both in 46 of 100 cases, and never another: the rest lie over each other, or on what small copies do not show. Where
all masks of a kind lie under the next one's name, it says so in 15 of 18."""
LAID_FEW, LAID_MOSTLY, LAID_CLEARLY, LAID_SURELY = 10, 0.8, 0.1, 5.0
"""Images that must tell masks from the same ones laid otherwise; the share of these in which the mask fits better; by
how much further up the pixels that it marks then rank on average; and how many standard errors that is. Of five
categories of MVTec AD and 750 parts of them, of 10 to 30 images, this names none, and of 1,500 parts whose masks were
laid over normal images 2; of these categories' masks, laid in each of the ways below, it names 98 of 110, of twenty
images' 148 of 200, of ten images' 68."""
MOVES = (6, 12)
"""Pixels of the small copy: about a tenth and a fifth of the image."""
DOWN, RIGHT = {-1: "up", 0: "", 1: "down"}, {-1: "left", 0: "", 1: "right"}
TURNS: dict[str, Callable[[Small], Small]] = {
    "mirrored left to right": lambda masks: masks[:, :, ::-1],
    "mirrored top to bottom": lambda masks: masks[:, ::-1],
    "turned by half": lambda masks: masks[:, ::-1, ::-1],
    "turned by a quarter to the left": lambda masks: np.rot90(masks, 1, (1, 2)),
    "turned by a quarter to the right": lambda masks: np.rot90(masks, 3, (1, 2)),
    "with rows and columns exchanged": lambda masks: masks.transpose(0, 2, 1),
}


def look_over_masks(dataset: Dataset, looks: Sequence[Inspection], cut: Cut) -> Iterator[Problem]:
    """A warning for each mask of a category that marks where its image is as normal ones are, where another's mask fits
    that image clearly better, and the other's image as well has one that does; or where there is no such mask, one for
    all if nearly all would fit better laid in another way."""
    whole = [look for look in looks if len(look.signature) == SIGNATURE**2]
    shown = [look.signature for look in whole if look.sample.split == "train"]
    if len(shown) <= NEAREST:
        return
    normals = small_of(shown[:: -(-len(shown) // NORMALS)])
    marked = [look for look in whole if look.marked and look.marked[cut.above].left]
    of_all, doubted = [], False
    for kind in sorted({look.sample.label for look in marked}):
        part = [look for look in marked if look.sample.label == kind]
        for start in range(0, len(part), MOST):
            some = part[start : start + MOST]
            masks = small_of([look.marked[cut.above].small for look in some])
            ranks = ranked(normals, small_of([look.signature for look in some]))
            every = slice(None, None, -(-len(marked) // MOST))
            of_all.append((ranks[every], masks[every]))
            for own, other in swapped(ranks, masks):
                doubted = True
                path, fits = (dataset.place(some[at].sample.masks[0]) for at in (own, other))
                what = f"its image differs from normal ones where {fits} marks, and not where it does"
                yield warning(path, what, "look whose it is")
    if of_all and not doubted and (better_way := misplaced(*map(np.concatenate, zip(*of_all, strict=True)))):
        way, better, count = better_way
        what = f"its masks would fit {better} of {count} images better if they were {way}"
        yield warning(looks[0].sample.category, what, "look how they were made")


def ranked(normals: Small, images: Small) -> Floats:
    """The pixels of images, `n 64 64`, by how unlike those of normal ones they are: from 0 to 1, the most unlike."""
    levels = around_of(normals, 5).reshape(len(normals), -1)
    order = np.stack([_differences(image, normals, levels).argsort().argsort() for image in images])
    return (order / SIGNATURE**2).astype(np.float32).reshape(images.shape)


def swapped(order: Floats, masks: Small) -> list[tuple[int, int]]:
    """Of images as `ranked` gives them, and their masks in shares of 255, pairs of places: whose mask seems another's,
    and whose."""
    if len(order) < FEW:
        return []
    ranks, marks = order.reshape(len(order), -1), (masks.reshape(len(masks), -1) / 255).astype(np.float32)
    better = _better(ranks, marks)
    places, doubted = np.arange(len(better)), np.asarray((better >= CLEARLY).any(1))
    if doubted.sum() < 2:
        return []
    from scipy.optimize import linear_sum_assignment

    # What is assigned fits by being chosen: that masks tell anything is seen in those that stay, or where each is the
    # next or the last one's, which nothing chose.
    assigned = linear_sum_assignment(np.nan_to_num(better), maximize=True)[1]
    rolled = [(np.roll(places, by), np.ones_like(doubted)) for by in (1, -1)]
    for fits, sure in ((assigned, assigned == places), *rolled):
        after = _better(ranks, marks[fits])[sure]
        if sure.sum() >= FEW and (after < 0).sum() >= MOSTLY * max(1, np.isfinite(after).sum()):
            other = np.where((better[places, fits] >= CLEARLY) & doubted[fits], fits, places)
            return [(place, fit) for place, fit in enumerate(other.tolist()) if place != fit]
    return []


def _differences(image: npt.NDArray[np.uint8], normals: Small, levels: Floats) -> Floats:
    """How far each pixel's surroundings are from those around it in the normal images that resemble this one most."""
    away = np.square(levels - around_of(image, 5).ravel()).sum(1)
    near, own = _described(normals[away.argsort()[:NEAREST]]), _described(image)
    near = np.pad(near, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    least = np.full((SIGNATURE, SIGNATURE), np.inf, np.float32)
    for row, column in np.ndindex(2 * SHIFT + 1, 2 * SHIFT + 1):
        part = near[..., row : row + SIGNATURE, column : column + SIGNATURE]
        least = np.minimum(least, around_of(np.abs(part - own).sum(1), 3).min(0))
    return around_of(least, 3).ravel()


def _described(squares: Small) -> Floats:
    """Level, contrast and mean of the surroundings of each pixel, `... 3 64 64`."""
    mean = around_of(squares, 5)
    spread = np.sqrt(np.maximum(around_of(squares.astype(np.int32) ** 2, 5) - mean**2, 0))
    return np.stack([squares.astype(np.float32), 2 * spread, mean], -3)


def _better(ranks: Floats, marks: Floats) -> Floats:
    """By how much the mean rank of an image (row) is higher in a mask (column) than in its own, where only one of the
    two marks; NaN where that is hardly anywhere, as where one lies in the other."""
    inside, both, overlap = ranks @ marks.T, (ranks * marks) @ marks.T, marks @ marks.T
    areas = marks.sum(1)
    other, own = areas[None] - overlap, areas[:, None] - overlap
    known = (other >= LEAST) & (own >= LEAST) & ~np.eye(len(marks), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        better = (inside - both) / other - (np.diag(inside)[:, None] - both) / own
    return np.where(known, better, np.float32("nan"))


def misplaced(ranks: Floats, masks: Small) -> tuple[str, int, int] | None:
    """Of images whose pixels are ranked by how unlike normal ones they are, `n 64 64` from 0 to 1, and their masks in
    shares of 255: in which way nearly all masks lie better, in how many images, and of how many; None for no way."""
    if len(ranks) < LAID_FEW:
        return None
    # What all images have in one place, as the rim of a part that moves a little, says nothing of a mask.
    own = ranks - (ranks.sum(0) - ranks) / (len(ranks) - 1)
    best, best_way = 0.0, None
    for name, laid in _ways(masks):
        gains = _gains(own, masks, laid)
        better = int((gains > 0).sum())
        if len(gains) < LAID_FEW or better < LAID_MOSTLY * len(gains):
            continue
        mean, error = float(gains.mean()), float(gains.std(ddof=1)) / len(gains) ** 0.5
        if mean >= max(LAID_CLEARLY, LAID_SURELY * error) and mean * len(gains) > best:
            best, best_way = mean * len(gains), (name, better, len(gains))
    return best_way


def _gains(ranks: Floats, masks: Small, laid: Small) -> Floats:
    """By how much the mean rank is higher in `laid` than in `masks`, where only one of the two marks; of the images
    where either does so."""
    apart = (laid.astype(np.float32) - masks) / 255
    there, here = np.maximum(apart, 0), np.maximum(-apart, 0)
    known = np.minimum(there.sum((1, 2)), here.sum((1, 2))) >= LEAST
    means = [(ranks * part)[known].sum((1, 2)) / part[known].sum((1, 2)) for part in (there, here)]
    return np.asarray(means[0] - means[1], np.float32)


def _ways(masks: Small) -> Iterator[tuple[str, Small]]:
    """Each other way in which masks may be laid, in words, and the masks laid so."""
    for name, turned in TURNS.items():
        yield name, turned(masks)
    for by in MOVES:
        for down, right in ((row, column) for row in DOWN for column in RIGHT if row or column):
            where = " and ".join(word for word in (DOWN[down], RIGHT[right]) if word)
            yield f"moved {where} by {by / SIGNATURE:.0%} of the image", _moved(masks, by * down, by * right)


def _moved(masks: Small, down: int, right: int) -> Small:
    """Masks moved by whole pixels; what comes in is empty."""
    wide = np.pad(masks, ((0, 0), (abs(down),) * 2, (abs(right),) * 2))
    top, left = abs(down) - down, abs(right) - right
    return wide[:, top : top + masks.shape[1], left : left + masks.shape[2]]
