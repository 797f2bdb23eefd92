"""Which images are anomalous, where their masks alone say so."""

from collections.abc import Sequence
from pathlib import Path

from omnial_bench.data import cache
from omnial_bench.data.levels import choose_cut, measure, read_levels, together

VERSION = 3
"""Raised where what counts as anomalous changes, so that what older code remembered is not found."""


def mark_anything(root: Path, name: str, masks: Sequence[Path]) -> list[bool]:
    """Whether each of these masks marks a pixel, by the levels of all of them; decoded once and remembered as `name`.

    UserError for one that cannot be decoded.
    """

    def decide() -> str:
        values = cache.in_parallel(lambda mask: measure(read_levels(mask)), masks)
        above = choose_cut(together(values)).above
        return "".join("01"[any(part.counts[above + 1 :])] for part in values)

    text = cache.remember_text(f"{name}-labels", [VERSION, cache.file_stamps(root, masks)], decide)
    return [one == "1" for one in text]
