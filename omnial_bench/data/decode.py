"""Image and mask files to arrays at network size."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from omnial_bench.errors import UserError, line_of

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
"""Pillow's names of what files may hold, whatever they are called: others start programs, as EPS does Ghostscript."""
MOST_SIDE = 1 << 15
"""Pixels of a side: an image of one row and millions of columns is small, and what reduces it is not."""
VERSION = 6
"""Raised with every change of what decoding gives, so that older cached images are not found."""

ORIENTATION = 0x0112
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]

_DAMAGE = OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, AssertionError, struct.error, zlib.error
"""What Pillow's decoders are known to raise on damaged files."""


def image_files(folder: Path) -> list[Path]:
    """Image files directly in `folder`, sorted by name, without hidden ones; none where it is missing."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if Path(entry.name).suffix.lower() in EXTENSIONS and entry.is_file()]
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def read_image(path: Path, size: Size | None = None) -> tuple[Bytes, Size]:
    """An image as RGB bytes `h w 3` at `size` (height, width), and the size that it has in its file.

    Reduced with Pillow's bilinear filter, which averages over the reduction; an image that has `size` already is
    passed through to the bit. Alpha is dropped, 16-bit grey levels are scaled by 1/257, EXIF rotation is not applied,
    since masks are drawn on the pixels as stored. UserError names a file that cannot be decoded.
    """
    image = usable(open_image(path), path)
    return resized(image, size), (image.height, image.width)


def resized(image: Image.Image, size: Size | None) -> Bytes:
    """A usable image as RGB bytes at `size`, as `read_image` gives them."""
    if size is not None and size != (image.height, image.width):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image.convert("RGB"))


def usable(image: Image.Image, path: Path) -> Image.Image:
    """The image of `path` in 8 bits, grey or RGB; UserError where it has no such levels."""
    if image.mode == "F":
        raise UserError(f"cannot use {path}: expected 8- or 16-bit pixels, got floating point; convert it to PNG")
    if image.mode.startswith("I"):
        image = _from_16_bit(image, path)
    if image.mode not in ("L", "RGB"):
        image = converted(image, "RGB", path)
    return image


def shrink_mask(mask: Mask, size: Size) -> Mask:
    """The mask at `size`: a pixel is anomalous where at least half of its area is."""
    if mask.shape == size or not mask.any():
        return mask if mask.shape == size else np.zeros(size, bool)
    # Of most masks a small part is marked, and only that is summed.
    rows, columns = (_ends(np.logical_or.reduce(mask, axis)) for axis in (1, 0))
    part = mask[rows, columns].astype(np.float32)
    share = _overlap(mask.shape[0], size[0])[:, rows] @ part @ _overlap(mask.shape[1], size[1])[:, columns].T
    # Rounding in float32 must not decide a tie.
    return np.asarray(share >= 0.5 - 1e-5)


def _ends(marked: Mask) -> slice:
    """From the first to the last that is marked."""
    places = np.flatnonzero(marked)
    return slice(int(places[0]), int(places[-1]) + 1)


@lru_cache(maxsize=64)
def _overlap(old: int, new: int) -> npt.NDArray[np.float32]:
    """Row i: the share of each old pixel in new pixel i."""
    left = np.arange(new)[:, None] * (old / new)
    start = np.arange(old)[None, :]
    part = np.minimum(left + old / new, start + 1) - np.maximum(left, start)
    share: npt.NDArray[np.float32] = (part.clip(0) * (new / old)).astype(np.float32)
    return share


def open_image(path: Path) -> Image.Image:
    """A decoded image; UserError where it is too large or none."""
    with _decoding(path), Image.open(path, formats=FORMATS) as image:
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise UserError(_too_large(path))
        if max(image.size) > MOST_SIDE:
            raise UserError(f"cannot decode {path}: more than {MOST_SIDE:,} pixels on a side; make it smaller")
        image.load()
        return image


def converted(image: Image.Image, mode: str, path: Path) -> Image.Image:
    """The image of `path` in another of Pillow's modes; UserError where its palette is damaged."""
    with _decoding(path):
        return image.convert(mode)


def orientation_of(image: Image.Image) -> int:
    """What the EXIF tag says; 1 is upright."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001
        # Metadata that is damaged says nothing; Pillow raises whatever its parser stumbles over.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(_too_large(path)) from error
    except _DAMAGE as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is in no known image format" if unknown else line_of(error) or type(error).__name__
        raise UserError(f"cannot decode {path}: {reason}; replace the file") from error


def _too_large(path: Path) -> str:
    return f"cannot decode {path}: more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels; make it smaller"


def _from_16_bit(image: Image.Image, path: Path) -> Image.Image:
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise UserError(f"cannot use {path}: expected grey levels up to 65535, got {levels.max()}; convert it to PNG")
    return Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
