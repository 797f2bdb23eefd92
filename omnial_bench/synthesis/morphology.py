"""Masks closed, opened and filled: the frame is continued by its edge, so that an object that touches it keeps its
border."""

from collections.abc import Callable
from typing import Any

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
    return _filtered(mask, side, scipy.ndimage.maximum_filter, scipy.ndimage.minimum_filter)


def opened(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Opening with a square."""
    return _filtered(mask, side, scipy.ndimage.minimum_filter, scipy.ndimage.maximum_filter)


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without holes."""
    return np.asarray(scipy.ndimage.binary_fill_holes(mask))


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Its largest part alone."""
    parts, count = scipy.ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    return np.asarray(parts == 1 + sizes[1:].argmax())


def _filtered(mask: NDArray[np.bool_], side: int, *filters: Callable[..., Any]) -> NDArray[np.bool_]:
    # A square of even side has no middle: the second filter uses the mirrored one, or the object would move a pixel.
    if side < 2:
        return mask
    values = mask.view(np.uint8)
    for filtered, origin in zip(filters, (0, side % 2 - 1), strict=True):
        values = filtered(values, side, mode="nearest", origin=origin)
    return values.view(np.bool_)
