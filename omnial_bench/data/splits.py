"""One split of one category decoded at network size: every file once, masks cut as all of them together say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from omnial_bench.data import cache, decode
from omnial_bench.data.levels import HALF, Levels, Values, choose_cut, measure, read_levels, together
from omnial_bench.data.readers.base import Sample
from omnial_bench.errors import UserError

if TYPE_CHECKING:
    import torch


def decode_split(samples: Sequence[Sample], size: decode.Size) -> dict[str, torch.Tensor]:
    """`images`, bytes `n 3 h w`, and where a sample has one `masks`, `n h w`, and `areas`, the share of each file's
    pixels that its masks mark.

    UserError for a file that cannot be decoded, a mask of another size than its image, and levels that have no right
    cut.
    """
    import torch

    images = np.empty((len(samples), 3, *size), np.uint8)
    masks, areas = np.zeros((len(samples), *size), bool), np.zeros(len(samples), np.float32)
    upper: dict[int, tuple[decode.Mask, float]] = {}

    def read(index: int) -> list[Values]:
        """An image and its masks, cut at both places where these differ; what the levels of its masks are."""
        sample = samples[index]
        pixels, original = decode.read_image(sample.image, size)
        images[index] = pixels.transpose(2, 0, 1)
        parts = [read_levels(mask, original=original) for mask in sample.masks]
        values = list(map(measure, parts))
        if parts:
            masks[index], areas[index] = _united(parts, 0, size)
        if any(part.low for part in values):
            upper[index] = _united(parts, HALF, size)
        return values

    values = [part for parts in cache.in_parallel(read, range(len(samples))) for part in parts]
    cut = choose_cut(together(values))
    if cut.wrong:
        first = next(mask for sample in samples for mask in sample.masks)
        raise UserError(f"cannot use the masks of {samples[0].category}, such as {first}: {cut.wrong}")
    for index, (mask, area) in upper.items() if cut.above else ():
        masks[index], areas[index] = mask, area
    tensors = {"images": torch.from_numpy(images)}
    if values:
        tensors |= {"masks": torch.from_numpy(masks), "areas": torch.from_numpy(areas)}
    return tensors


def _united(parts: Sequence[Levels], above: int, size: decode.Size) -> tuple[decode.Mask, float]:
    """Anomalous where any of the masks is, and the share of the pixels in the file that is."""
    mask = reduce(np.logical_or, [part > above for part in parts])
    return decode.shrink_mask(mask, size), float(mask.mean())
