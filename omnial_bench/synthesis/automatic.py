"""Where the object is in the images of a category that no rule is known for: what is unlike the border of its image."""

from collections.abc import Sequence

import numpy as np

# By their names in full, for both import parts of themselves when these are asked for: half a second.
import scipy
import skimage
from numpy.typing import NDArray

from omnial_bench.synthesis.morphology import filled, largest, opened, scaled

OPENINGS = (3, 8, 16)
"""Sides in pixels, at a height of 256, of squares that what is thinner than the object does not outlive: a background
may have stripes and holes of its colour."""
LOOKED_AT = 24
"""Images at the most that the rule is fitted to."""
BORDER = 32
"""One in so many rows and columns at each side is border."""
AREA = (0.02, 0.9)
"""Shares of the frame that an object is believed to cover in the mean."""
SPREAD = 0.35
"""Of that share between images, relative to it, at the most: objects of one category are alike in size."""
TOUCHED = 0.15
"""Of the border at the most."""
EDGE = 2.0
"""How much steeper than the whole image its outline is, at the least; of textures it is hardly steeper."""

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def fit(images: Sequence[Rgb]) -> tuple[int, str]:
    """The opening whose objects are most compact, of those that pass every guard, or 0 for the whole frame, and why;
    `images` are `h w 3`.

    Distances from the median colour of an image's border, in CIELAB, cut by Otsu's threshold; the largest part.
    """
    chosen = [images[at] for at in np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).round().astype(int)]
    steepness = [skimage.filters.sobel(skimage.color.rgb2gray(image)) for image in chosen]
    distances = list(map(distance, chosen))
    best, most, why = 0, 0.0, "nothing stands out from the border"
    for opening in OPENINGS:
        masks = [object_of(each, opening) for each in distances]
        refused = _refused(masks, steepness)
        if refused:
            why = refused
        elif (compact := float(np.mean(list(map(_compactness, masks))))) > most:
            best, most = opening, compact
    return best, why


def distance(image: Rgb) -> NDArray[np.float64]:
    """How far each pixel's colour is from the median of the image's border, in CIELAB."""
    colours = skimage.color.rgb2lab(image)
    middle = np.median(colours[_border(image.shape[:2])], axis=0)
    return np.asarray(np.linalg.norm(colours - middle, axis=-1))


def object_of(distances: NDArray[np.float64], opening: int) -> Mask:
    """The largest part that is far from the border's colour, its holes filled."""
    if distances.max() - distances.min() < 1e-6:
        return np.zeros(distances.shape, np.bool_)
    far = distances > skimage.filters.threshold_otsu(distances)
    return largest(filled(opened(far, scaled(opening, distances.shape[0]))))


def _refused(masks: Sequence[Mask], steepness: Sequence[NDArray[np.float64]]) -> str:
    """Why these are no objects, in words; empty where they may be."""
    areas = np.array([mask.mean() for mask in masks])
    mean = float(areas.mean())
    if not AREA[0] <= mean <= AREA[1]:
        return f"what stands out covers {mean:.1%} of the frame"
    if areas.std() > SPREAD * mean:
        return f"what stands out varies by {areas.std() / mean:.0%} of its size between images"
    border = _border(masks[0].shape, 1)
    if (touched := float(np.mean([mask[border].mean() for mask in masks]))) > TOUCHED:
        return f"what stands out lies on {touched:.0%} of the border"
    pairs = [(mask, steep) for mask, steep in zip(masks, steepness, strict=True) if mask.any() and steep.any()]
    ratio = float(np.mean([steep[_outline(mask)].mean() / steep.mean() for mask, steep in pairs] or [0]))
    if ratio < EDGE:
        return f"the outline of what stands out is {ratio:.1f} times as steep as the image, not {EDGE:g}"
    return ""


def _border(shape: tuple[int, ...], width: int = 0) -> Mask:
    width = width or max(2, shape[0] // BORDER)
    border = np.ones(shape, np.bool_)
    border[width:-width, width:-width] = False
    return border


def _outline(mask: Mask) -> Mask:
    """The pixels within two of where the mask ends."""
    edge = mask ^ scipy.ndimage.binary_erosion(mask, border_value=1)
    return np.asarray(scipy.ndimage.binary_dilation(edge))


def _compactness(mask: Mask) -> float:
    """The area over that of a disc of the same perimeter."""
    perimeter = _outline(mask).sum() / 2
    return float(4 * np.pi * mask.sum() / max(perimeter, 1) ** 2)
