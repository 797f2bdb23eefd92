"""Images that are there twice, or nearly: compared by what is left of them when they are made small."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from omnial_bench.data.inspection import SIGNATURE

ALIKE = 0.999
"""Correlation of two images, locally levelled, from which on they are one: 85 % JPEG, ten per cent more light and half
the size leave more in most images; different photographs of one part had 0.9986 at most (MVTec AD, five categories)."""
AROUND = 9
"""Side of the square whose mean is taken off: what is compared is detail and not light."""
MOST = 8000
"""Images of a category whose pairs are all looked at; of more, only those are found whose small copies are equal."""
BLOCK = 1000


def pairs_alike(signatures: Sequence[bytes]) -> list[tuple[int, int, float]]:
    """Pairs of places whose images are alike, the lower first, with their correlation: 1 for the very same small copy.

    A signature that is empty, or of one level, is like no other.
    """
    places = [place for place, signature in enumerate(signatures) if len(set(signature)) > 1]
    if len(places) < 2:
        return []
    if len(places) > MOST:
        return _equal(signatures, places)
    vectors = _levelled([signatures[place] for place in places])
    found = []
    for start in range(0, len(places), BLOCK):
        block = vectors[start : start + BLOCK] @ vectors[start:].T
        rows, columns = np.nonzero(np.triu(block, 1) >= ALIKE)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            first, other = places[start + row], places[start + column]
            same = signatures[first] == signatures[other]
            found.append((first, other, 1.0 if same else min(float(block[row, column]), 0.9999)))
    return found


def turned_alike(
    signatures: Sequence[bytes], trains: Sequence[int], tests: Sequence[int]
) -> list[tuple[int, int, float]]:
    """Pairs of a training and a test image of which one is the other turned by right angles, mirrored or both, with
    their correlation; an image whose pair `pairs_alike` gives may be among them where it is symmetrical."""
    some, others = ([place for place in places if len(set(signatures[place])) > 1] for places in (trains, tests))
    if not some or not others or len(some) + len(others) > MOST:
        return []
    vectors = _levelled([signatures[place] for place in some])
    squares = _levelled([signatures[place] for place in others]).reshape(-1, SIGNATURE, SIGNATURE)
    best = np.zeros((len(some), len(others)), np.float32)
    for mirrored in (False, True):
        for turns in range(4)[not mirrored :]:
            turned = np.rot90(squares[:, :, ::-1] if mirrored else squares, turns, (1, 2)).reshape(len(others), -1)
            np.maximum(best, vectors @ turned.T, out=best)
    return [
        (some[row], others[column], min(float(best[row, column]), 0.9999))
        for row, column in zip(*(places.tolist() for places in np.nonzero(best >= ALIKE)), strict=True)
    ]


def _equal(signatures: Sequence[bytes], places: Sequence[int]) -> list[tuple[int, int, float]]:
    first: dict[bytes, int] = {}
    return [
        (first[signatures[place]], place, 1.0)
        for place in places
        if first.setdefault(signatures[place], place) != place
    ]


def _levelled(signatures: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Each as a vector of length 1."""
    vectors = np.empty((len(signatures), SIGNATURE**2), np.float32)
    for start in range(0, len(signatures), BLOCK):
        joined = b"".join(signatures[start : start + BLOCK])
        small = np.frombuffer(joined, np.uint8).reshape(-1, SIGNATURE, SIGNATURE)
        # Sums over the square around each place, as differences of sums from the edge on: SciPy takes longer to start.
        sums = np.pad(small.astype(np.int32), ((0, 0), *[(AROUND // 2 + 1, AROUND // 2)] * 2), mode="edge")
        sums = sums.cumsum(1).cumsum(2)
        sums = sums[:, AROUND:] - sums[:, :-AROUND]
        around = (sums[:, :, AROUND:] - sums[:, :, :-AROUND]) / np.float32(AROUND**2)
        vectors[start : start + BLOCK] = (small - around).reshape(len(small), -1)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors
