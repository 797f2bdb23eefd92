"""Which images are anomalous, where their masks alone say so."""

from collections.abc import Sequence
from pathlib import Path

from omnial_bench.data import cache
from omnial_bench.data.levels import choose_cut, measure, read_levels, together
from omnial_bench.errors import UserError

VERSION = 4
"""Raised where what counts as anomalous changes, so that what older code remembered is not found."""


def mark_anything(root: Path, name: str, masks: Sequence[Path]) -> list[bool]:
    """Whether each of these masks marks a pixel, by the levels of all of them; decoded once and remembered as `name`.

    UserError for one that cannot be decoded, for levels that have no right cut, and where none marks anything.
    """

    def decide() -> str:
        values = cache.in_parallel(lambda mask: measure(read_levels(mask), mask), masks)
        cut = choose_cut(together(values))
        marks = [any(part.counts[cut.above + 1 :]) for part in values]
        if wrong := cut.wrong or ("" if any(marks) else "none marks anything; obtain them again"):
            raise UserError(f"cannot tell normal images from others by the {len(masks)} masks in {root}: {wrong}")
        return "".join("01"[mark] for mark in marks)

    text = cache.remember_text(f"{name}-labels", [VERSION, cache.file_stamps(root, masks)], decide)
    return [one == "1" for one in text]
