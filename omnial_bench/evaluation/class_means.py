"""Rows of categories -> their class means."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace

from omnial_bench.evaluation.target import DIGITS
from omnial_bench.metrics.metric import METRICS
from omnial_bench.results import Result


def with_means(rows: Iterable[Result]) -> list[Result]:
    """The rows, and after them the unweighted class means, `category = mean`.

    A mean is over the categories where the figure is defined, and undefined where it is so in none; `n` counts their
    images, and the weights are those of all models together.
    """
    rows = list(rows)
    groups: dict[tuple[object, ...], list[Result]] = {}
    for row in rows:
        key = (row.detector, row.paradigm, row.preset, row.dataset, row.set, row.source, row.metric, row.seed)
        groups.setdefault(key, []).append(row)
    for members in groups.values():
        values = [row.value for row in members if row.value is not None]
        mean = math.fsum(values) / len(values) if values else None
        count = sum(row.n for row in members if row.value is not None)
        low, high = _ends_of_mean(members, mean)
        # A separate model may be the source of one category's images and see another's for the first time.
        aims = {row.aim for row in members}
        aim = members[0].aim if len(aims) == 1 else "other"
        rows.append(
            replace(
                members[0], category="mean", value=mean, n=count, aim=aim, weights=_together(members), low=low,
                high=high,
            )
        )  # fmt: skip
    return rows


def _ends_of_mean(members: Iterable[Result], mean: float | None) -> tuple[float | None, float | None]:
    """The interval of a class mean, whose classes' images are independent: distances to the ends add as squares."""
    known = [row for row in members if row.value is not None]
    if mean is None or any(row.low is None or row.high is None for row in known):
        return None, None
    below, above = (
        math.hypot(*(getattr(row, end) - row.value for row in known)) / len(known) for end in ("low", "high")
    )
    return METRICS[known[0].metric].within(mean - below, mean + above)


def _together(members: Iterable[Result]) -> str:
    """One hash for the weights behind several rows, which may be those of one model."""
    hashes = list(dict.fromkeys(row.weights for row in members))
    if len(hashes) == 1:
        return hashes[0]
    return "" if "" in hashes else hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:DIGITS]
