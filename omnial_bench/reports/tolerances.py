"""How far a figure may move and count as unmoved, and which figures are held at all. No torch here."""

import math
from collections.abc import Iterable, Sequence
from statistics import stdev

from omnial_bench.errors import UserError, unknown
from omnial_bench.metrics.metric import METRICS, chance_levels, is_chance, kind_of, metric_of

CHANCE_MOVES = 0.002
"""By how much a level of chance may differ, at the least: it is a share of images or pixels."""
SWAPS = 2
"""Pairs of images that may change places: seen once between kernels without AVX and with it, of 24 by 24."""
FALSE_ALARMS = 0.01
"""Share of runs, as good as the baseline, that may fail by the spread over seeds."""


def of_new_weights(metric: str) -> float:
    """The least tolerance of networks trained anew; none of an unknown metric."""
    known = metric_of(metric)
    return known.anew if known else 0.0


def is_aimed(metric: str, aim: str) -> bool:
    """Whether a figure holds still between processors: nothing was attacked, or the attack went for just this kind.

    What an attack does not go for is left wherever its last steps happened to end. An empty `aim` is not known, and
    counts as aimed.
    """
    return is_chance(metric) or aim in ("", "none") or kind_of(metric) in aim.split("+")


def of_same_weights(metric: str, images: int, anomalous: float | None) -> float:
    """The tolerance of a figure of the same weights, on that many images of which a share is `anomalous`; none of an
    unknown metric.

    Last digits of a map move no figure of clean images by more than 1e-5; an attack makes more of them, yet ends
    about as high: what it aims at moved by up to 5e-4 between kernels. Figures of images are made of few ranks: they
    may move by what SWAPS pairs of neighbours do that change places, each worth what the metric says (`swap`).
    """
    known = METRICS.get(metric)
    if known is None or known.swap is None or anomalous is None:
        return known.same if known else 0.0
    positive = round(anomalous * images)
    negative = images - positive
    return max(known.same, SWAPS * known.swap(positive, negative)) if positive and negative else known.same


def of_seeds(values: Sequence[float], runs: int, figures: int) -> float:
    """The tolerance of a mean over `runs` seeds against the mean of the baseline's `values`, one of `figures` that are
    held so.

    That of the difference of two means, t s sqrt(1/m + 1/n), with the spread s over the m seeds of the baseline alone,
    and Student's t for m - 1 degrees of freedom at a chance of FALSE_ALARMS that any of the figures of a run falls
    below (Bonferroni). 0 where the baseline has fewer than two values.
    """
    count = len(values)
    if count < 2 or not runs or not all(map(math.isfinite, values)):
        return 0.0
    spread = stdev(values)
    if not spread:
        return 0.0
    # Imported here: it takes a third of a second that no other check needs.
    from scipy.stats import t

    quantile = float(t.isf(FALSE_ALARMS / max(figures, 1), count - 1))
    return quantile * spread * math.sqrt(1 / count + 1 / runs)


def parse_tolerances(settings: Iterable[str]) -> dict[str, float]:
    """`metric=value` as a table; UserError for an unknown metric or no number of at least 0."""
    known = (*METRICS, *chance_levels())
    tolerances = {}
    for setting in settings:
        metric, _, text = setting.partition("=")
        if metric not in known:
            raise unknown("metric", metric, known)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UserError(f"expected a tolerance such as {metric}=0.02, got {setting!r}; give a number of at least 0")
        tolerances[metric] = value
    return tolerances
