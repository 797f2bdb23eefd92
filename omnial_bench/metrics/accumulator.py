"""Metrics from elsewhere, `package.module:object`: what they are shown of each category, and what they give."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import ClassVar

import torch
from jaxtyping import Bool, Float

from omnial_bench.errors import UserError, is_printable
from omnial_bench.metrics.metric import KINDS, METRICS, Metric, is_chance
from omnial_bench.trust import guarded, load
from omnial_bench.types import located

TITLE, UNIT = 40, 10
"""Characters at the most."""
Maps = Float[torch.Tensor, "b h w"]
Masks = Bool[torch.Tensor, "b h w"]
Scores = Float[torch.Tensor, " b"]
Labels = Bool[torch.Tensor, " b"]


class Accumulator(ABC):
    """A metric from elsewhere, a class of its own: made anew, without arguments, for each category of each set.

    `metric` says what it is; rows bear its name.
    """

    metric: ClassVar[Metric]

    @abstractmethod
    def update(self, maps: Maps, masks: Masks, scores: Scores, labels: Labels) -> None:
        """Take a batch: anomaly maps `b h w` and image scores `b`, higher where more anomalous, and the truth of pixels
        and images (True = anomalous), all on one device."""

    @abstractmethod
    def compute(self) -> float | None:
        """The figure of all batches, in the range of the metric; None where it is undefined."""


Metrics = tuple[type[Accumulator], ...]


def metrics_named(names: Iterable[str], trusted: Collection[str], where: str) -> Metrics:
    """The classes that `package.module:object` name, imported where they are among `trusted`.

    UserError as of `trust.load`, and as of `check_metrics`.
    """
    return check_metrics(load(name, trusted, where, "metric") for name in names)


def check_metrics(given: Iterable[object]) -> Metrics:
    """What is given, as classes of Accumulator of which each says what it is.

    UserError for anything else, and for a name that rows have already or that no column can have.
    """
    classes: list[type[Accumulator]] = []
    for source in given:
        if not (isinstance(source, type) and issubclass(source, Accumulator)):
            raise UserError(f"expected a metric, a class of omnial_bench.Accumulator, got {source!r}"[:300])
        _check(source.__name__, getattr(source, "metric", None))
        if source.metric.name in [accumulator.metric.name for accumulator in classes]:
            raise UserError(f"expected metrics of different names, got {source.metric.name} twice; rename one")
        classes.append(source)
    return tuple(classes)


def _check(name: str, metric: object) -> None:
    if not isinstance(metric, Metric):
        raise UserError(f"{name}: expected metric = Metric(name=..., title=..., kind=...), got {metric!r}"[:300])
    if not isinstance(metric.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", metric.name):
        raise UserError(f"{name}: expected a name of small letters, digits and _, got {metric.name!r}"[:300])
    if metric.name in METRICS or is_chance(metric.name) or metric.chance:
        raise UserError(
            f"{name}: expected a name of its own and no level of chance, got {metric.name}, chance = {metric.chance}; "
            "give the level of chance as a metric of its own"
        )
    for text, most in ((metric.title, TITLE), (metric.unit, UNIT)):
        if not isinstance(text, str) or not is_printable(text) or len(text) > most:
            raise UserError(f"{name}: expected a title and a unit that fit on one line, got {text!r}"[:300])
    if metric.kind not in KINDS or metric.better not in ("higher", "lower") or not metric.low < metric.high:
        raise UserError(
            f"{name}: expected a kind out of {', '.join(KINDS)}, better = higher or lower and low below high, got "
            f"{metric!r}"[:300]
        )


class Gathering:
    """Metrics from elsewhere at work on one category of one set."""

    def __init__(self, metrics: Metrics) -> None:
        self._each: list[tuple[Metric, Accumulator]] = []
        for source in metrics:
            with guarded(source.__name__, "build"):
                self._each.append((source.metric, source()))

    @property
    def pixel(self) -> list[str]:
        """The names of those that look at pixels."""
        return [metric.name for metric, _ in self._each if metric.kind == "pixel"]

    def update(self, maps: Maps, masks: Masks, scores: Scores, labels: Labels) -> None:
        """Show a batch to all of them, to those that look at pixels without the images whose defects are not marked;
        UserError, one line, where one fails."""
        device = maps.device
        masks, scores, labels = masks.to(device), scores.to(device), labels.to(device)
        known = located(masks, labels)
        for metric, accumulator in self._each:
            shown = known if metric.kind == "pixel" else torch.ones_like(known)
            with guarded(f"the metric {metric.name}", "take a batch"):
                if shown.any():
                    accumulator.update(maps[shown], masks[shown], scores[shown], labels[shown])

    def compute(self) -> dict[str, float | None]:
        """The figures by name; UserError, one line, for one that is no number or outside of its metric's range."""
        return {metric.name: _figure(metric, accumulator) for metric, accumulator in self._each}


def _figure(metric: Metric, accumulator: Accumulator) -> float | None:
    with guarded(f"the metric {metric.name}", "compute"):
        value = accumulator.compute()
        figure = None if value is None else float(value)
    if figure is None or math.isnan(figure):
        return None
    if not metric.low <= figure <= metric.high or not math.isfinite(figure):
        raise UserError(
            f"the metric {metric.name}: expected a figure from {metric.low:g} to {metric.high:g}, as it says of "
            f"itself, got {figure:g}; give its metric other ends"
        )
    return figure
