"""How far a figure may move and count as unmoved, and which figures are held at all. No torch here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import stdev

from omnial_bench.errors import UserError, unknown
from omnial_bench.results import METRICS

ANEW: Mapping[str, float] = {**dict.fromkeys(METRICS, 0.02), "psnr": 0.5}
"""Of networks trained anew, at the least: fractions, and dB for PSNR."""
SAME: Mapping[str, float] = {**dict.fromkeys(METRICS, 0.002), "psnr": 0.02}
"""Of the very same weights, on whatever processor. Last digits of a map move no figure of clean pictures by more than
1e-5; an attack makes more of them, yet ends about as high: what it aims at moved by up to 5e-4 between kernels."""
SWAPS = 2
"""Pairs of images that may change places: seen once between kernels without AVX and with it, of 24 by 24."""
FALSE_ALARMS = 0.01
"""Share of runs, as good as the baseline, that may fail by the spread over seeds."""


def kind_of(metric: str) -> str:
    """The kind of metric that attacks aim at: `pixel`, `image`, or `reconstruction` for PSNR and SSIM."""
    return "reconstruction" if metric in ("psnr", "ssim") else metric.partition("_")[0]


def is_chance(metric: str) -> bool:
    """Whether a metric is a level of chance: the labels alone decide it."""
    return metric.endswith("_chance")


def is_aimed(metric: str, aim: str) -> bool:
    """Whether a figure holds still between processors: nothing was attacked, or the attack went for just this kind.

    What an attack does not go for is left wherever its last steps happened to end. An empty `aim` is not known, and
    counts as aimed.
    """
    return is_chance(metric) or aim in ("", "none") or kind_of(metric) in aim.split("+")


def of_same_weights(metric: str, pictures: int, anomalous: float | None) -> float:
    """The tolerance of a figure of the same weights, on that many pictures of which a share is `anomalous`.

    Figures of images are made of few ranks: they may move by what SWAPS pairs of neighbours do that change places. One
    is worth 1/(n+ n-) of AUROC, and at most 1/(2 n+) of AP and 1/(2 n+ + 1) of F1, with n+ anomalous and n- normal
    pictures.
    """
    least = SAME.get(metric, 0.002)
    if kind_of(metric) != "image" or is_chance(metric) or anomalous is None:
        return least
    positive = round(anomalous * pictures)
    negative = pictures - positive
    if not positive or not negative:
        return least
    swaps = {
        "image_auroc": 1 / (positive * negative),
        "image_ap": 1 / (2 * positive),
        "image_f1max": 1 / (2 * positive + 1),
    }
    return max(least, SWAPS * swaps.get(metric, 0.0))


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
    known = (*METRICS, "image_ap_chance", "pixel_ap_chance")
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
