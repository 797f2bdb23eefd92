"""What the grey levels of masks mean, decided by those of a whole category: one file may hold nothing but its edges.

Masks are drawn in three ways: white on black, in the numbers of classes, and white with grey edges, which a JPEG or a
filter left. Of the first two every level but 0 is anomalous, of the third the upper half of the range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from omnial_bench.data import decode
from omnial_bench.errors import UserError

HALF = 127
"""Of masks with grey edges, the last level that is normal."""
NEAR_BLACK, NEAR_WHITE = 25, 230
"""What JPEG leaves around a white drawing on black lies up to the first and from the second level on."""
FEW = 32
"""More levels than this are no classes that somebody numbered."""
Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Values:
    """The levels of one mask, or of many together."""

    counts: tuple[int, ...]
    """Pixels by level."""
    flat: int = 0
    """Pixels of levels 1 to 127 whose eight neighbours are as they are: classes have insides, edges have none."""
    files: int = 1
    marked: int = 0
    """Files with a level above 0."""
    faint: int = 0
    """Files with a level above 0 and none above 127, which a cut there would empty."""
    grey: int = 0
    """Files with a level that is neither 0 nor 255."""
    inverted: int = 0
    """Files that mark the frame of the image and most of it, but not all."""
    lossy: int = 0
    """Files of JPEG with a level above 0."""

    @property
    def low(self) -> int:
        """Pixels that one cut calls anomalous and the other normal."""
        return sum(self.counts[1 : HALF + 1])

    @property
    def levels(self) -> list[int]:
        """The levels that occur, but 0."""
        return [level for level, count in enumerate(self.counts) if level and count]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Above which level pixels are anomalous, in words as well; or `wrong`, why none is right."""

    above: int = 0
    words: str = ""
    wrong: str = ""


def read_levels(path: Path, *, original: decode.Size | None = None) -> Levels:
    """A mask `h w` as grey levels of 8 bits, where 0 stays 0 and everything else something else.

    Of colours the strongest channel counts, and of a palette with colours, which lists classes, each as white, unless
    it paints every class black, as files do that only number them. 16 bits that go beyond 255 are scaled by 1/257,
    floating point up to 1 by 255. UserError where the file cannot be decoded, holds no grey levels, has its marks in
    the alpha channel, is turned by an EXIF tag, or has marks and nothing black around them, and where its size is not
    `original`, the image's.
    """
    image = decode.open_image(path)
    if original is not None and original != (image.height, image.width):
        remedy = "give the mask that was drawn on this image"
        if original == (image.width, image.height):
            remedy = "it was drawn on the image as a viewer turns it: turn it back, or store the image turned"
        expected = f"expected its image's {original[1]}x{original[0]}"
        raise UserError(f"mask {path} is {image.width}x{image.height}, {expected}; {remedy}")
    if (orientation := decode.orientation_of(image)) != 1:
        raise UserError(f"mask {path}: its EXIF says orientation {orientation}, which is not applied; store it turned")
    pixels = _pixels(image, path)
    levels: Levels = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    # What JPEG makes of white alone is nearly white everywhere.
    if levels.min() > 0 and pixels.min() < NEAR_WHITE and _varies(pixels):
        raise UserError(f"mask {path} has several levels and no pixel of 0, the background; save it as black and white")
    coloured = image.mode == "P" and pixels.ndim == 3 and bool((pixels != levels[..., None]).any())
    return np.where(levels > 0, 255, 0).astype(np.uint8) if coloured else levels


def _pixels(image: Image.Image, path: Path) -> Levels:
    """Grey levels `h w`, or colours `h w 3`."""
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    if image.mode == "P":
        colours = np.asarray(decode.converted(image, "RGB", path))
        return colours if colours.any() else np.asarray(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_wide(np.asarray(image), path)
    has_alpha = image.mode in ("LA", "RGBA", "PA", "La", "RGBa")
    pixels = np.asarray(decode.converted(image, "RGBA" if has_alpha else "RGB", path))
    if has_alpha and not _varies(pixels[..., :3]) and _varies(pixels[..., 3]):
        raise UserError(f"mask {path} has one colour, and its marks in the alpha channel; save it as black and white")
    return pixels[..., :3]


def _varies(pixels: Levels) -> bool:
    return bool((pixels != pixels[:1, :1]).any())


def _from_wide(pixels: npt.NDArray[np.generic], path: Path) -> Levels:
    """More than 8 bits to 8."""
    exact, floating = pixels.astype(np.float64), pixels.dtype.kind == "f"
    low, top = float(exact.min()), float(exact.max())
    if not (low >= 0 and top <= (255 if floating else 65535)):
        raise UserError(f"cannot use mask {path}: its values go from {low:g} to {top:g}; save it as black and white")
    scaled = exact * 255 if floating and top <= 1 else exact / 257 if top > 255 else exact
    return np.where(exact > 0, scaled.round().clip(1, 255), 0).astype(np.uint8)


def measure(levels: Levels, path: Path | None = None) -> Values:
    """What one mask, from the file at `path`, says of its category."""
    counts = Image.fromarray(levels).histogram()
    top = max((level for level, count in enumerate(counts) if count), default=0)
    above = HALF if top > HALF else 0
    marked = sum(counts[above + 1 :])
    border = np.concatenate((levels[0], levels[-1], levels[:, 0], levels[:, -1]))
    inverted = levels.size / 2 < marked < levels.size and float((border > above).mean()) > 0.9
    low = sum(counts[1 : HALF + 1]) > 0
    lossy = False
    if top > 0 and path is not None:
        with path.open("rb") as file:
            lossy = file.read(3) == b"\xff\xd8\xff"
    return Values(
        counts=tuple(counts), flat=_flat(levels) if low else 0, marked=int(top > 0), faint=int(0 < top <= HALF),
        grey=int(sum(counts[1:255]) > 0), inverted=int(inverted), lossy=int(lossy),
    )  # fmt: skip


def _flat(levels: Levels) -> int:
    middle = levels[1:-1, 1:-1]
    inside = (middle > 0) & (middle <= HALF)
    rows = (levels[:-2] == levels[1:-1]) & (levels[2:] == levels[1:-1])
    inside &= rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    inside &= (levels[1:-1, :-2] == middle) & (levels[1:-1, 2:] == middle)
    return int(inside.sum())


NONE = Values(counts=(0,) * 256, files=0)
"""Of no mask."""


def together(parts: Iterable[Values]) -> Values:
    """The values of several masks; none are no files."""
    parts = (NONE, *parts)
    numbers = {field.name: sum(getattr(part, field.name) for part in parts) for field in fields(Values)[1:]}
    return Values(counts=tuple(map(sum, zip(*(part.counts for part in parts), strict=True))), **numbers)


def choose_cut(values: Values) -> Cut:
    """What the masks of a category mean by their levels.

    Where none lies from 1 to 127, both cuts are one. Else few levels are classes where they lie flat or where a file
    holds no others; and many are grey edges where none lies flat, most pixels are nearly black and, of the rest, a
    fifth is nearly white. What is neither, such as a photograph, has no right cut, and nor have classes that were saved
    as JPEG and masks that are inverted.
    """
    levels, some = values.levels, _listed(values.levels)
    if 2 * values.inverted > values.marked:
        return Cut(wrong=f"{values.inverted} of {values.marked} masks mark the frame and most of the image, as "
                         "inverted ones do; invert them, so that the defect is white")  # fmt: skip
    if not values.low:
        return Cut(words=f"levels {some}: anomalous is all but 0" if levels else "all masks are empty")
    classes = Cut(words=f"levels {some}, as of classes: anomalous is all but 0")
    if values.lossy:
        classes = Cut(wrong=f"levels {some} in {values.lossy} JPEG files, which smear the numbers of classes; save the "
                            "masks as PNG, from what they were drawn in")  # fmt: skip
    edges = Cut(above=HALF, words=f"cut at {HALF + 1}: {values.grey} of {values.files} files hold grey edges")
    if levels[-1] <= FEW or (len(levels) <= FEW and (100 * values.flat > values.low or values.faint)):
        return classes
    if levels[-1] <= HALF and 2 * values.flat > values.low:
        return classes
    black, white = sum(values.counts[: NEAR_BLACK + 1]), sum(values.counts[NEAR_WHITE:])
    drawn = sum(values.counts) - black
    if 10 * values.faint <= values.marked and (
        len(levels) <= FEW or (2 * black > black + drawn and 5 * white >= drawn and 100 * values.flat <= values.low)
    ):
        return edges
    return Cut(wrong=f"{len(levels)} grey levels from {levels[0]} to {levels[-1]}, which are neither classes nor white "
                     "drawings with grey edges; save the masks as black and white")  # fmt: skip


def _listed(levels: list[int]) -> str:
    shown = list(map(str, (0, *levels)))
    return ", ".join(shown if len(shown) <= 6 else [*shown[:4], f"... {shown[-1]}"])
