"""What a run's rows and attempts say of each model under attack, put so that checks can compare it. No torch here."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pandas as pd

from omnial_bench.attacks.specs import Spec, spec_in

METRIC, TITLE = "pixel_auroc", "pixel AUROC"
"""The figure that is compared: dense attacks on every image drive it down, and chance is 0.5 at any prevalence."""
HUGE = Fraction(64, 255)
"""A quarter of the range repaints a defect or invents one."""
BACK = 0.1
"""Share of the loss's whole range that a step may fall by without undoing progress: signs flip about a maximum."""
DENSE = ("balanced", "cross_entropy", "linear", "pooled", "ranking", "segpgd", "cospgd")
"""Objectives that push every pixel against its truth. Others, and goals that attack some images only, may raise
pixel AUROC without anything being masked: no figure of theirs is compared."""
REWEIGHTED = ("pooled", "ranking", "segpgd", "cospgd")
"""Objectives that hold back on what is already won, or measure in units of the map itself: their value may fall while
the attack gains pixels."""


GOES_ON = "start = "
"""In the options of an attack that begins in the images of another."""
AFTER = "after = "
"""In the options of an attack on the images of a corruption."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The class mean of the compared metric on `n` images attacked in one way; `eps` is 0 before any attack."""

    set: str
    source: str
    value: float
    n: int
    attack: str = "none"
    objective: str = "none"
    goal: str = "any"
    norm: str = "none"
    eps: Fraction = Fraction(0)
    where: str = "frame"
    steps: int = 0
    restarts: int = 1
    options: str = ""
    suite: str = ""
    told: str = ""
    """What its row says that the attack does."""

    @property
    def spec(self) -> Spec:
        return spec_in(self.attack, self.told)

    @property
    def after(self) -> str:
        """The corruption whose images are the middle of its ball; empty for the test images as they are."""
        return next((part.removeprefix(AFTER) for part in self.options.split(", ") if part.startswith(AFTER)), "")

    @property
    def iterative(self) -> bool:
        """Whether it climbs in several steps, by its gradient, to the most harm to each image."""
        return self.spec.bound and self.steps > 1

    @property
    def one_step(self) -> bool:
        spec = self.spec
        alone = self.steps == 1 and GOES_ON not in self.options
        return spec.uses_gradient and (not spec.iterative or (spec.bound and alone))

    @property
    def blind(self) -> bool:
        """Whether it searches without a gradient."""
        return self.spec.iterative and not self.spec.uses_gradient

    @property
    def control(self) -> bool:
        return self.spec.control

    @property
    def comparable(self) -> bool:
        return self.goal == "any" and (not self.eps or self.control or self.objective in DENSE)

    def __str__(self) -> str:
        if not self.eps:
            return "no attack"
        levels, origin = 255 * self.eps, "" if self.source == "self" else f" from {self.source}"
        size = f"{levels}/255" if levels.denominator == 1 else f"{float(self.eps):g}"
        return f"{self.set}{origin} ({self.attack} at {size})"


BALL = ("norm", "where", "eps", "n", "after")
"""What compared figures share at the least. In one run, as many images are the same images."""
SETTINGS = ("attack", "objective", "steps", "restarts", "options")


@dataclass(frozen=True)
class Curve:
    """The mean objective before each step of one threat, turned so that up is stronger. Of one that chose between a
    random start and another's images, in which all may be won, it begins at the start and goes on with what its own
    steps led to."""

    set: str
    objective: str
    losses: tuple[float, ...]

    @property
    def still(self) -> bool:
        """Whether the objective is the same from the first to the last."""
        return max(self.losses) == min(self.losses)

    @property
    def risen(self) -> bool:
        return self.losses[-1] > self.losses[0]

    @property
    def undone(self) -> int:
        """How many steps undo progress; all of them for a loss that never moves."""
        span = max(self.losses) - min(self.losses)
        return sum(not (span > 0 and after >= before - BACK * span) for before, after in pairwise(self.losses))

    @property
    def share(self) -> float:
        """Share of the steps that undo none."""
        return 1 - self.undone / (len(self.losses) - 1)


@dataclass(frozen=True)
class Model:
    """What a run knows of one model, attacked itself and on the images of other models."""

    own: tuple[Figure, ...]
    transferred: tuple[Figure, ...]
    attempts: pd.DataFrame
    aside: tuple[Figure, ...] = ()
    """Of attacks on itself, those that are not compared: of another goal, or an objective that is not DENSE."""
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Its rows of results.csv."""
    validated: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Pixel AP on the validation images before the first step and after the last, by the category of each
    training; of all together by no name."""


def models_of(
    rows: pd.DataFrame, attempts: pd.DataFrame, logs: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[tuple[str, str], Model]]:
    """Every (detector, paradigm) of results.csv and attacks.csv of one run, with what is known of it."""
    # Read from a file, no options are a missing value.
    attempts = attempts.fillna({"options": "", "spec": ""})
    keys = ["detector", "paradigm", "set", "source"]
    means = rows[(rows["metric"] == METRIC) & (rows["category"] == "mean")].dropna(subset="value")
    means = means.groupby(keys, sort=False, as_index=False).agg(value=("value", "mean"), n=("n", "sum"))
    names = ("attack", "objective", "goal", "norm", "where", "options", "suite")
    threats: dict[str, dict[str, Any]] = {f"{suite}-unattacked": {} for suite in attempts["suite"]}
    for row in records_of(attempts):
        numbers = {"eps": Fraction(row["eps"]), "steps": int(row["steps"]), "restarts": int(row["restarts"])}
        threats[row["set"]] = {name: row[name] for name in names} | numbers | {"told": row.get("spec", "")}
    found: dict[tuple[str, str], list[Figure]] = {}
    for detector, paradigm in pd.concat([rows[keys[:2]], attempts[keys[:2]]]).itertuples(index=False, name=None):
        found.setdefault((detector, paradigm), [])
    for row in records_of(means):
        if row["set"] in threats:
            made = {name: row[name] for name in ("set", "source", "value", "n")}
            found[row["detector"], row["paradigm"]].append(Figure(**made, **threats[row["set"]]))
    for (detector, paradigm), figures in found.items():
        usable = [one for one in figures if one.comparable]
        own = tuple(one for one in usable if one.source == "self" or not one.eps)
        transferred = tuple(one for one in usable if one.source != "self" and one.eps)
        aside = tuple(one for one in figures if not one.comparable and one.source == "self")
        mine, its = (
            table[(table["detector"] == detector) & (table["paradigm"] == paradigm)] for table in (attempts, rows)
        )
        validated = dict(_validated(logs, f"{detector}-{paradigm}"))
        yield (detector, paradigm), Model(own, transferred, mine, aside, its, validated)


def _validated(logs: Mapping[str, pd.DataFrame], model: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """The first and last validation AP of a model's logs that begin before the first step."""
    for name, log in logs.items():
        if f"{name}-".startswith(f"{model}-") and {"iteration", "validation_ap"} <= set(log):
            known = log.dropna(subset="validation_ap")
            if len(known) > 1 and known["iteration"].iloc[0] == 0:
                values = known["validation_ap"]
                yield name.removeprefix(model).removeprefix("-"), (values.iloc[0], values.iloc[-1])


def curves_of(attempts: pd.DataFrame) -> Iterator[Curve]:
    """One curve a threat: the categories' losses, weighted by their attacked images."""
    groups: dict[tuple[str, str], list[tuple[int, list[float]]]] = {}
    for row in records_of(attempts):
        steady = spec_in(row["attack"], row.get("spec", "")).steady and row["objective"] not in REWEIGHTED
        losses = [float(word) for word in row["losses"].split()] if isinstance(row["losses"], str) else []
        if len(losses) > row["steps"]:
            del losses[1]  # where the other's images lay
        if steady and row["attacked"] and len(losses) > 1 and not is_huge(row["norm"], Fraction(row["eps"])):
            turned = [-loss if row["direction"] == "down" else loss for loss in losses]
            groups.setdefault((row["set"], row["objective"]), []).append((row["attacked"], turned))
    for (name, objective), parts in groups.items():
        total = sum(weight for weight, _ in parts)
        steps = zip(*([weight / total * loss for loss in losses] for weight, losses in parts), strict=True)
        yield Curve(name, objective, tuple(math.fsum(step) for step in steps))


def pairs_of(ones: Iterable[Figure], others: Iterable[Figure], *same: str) -> Iterator[tuple[Figure, Figure]]:
    """The figures that agree in the named settings."""
    table: dict[tuple[object, ...], list[Figure]] = {}
    for other in others:
        table.setdefault(tuple(getattr(other, name) for name in same), []).append(other)
    for one in ones:
        for other in table.get(tuple(getattr(one, name) for name in same), []):
            yield one, other


def is_huge(norm: str, eps: Fraction) -> bool:
    """Whether a ball is HUGE. No length is: how much of an image it may repaint depends on the image's size."""
    return norm == "linf" and eps >= HUGE


def records_of(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The rows of a table, each by column."""
    return table.to_dict("records")
