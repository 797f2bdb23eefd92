"""Where the object is in a normal image: a threshold by category, cleaned up, whole frame where that fails."""

import logging

import numpy as np

# By its name in full, for scipy imports a part of itself when it is asked for: a quarter of a second.
import scipy
import skimage
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from omnial_bench.data.catalog import ForegroundRule

log = logging.getLogger(__name__)

GUARD = (0.02, 0.98)
"""Smallest and largest share of the frame that an object is believed to cover."""
REFERENCE_HEIGHT = 256
"""Height in pixels of the image that the sides of a rule's squares are given for."""
_GREY = (0.299, 0.587, 0.114)
_BLUE = (0.0, 0.0, 1.0)


def foreground(
    images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], rule: ForegroundRule
) -> Bool[Tensor, "n h w"]:
    """The object's pixels, on the device of `images` (bytes, or float in [0, 1]); the work is done on the CPU.

    An image whose object would cover less than 2 % or more than 98 % of the frame gets the whole frame, and the log
    says how many did. Rules after RealNet (Zhang et al., CVPR 2024) and others, brought to one form.
    """
    n, _, height, width = images.shape
    masks = torch.ones((n, height, width), dtype=torch.bool)
    if rule.method == "whole":
        return masks.to(images.device)
    failed = []
    for index, channel in enumerate(_channel(images, rule)):
        mask = object_mask(channel, rule)
        if GUARD[0] <= mask.mean() <= GUARD[1]:
            masks[index] = torch.from_numpy(mask)
        else:
            failed.append(index)
    if failed:
        log.warning(
            "foreground: %d of %d images get the whole frame, the %s threshold finds no object in them (first: %d)",
            len(failed), n, rule.method, failed[0],
        )  # fmt: skip
    return masks.to(images.device)


def object_mask(channel: NDArray[np.uint8], rule: ForegroundRule) -> NDArray[np.bool_]:
    """The rule on one h x w channel of grey levels, before the guard; a flat image has no object."""
    if channel.min() == channel.max():
        return np.zeros(channel.shape, dtype=np.bool_)
    threshold = THRESHOLDS[rule.method](channel, rule.side)
    mask = channel <= threshold if rule.side == "dark" else channel > threshold
    scale = channel.shape[0] / REFERENCE_HEIGHT
    mask = _close(mask, _side(rule.close, scale))
    mask = _open(mask, _side(rule.open, scale))
    if rule.fill_holes:
        mask = scipy.ndimage.binary_fill_holes(mask)
    return _largest(mask) if rule.largest else mask


def _otsu(channel: NDArray[np.uint8], _: str) -> float:
    return float(skimage.filters.threshold_otsu(channel))


def _triangle(channel: NDArray[np.uint8], _: str) -> float:
    return float(skimage.filters.threshold_triangle(channel))


def _multi_otsu(channel: NDArray[np.uint8], side: str) -> float:
    """Three classes, of which the outermost is the object: a shadow between object and background is left out."""
    if len(np.unique(channel)) < 3:
        return float(skimage.filters.threshold_otsu(channel))
    return float(skimage.filters.threshold_multiotsu(channel, 3)[0 if side == "dark" else -1])


THRESHOLDS = {"otsu": _otsu, "triangle": _triangle, "multi_otsu": _multi_otsu}


def _channel(images: Tensor, rule: ForegroundRule) -> NDArray[np.uint8]:
    """One channel of every image, as grey levels."""
    levels = images.detach().cpu().float() * (1 if images.dtype == torch.uint8 else 255)
    weights = torch.tensor(_BLUE if rule.channel == "blue" else _GREY).view(1, 3, 1, 1)
    grey: NDArray[np.uint8] = (levels * weights).sum(1).round().clamp(0, 255).to(torch.uint8).numpy()
    return grey


def _side(pixels: int, scale: float) -> int:
    return 0 if pixels == 0 else max(1, round(pixels * scale))


def _close(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Closing with a square. The frame is continued by its edge, so that an object that touches it keeps its border."""
    return mask if side < 2 else _erode(_dilate(mask, side, reflected=False), side, reflected=True)


def _open(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Opening with a square, the frame continued by its edge."""
    return mask if side < 2 else _dilate(_erode(mask, side, reflected=False), side, reflected=True)


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


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = scipy.ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = parts == sizes.argmax()
    return kept
