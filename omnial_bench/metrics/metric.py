"""What each metric says of itself to tables, figures and checks, which know no metric by its name. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["image", "pixel", "reconstruction"]
"""What a metric looks at, and an attack may aim at."""
KINDS: tuple[Kind, ...] = get_args(Kind)
CHANCE = "_chance"
"""Behind a metric's name, that of its level of chance: the labels alone decide it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric as rows, reports and checks need to know it."""

    name: str
    """As in rows."""
    title: str
    kind: Kind
    unit: str = "%"
    """In which it is shown: `%` of what is a fraction in rows, else as in rows, and empty for a mere number."""
    low: float = 0.0
    """No value in rows is lower."""
    high: float = 1.0
    """No value in rows is higher."""
    better: Literal["higher", "lower"] = "higher"
    chance: bool = False
    """Whether the rows hold its level of chance."""
    anew: float = 0.02
    """By how much it may differ, at the least, between networks trained anew."""
    same: float = 0.002
    """By how much between processors with the very same weights."""
    swap: Callable[[int, int], float] | None = None
    """By how much it may move where two neighbours change places, of so many anomalous and normal images; None where it
    is made of no ranking of images."""

    @property
    def heading(self) -> str:
        """The title beside metrics of the same kind."""
        return self.title.removeprefix(f"{self.kind.capitalize()} ")

    @property
    def words(self) -> str:
        """The title within a sentence."""
        return self.title if self.heading == self.title else f"{self.kind} {self.heading}"

    def within(self, low: float, high: float) -> tuple[float, float]:
        """Both ends of an interval, cut to what the metric can be."""
        return max(self.low, low), min(self.high, high)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="image_auroc", title="Image AUROC", kind="image", swap=lambda bad, good: 1 / (bad * good)),
        Metric(name="image_ap", title="Image AP", kind="image", chance=True, swap=lambda bad, _: 1 / (2 * bad)),
        Metric(name="image_f1max", title="Image F1max", kind="image", swap=lambda bad, _: 1 / (2 * bad + 1)),
        Metric(name="image_missed", title="Missed defects", kind="image", better="lower", swap=lambda bad, _: 1 / bad),
        Metric(
            name="image_false_alarms", title="False alarms", kind="image", better="lower", swap=lambda _, good: 1 / good
        ),
        Metric(name="image_false_alarms_held", title="False alarms, as set", kind="image", better="lower"),
        Metric(name="pixel_auroc", title="Pixel AUROC", kind="pixel"),
        Metric(name="pixel_ap", title="Pixel AP", kind="pixel", chance=True),
        Metric(name="pixel_f1max", title="Pixel F1max", kind="pixel"),
        Metric(name="pixel_aupro", title="Pixel AUPRO", kind="pixel"),
        # A thousand decibels are more than any PSNR that is finite.
        Metric(name="psnr", title="PSNR", kind="reconstruction", unit="dB", low=-1000, high=1000, anew=0.5, same=0.02),
        Metric(name="ssim", title="SSIM", kind="reconstruction", unit="", low=-1),
    )
}

DESCRIBED = ("title", "kind", "unit", "low", "high", "better")
"""What a run folder says of metrics from elsewhere."""


def chance_levels() -> tuple[str, ...]:
    """Names of the levels of chance that rows hold."""
    return tuple(f"{metric.name}{CHANCE}" for metric in METRICS.values() if metric.chance)


def is_chance(name: str) -> bool:
    """Whether rows of this name hold a level of chance."""
    return name.endswith(CHANCE)


def metric_of(name: str) -> Metric | None:
    """The metric of this name, or whose level of chance it is; None for one that this version does not know."""
    return METRICS.get(name.removesuffix(CHANCE))


def kind_of(name: str) -> Kind | Literal[""]:
    """What a metric looks at; empty for one that this version does not know."""
    known = metric_of(name)
    return known.kind if known else ""
