"""Images that are there twice, or nearly: compared by what is left of them when they are made small."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

SIGNATURE = 64
"""Side in pixels of what images are compared by."""
ALIKE = 0.999
"""Correlation of two images, locally levelled, from which on they are one: 85 % JPEG, ten per cent more light and half
the size leave more in most images; different photographs of one part had 0.9986 at most (MVTec AD, five categories)."""
AROUND = 9
"""Side of the square whose mean is taken off: what is compared is detail and not light."""
SKETCH, LIKELY = 128, 0.99
"""Random directions, and the correlation along them from which on the true one is computed. That of a true
correlation r lies around it with a deviation of (1 - r^2) / sqrt(SKETCH): at ALIKE, 0.0002."""
MOST = 20_000
"""Images of a category whose pairs are all looked at; of more, only those are found whose small copies are equal."""
BLOCK = 200

UPRIGHT, *TURNS = [(mirrored, turns) for mirrored in (False, True) for turns in range(4)]
"""Whether an image is mirrored, and by how many right angles it is turned then."""

Floats = npt.NDArray[np.float32]
Squares = npt.NDArray[Any]
Small = npt.NDArray[np.uint8]
"""Signatures, `n SIGNATURE SIGNATURE`."""


def pairs_alike(signatures: Sequence[bytes]) -> list[tuple[int, int, float]]:
    """Pairs of places whose images are alike, the lower first, with their correlation: 1 for the very same small copy,
    of which each is paired with the first alone.

    A signature that is empty is like no other.
    """
    first: dict[bytes, int] = {}
    equal = [
        (first[signature], place, 1.0)
        for place, signature in enumerate(signatures)
        if signature and first.setdefault(signature, place) != place
    ]
    places = list(first.values())
    if not places or len(places) > MOST:
        return equal
    some = [signatures[place] for place in places]
    sketches = _sketched(some, _directions())
    near = _near(some, some, sketches, sketches)
    return sorted(equal + [(places[row], places[column], likeness) for row, column, likeness in near if row < column])


def turned_alike(
    signatures: Sequence[bytes], trains: Sequence[int], tests: Sequence[int]
) -> list[tuple[int, int, float]]:
    """Pairs of a training and a test image of which one is the other turned by right angles, mirrored or both, with
    their correlation."""
    some, others = ([place for place in places if signatures[place]] for places in (trains, tests))
    if not some or not others or len(some) + len(others) > MOST:
        return []
    rows, columns = ([signatures[place] for place in places] for places in (some, others))
    # Of a turned image along a direction is as much as of the image along the direction turned back.
    back = [_turned(_directions().T.reshape(-1, SIGNATURE, SIGNATURE), turn, back=True) for turn in TURNS]
    sketches = _sketched(rows, _directions())
    turned = _sketched(columns, np.concatenate(back).reshape(-1, SIGNATURE**2).T)
    best: dict[tuple[int, int], float] = {}
    for at, turn in enumerate(TURNS):
        part = turned[:, at * SKETCH : (at + 1) * SKETCH]
        for row, column, likeness in _near(rows, columns, sketches, part, turn):
            pair = some[row], others[column]
            best[pair] = max(best.get(pair, 0), likeness)
    return [(*pair, likeness) for pair, likeness in sorted(best.items())]


def _turned(squares: Squares, turn: tuple[bool, int], *, back: bool = False) -> Squares:
    mirrored, turns = turn
    if back:
        squares = np.rot90(squares, -turns, (1, 2))
        return squares[:, :, ::-1] if mirrored else squares
    return np.rot90(squares[:, :, ::-1] if mirrored else squares, turns, (1, 2))


def _near(
    rows: Sequence[bytes], columns: Sequence[bytes], sketches: Floats, others: Floats, turn: tuple[bool, int] = UPRIGHT
) -> Iterator[tuple[int, int, float]]:
    """Places in both that are alike once the columns are turned, of those whose sketches are nearly."""
    sketches, others = _lengthened(sketches), _lengthened(others)
    for start in range(0, len(rows), BLOCK):
        likely = np.argwhere(sketches[start : start + BLOCK] @ others.T >= LIKELY)
        for at in range(0, len(likely), BLOCK):
            pairs = likely[at : at + BLOCK] + np.array([start, 0])
            own, other = (
                small_of([some[place] for place in pairs[:, side]]) for side, some in enumerate((rows, columns))
            )
            likeness = (_levelled(own) * _levelled(_turned(other, turn))).sum(1)
            for (row, column), value in zip(pairs.tolist(), likeness.tolist(), strict=True):
                if value >= ALIKE:
                    yield row, column, min(value, 0.9999)


def small_of(signatures: Sequence[bytes]) -> Small:
    return np.frombuffer(b"".join(signatures), np.uint8).reshape(-1, SIGNATURE, SIGNATURE)


def _sketched(signatures: Sequence[bytes], directions: Floats) -> Floats:
    """What of each image lies along the directions, `n d`."""
    sketches = np.empty((len(signatures), directions.shape[1]), np.float32)
    for at in range(0, len(signatures), BLOCK):
        sketches[at : at + BLOCK] = _levelled(small_of(signatures[at : at + BLOCK])) @ directions
    return sketches


@cache
def _directions() -> Floats:
    return np.random.default_rng(0).standard_normal((SIGNATURE**2, SKETCH), np.float32)


def _levelled(small: Small) -> Floats:
    """Each as a vector of length 1."""
    return _lengthened((small.astype(np.float32) - around_of(small, AROUND)).reshape(len(small), -1))


def around_of(squares: Squares, side: int) -> Floats:
    """The mean of the square of that side around each pixel, of any number of images; their edges go on as they are."""
    # A sum a row and a column of the square: SciPy takes longer to start, and sums from the edge on lose digits.
    exact = squares.astype(np.float32 if squares.dtype.kind == "f" else np.int32)
    wide = np.pad(exact, [(0, 0)] * (squares.ndim - 2) + [(side // 2, side // 2)] * 2, mode="edge")
    height, width = squares.shape[-2:]
    columns: Squares = sum((wide[..., at : at + height, :] for at in range(1, side)), wide[..., :height, :])
    sums: Squares = sum((columns[..., at : at + width] for at in range(1, side)), columns[..., :width])
    return sums.astype(np.float32) / np.float32(side**2)


def _lengthened(vectors: Floats) -> Floats:
    """Each of length 1."""
    lengths: Floats = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors / lengths
