"""What a check of health says: passed, failed, or not run, with a note that says why. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from omnial_bench.attacks.evidence import TITLE, Figure

SLACK = 0.02
"""How far a figure may lie on the wrong side. Attacks climb a loss, not the figure: on a detector without any mask more
loss can come with 0.02 more of it, and rounding to 8 bits and a random start add to that."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found: `figure` is held against `reference`; both are None where it was not run."""

    status: Literal["passed", "failed", "not run"]
    note: str
    set: str = ""
    """The images whose figure is judged, and in doubt where the check failed."""
    figure: float | None = None
    reference: float | None = None
    category: str = "mean"
    """`mean` of the categories' figures, or `all` of their images."""


def not_run(needs: str) -> Verdict:
    """A check that lacks what it needs."""
    return Verdict(status="not run", note=f"needs {needs}")


def judged(good: bool, note: str, doubt: str, **values: Any) -> Verdict:
    """A check that was run; where it failed the note says as well what is in doubt."""
    return Verdict(status="passed" if good else "failed", note=note if good else f"{note}: {doubt}", **values)


def not_above(pairs: Iterable[tuple[Figure, Figure]], *, slack: float = SLACK, why: str, needs: str) -> Verdict:
    """Whether the first of each pair is at most the second, and `slack`; the pair that lies furthest off is shown."""
    found = list(pairs)
    if not found:
        return not_run(needs)
    one, other = max(found, key=lambda pair: pair[0].value - pair[1].value)
    return judged(
        one.value <= other.value + slack,
        f"{TITLE} {one.value:.3f} under {one}, {other.value:.3f} under {other}",
        f"{why}; in doubt is the {one.value:.3f} of {one.set}, where {other.value:.3f} or less is true",
        set=one.set, figure=one.value, reference=other.value,
    )  # fmt: skip
