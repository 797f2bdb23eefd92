"""One split of one category decoded at network size: every file once, masks cut as all of them together say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt

from omnial_bench.data import cache, decode
from omnial_bench.data.levels import HALF, NONE, Cut, Levels, Values, choose_cut, measure, read_levels, together
from omnial_bench.data.readers.base import Sample
from omnial_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sample at network size."""

    pixels: decode.Bytes
    """`h w 3`."""
    values: tuple[Values, ...] = ()
    """Of each mask in its file."""
    masks: dict[int, tuple[decode.Mask, float]] = field(default_factory=dict)
    """By the level above which pixels are anomalous, with the share of the file's pixels; empty without masks."""


def fields_of(samples: Sequence[Sample], size: decode.Size) -> dict[str, cache.Array]:
    """What a split is kept as: `images`, bytes `n 3 h w`, and where a sample has one `masks`, `n h w`, and `areas`, the
    share of each file's pixels that its masks mark."""
    count = len(samples)
    fields: dict[str, cache.Array] = {"images": (np.uint8, (count, 3, *size))}
    if any(sample.masks for sample in samples):
        fields |= {"masks": (np.bool_, (count, *size)), "areas": (np.float32, (count,))}
    return fields


def draw(sample: Sample, size: decode.Size) -> Drawn:
    """A sample decoded. UserError for a file that cannot be, and for a mask of another size than its image."""
    pixels, original = decode.read_image(sample.image, size)
    parts = [read_levels(mask, original=original) for mask in sample.masks]
    values = tuple(map(measure, parts, sample.masks))
    return Drawn(pixels=pixels, values=values, masks=united(parts, values, size))


def united(
    parts: Sequence[Levels], values: Sequence[Values], size: decode.Size
) -> dict[int, tuple[decode.Mask, float]]:
    """Under both cuts, what any of the masks marks at `size`, and the share of the pixels in the file."""
    masks: dict[int, tuple[decode.Mask, float]] = {}
    for above in (0, HALF) if parts else ():
        if above and not any(part.low for part in values):
            masks[above] = masks[0]
        else:
            mask = reduce(np.logical_or, [part > above for part in parts])
            masks[above] = (decode.shrink_mask(mask, size), float(mask.mean()))
    return masks


class Filling:
    """A split that is being written, sample by sample in any order, into the arrays of `fields_of`."""

    def __init__(self, arrays: cache.Arrays, size: decode.Size) -> None:
        self.arrays, self.size = arrays, size
        self._other: dict[int, tuple[npt.NDArray[np.uint8], float]] = {}
        """Masks under the upper cut, in bits, where it changes them."""

    def put(self, index: int, drawn: Drawn) -> None:
        self.arrays["images"][index] = drawn.pixels.transpose(2, 0, 1)
        if drawn.masks:
            self.arrays["masks"][index], self.arrays["areas"][index] = drawn.masks[0]
            if drawn.masks[HALF] is not drawn.masks[0]:
                mask, area = drawn.masks[HALF]
                self._other[index] = np.packbits(mask), area

    def end(self, cut: Cut) -> None:
        """Take the cut that all of the masks together say."""
        height, width = self.size
        for index, (bits, area) in self._other.items() if cut.above else ():
            self.arrays["masks"][index] = np.unpackbits(bits, count=height * width).reshape(height, width)
            self.arrays["areas"][index] = area


def fill(arrays: cache.Arrays, samples: Sequence[Sample], size: decode.Size) -> None:
    """Decode samples into the arrays. UserError as of `draw`, and for levels of masks that have no right cut."""
    filling, values = Filling(arrays, size), NONE

    def read(index: int) -> tuple[Values, ...]:
        drawn = draw(samples[index], size)
        filling.put(index, drawn)
        return drawn.values

    for parts in cache.streamed(read, range(len(samples))):
        values = together((values, *parts)) if parts else values
    cut = choose_cut(values)
    if cut.wrong:
        first = next(mask for sample in samples for mask in sample.masks)
        raise UserError(f"cannot use the masks of {samples[0].category}, such as {first}: {cut.wrong}")
    filling.end(cut)
