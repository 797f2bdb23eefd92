"""Masks of a whole category that lie wrong in one and the same way: mirrored, turned, or moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from omnial_bench.data.duplicates import SIGNATURE, Floats, Small

FEW, LEAST = 10, 4
"""Images that must tell the two apart; and of the small copy's pixels, those that only one of the two marks."""
MOSTLY, CLEARLY, SURELY = 0.8, 0.1, 5.0
"""The share of these images in which the mask fits better when it is laid otherwise; by how much further up the pixels
that it marks then rank on average; and how many standard errors that is. Of five categories of MVTec AD and 750 parts
of them, of 10 to 30 images, this names none, and of 1,500 parts whose masks were laid over normal images 2; of these
categories' masks, laid in each of the ways below, it names 98 of 110, of twenty images' 148 of 200, of ten images' 68.
"""
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


def misplaced(ranks: Floats, masks: Small) -> tuple[str, int, int] | None:
    """Of images whose pixels are ranked by how unlike normal ones they are, `n 64 64` from 0 to 1, and their masks in
    shares of 255: in which way nearly all masks lie better, in how many images, and of how many; None for no way."""
    if len(ranks) < FEW:
        return None
    # What all images have in one place, as the rim of a part that moves a little, says nothing of a mask.
    own = ranks - (ranks.sum(0) - ranks) / (len(ranks) - 1)
    best, found = 0.0, None
    for name, laid in _ways(masks):
        gains = _gains(own, masks, laid)
        better = int((gains > 0).sum())
        if len(gains) < FEW or better < MOSTLY * len(gains):
            continue
        mean, error = float(gains.mean()), float(gains.std(ddof=1)) / len(gains) ** 0.5
        if mean >= max(CLEARLY, SURELY * error) and mean * len(gains) > best:
            best, found = mean * len(gains), (name, better, len(gains))
    return found


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
