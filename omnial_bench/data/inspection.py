"""One sample looked at closely: each of its files is decoded once, and only what verifying needs is kept of it."""

import hashlib
import zlib
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from omnial_bench.data import decode
from omnial_bench.data.duplicates import SIGNATURE
from omnial_bench.data.levels import Levels, Values, measure, read_levels
from omnial_bench.data.readers.base import Sample
from omnial_bench.data.splits import Drawn, united
from omnial_bench.errors import UserError

FEW_COLOURS = 4


@dataclass(frozen=True, kw_only=True)
class Marked:
    """What the masks of an image mark under one cut."""

    share: float
    """Of the pixels in the file."""
    left: bool
    """Whether a pixel is left at the network's size."""
    small: bytes = b""
    """Its share of `SIGNATURE`x`SIGNATURE` pixels, of 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What is known of one sample; fields of its image have their defaults where it cannot be decoded."""

    sample: Sample
    size: decode.Size = (0, 0)
    mode: str = ""
    """Pillow's name of what its pixels are, as `format` of what the file is."""
    format: str = ""
    few_colours: bool = False
    """No more than `FEW_COLOURS`, as masks have."""
    orientation: int = 1
    levels: tuple[int, int] = (0, 255)
    """The darkest and the brightest of `SIGNATURE`x`SIGNATURE` pixels."""
    black_rows: int = 0
    """Of these, rows without any level but 0."""
    light: tuple[float, ...] = ()
    """Means of red, green and blue, and of the difference of neighbours, at the network's size."""
    signature: bytes = b""
    """Their grey levels, or a hash of them; empty where all are one."""
    unusable: tuple[tuple[Path, str], ...] = ()
    """Files that cannot be used, and why."""
    values: tuple[Values, ...] = ()
    """Of each mask."""
    checksum: int = 0
    """Of the levels of all masks."""
    marked: dict[int, Marked] = field(default_factory=dict)
    """By the level above which pixels are anomalous; empty without masks."""


def inspect(sample: Sample, size: decode.Size, *, whole: bool = True) -> tuple[Inspection, Drawn | None]:
    """Decode a sample's image and masks; what is wrong with them is told, not raised. `size` is the network's, at which
    they are drawn if they can be; of the signature the `whole` is kept, or its hash."""
    unusable: list[tuple[Path, str]] = []
    seen: dict[str, Any] = {}
    pixels = None
    try:
        opened = decode.open_image(sample.image)
        image = decode.usable(opened, sample.image)
        pixels = decode.resized(image, size)
        # A filter that treats left and right alike, so that a mirrored image has the mirrored signature.
        small = image.resize((SIGNATURE, SIGNATURE), Image.Resampling.HAMMING, reducing_gap=2).convert("L").tobytes()
        grain = float(np.abs(np.diff(pixels.astype(np.int16), axis=1)).mean())
        seen = {
            "size": (image.height, image.width), "mode": opened.mode, "format": opened.format or "",
            "orientation": decode.orientation_of(opened), "few_colours": image.getcolors(FEW_COLOURS) is not None,
            "levels": (min(small), max(small)), "light": (*pixels.mean((0, 1)).tolist(), grain),
            "black_rows": sum(not any(small[at : at + SIGNATURE]) for at in range(0, SIGNATURE**2, SIGNATURE)),
            "signature": b"" if min(small) == max(small) else small if whole else hashlib.sha256(small).digest(),
        }  # fmt: skip
    except UserError as error:
        unusable.append((sample.image, str(error)))
    parts: list[Levels] = []
    values: tuple[Values, ...] = ()
    for mask in sample.masks:
        try:
            parts.append(read_levels(mask, original=seen.get("size")))
            values += (measure(parts[-1], mask),)
        except UserError as error:
            unusable.append((mask, str(error)))
    masks = united(parts, values, size) if len({part.shape for part in parts}) == 1 else {}
    look = Inspection(
        sample=sample, **seen, unusable=tuple(unusable), values=values,
        checksum=reduce(lambda sum_, part: zlib.crc32(part.tobytes(), sum_), parts, 0),
        marked={
            above: Marked(share=share, left=bool(mask.any()), small=_small(mask) if whole else b"")
            for above, (mask, share) in masks.items()
        },
    )  # fmt: skip
    return look, None if pixels is None or unusable else Drawn(pixels=pixels, values=values, masks=masks)


def _small(mask: decode.Mask) -> bytes:
    return Image.fromarray(mask).convert("L").resize((SIGNATURE, SIGNATURE), Image.Resampling.BOX).tobytes()
