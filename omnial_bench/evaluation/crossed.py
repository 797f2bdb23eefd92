"""The share of images that changes of each size take across the threshold, from the smallest that does."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from omnial_bench.attacks.columns import columns_of
from omnial_bench.attacks.threats import label_of
from omnial_bench.config.schema import Threat
from omnial_bench.evaluation.target import Labels
from omnial_bench.metrics.alarms import NAMES
from omnial_bench.metrics.intervals import wilson
from omnial_bench.results import Attempt, Result

LEVELS = (1, 2, 4, 8, 16, 32, 64, 128)


def crossed(threat: Threat, attempt: Attempt, labels: Labels) -> Iterator[Result]:
    """A row a size within eps: of the defects those hidden, of the normal images those that raise an alarm; none where
    the attack does not look for the smallest change. `labels` are the model's own."""
    sizes = [float(size) for size in attempt.sizes.split()]
    metric = NAMES[0] if threat.goal == "hide" else NAMES[1]
    for level in LEVELS if sizes else ():
        if level <= 255 * threat.eps:
            smaller = threat.model_copy(update={"eps": Fraction(level, 255)})
            hits, n = sum(size <= level for size in sizes), len(sizes)
            low, high = wilson(hits, n)
            yield Result(
                **vars(replace(
                    labels, set=f"{threat.name}-{level}", source="self", aim="image",
                    **columns_of(smaller, label_of(smaller)),
                )),
                category=attempt.category, metric=metric, value=hits / n, n=n, low=low, high=high,
            )  # fmt: skip
