"""Masks closed, opened and filled: the frame is continued by its edge, so that an object that touches it keeps its
border."""

import numpy as np

# By its name in full, for scipy imports a part of itself when it is asked for: a quarter of a second.
import scipy
from numpy.typing import NDArray

REFERENCE_HEIGHT = 256
"""Height in pixels of the image that the sides of a rule's squares are given for."""


def scaled(pixels: int, height: int) -> int:
    """A side that is given for `REFERENCE_HEIGHT`, in an image of another height."""
    return 0 if pixels == 0 else max(1, round(pixels * (height / REFERENCE_HEIGHT)))


def closed(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Closing with a square."""
    return mask if side < 2 else _erode(_dilate(mask, side, reflected=False), side, reflected=True)


def opened(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Opening with a square."""
    return mask if side < 2 else _dilate(_erode(mask, side, reflected=False), side, reflected=True)


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without holes."""
    return np.asarray(scipy.ndimage.binary_fill_holes(mask))


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Its largest part alone."""
    parts, count = scipy.ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    part: NDArray[np.bool_] = parts == sizes.argmax()
    return part


def fill_largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part without holes."""
    return largest(filled(mask))


def _dilate(mask: NDArray[np.bool_], side: int, *, reflected: bool) -> NDArray[np.bool_]:
    grown: NDArray[np.uint8] = scipy.ndimage.maximum_filter(
        mask.view(np.uint8), side, mode="nearest", origin=_origin(side, reflected)
    )
    return grown.view(np.bool_)


def _erode(mask: NDArray[np.bool_], side: int, *, reflected: bool) -> NDArray[np.bool_]:
    shrunk: NDArray[np.uint8] = scipy.ndimage.minimum_filter(
        mask.view(np.uint8), side, mode="nearest", origin=_origin(side, reflected)
    )
    return shrunk.view(np.bool_)


def _origin(side: int, reflected: bool) -> int:
    """A square of even side has no middle: the second step uses the mirrored one, or the object would move a pixel."""
    return -1 if reflected and side % 2 == 0 else 0
