"""Images and masks as PNG files whose bytes depend on their content alone."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial_bench.errors import UserError, line_of

# What Pillow raises on damaged files, and on images of more pixels than it takes for a decompression bomb.
_DAMAGE = (
    Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, SyntaxError, ValueError, TypeError,
    IndexError, EOFError, struct.error, zlib.error,
)  # fmt: skip


def write_png(path: Path, content: NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(content).save(buffer, format="PNG", compress_level=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def read_png(path: Path, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The grey levels in a file; UserError where it is no PNG of that mode, height and width."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode != mode or image.size != (size[1], size[0]):
                got = f"{image.mode} {image.size[1]}x{image.size[0]}"
                raise UserError(f"{path}: expected {mode} {size[0]}x{size[1]}, got {got}; build the set again")
            return np.asarray(image)
    except _DAMAGE as error:
        raise UserError(f"cannot decode {path}: {line_of(error)}; build the set again") from error


def to_rows(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """3 x h x w to h x w x 3, as image files have it."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def from_rows(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """h x w x 3 to 3 x h x w."""
    return np.ascontiguousarray(rows.transpose(2, 0, 1))
