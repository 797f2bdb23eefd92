"""What a run's rows and attempts say of each model under attack, put so that checks can compare it, and what these say
of it in turn. No torch here."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import pandas as pd

from omnial_bench.attacks.specs import NOTHING, Spec
from omnial_bench.attacks.threats import spec_in

METRIC, TITLE = "pixel_auroc", "pixel AUROC"
"""The figure that is compared: dense attacks on every image drive it down, and chance is 0.5 at any prevalence."""
SLACK = 0.02
"""How far a figure may lie on the wrong side. Attacks climb a loss, not the figure: on a detector without any mask more
loss can come with 0.02 more of it, and rounding to 8 bits and a random start add to that."""
HUGE = Fraction(64, 255)
"""A quarter of the range repaints a defect or invents one."""
DENSE = ("balanced", "cross_entropy", "linear", "pooled", "ranking", "segpgd", "cospgd")
"""Objectives that push every pixel against its truth. Others, and goals that attack some images only, may raise
pixel AUROC without anything being masked: no figure of theirs is compared."""


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
    spec: Spec = NOTHING

    @property
    def after(self) -> str:
        """The corruption whose images are the middle of its ball; empty for the test images as they are."""
        return option_in(self.options, "after")

    @property
    def iterative(self) -> bool:
        """Whether it climbs in several steps, by its gradient, to the most harm to each image."""
        return self.spec.bound and self.steps > 1

    @property
    def one_step(self) -> bool:
        alone = self.spec.bound and self.steps == 1 and not option_in(self.options, "start")
        return self.spec.uses_gradient and (alone or not self.spec.iterative)

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
class Model:
    """What a run knows of one model, attacked itself and on the images of other models."""

    own: tuple[Figure, ...]
    transferred: tuple[Figure, ...]
    attempts: pd.DataFrame
    """Its rows of attacks.csv, `spec` as a Spec and `losses` as numbers."""
    aside: tuple[Figure, ...]
    """Of attacks on itself, those that are not compared: of another goal, or an objective that is not DENSE."""
    rows: pd.DataFrame
    """Its rows of results.csv."""
    validated: Mapping[str, tuple[float, float]]
    """Pixel AP on the validation images before the first step and after the last, by the category of each
    training; of all together by no name."""


def models_of(
    rows: pd.DataFrame, attempts: pd.DataFrame, logs: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[tuple[str, str], Model]]:
    """Every (detector, paradigm) of results.csv and attacks.csv of one run, with what is known of it."""
    # Read from a file, no options are a missing value.
    attempts = attempts.fillna({"options": "", "spec": ""})
    table = records_of(attempts)
    read: dict[str, Any] = {
        "losses": [[float(word) for word in str(row["losses"]).split()] for row in table],
        "spec": [spec_in(row["attack"], row.get("spec", "")) for row in table],
    }
    attempts = attempts.assign(**read)
    keys = ["detector", "paradigm", "set", "source"]
    means = rows[(rows["metric"] == METRIC) & (rows["category"] == "mean")].dropna(subset="value")
    means = means.groupby(keys, sort=False, as_index=False).agg(value=("value", "mean"), n=("n", "sum"))
    names = ("attack", "objective", "goal", "norm", "where", "options", "suite", "spec")
    threats: dict[str, dict[str, Any]] = {f"{suite}-unattacked": {} for suite in attempts["suite"]}
    for row in records_of(attempts):
        numbers = {"eps": Fraction(row["eps"]), "steps": int(row["steps"]), "restarts": int(row["restarts"])}
        threats[row["set"]] = {name: row[name] for name in names} | numbers
    pairs = pd.concat([rows[keys[:2]], attempts[keys[:2]]]).itertuples(index=False, name=None)
    models: dict[tuple[str, str], list[Figure]] = {pair: [] for pair in pairs}
    for row in records_of(means):
        if row["set"] in threats:
            measured = {name: row[name] for name in ("set", "source", "value", "n")}
            models[row["detector"], row["paradigm"]].append(Figure(**measured, **threats[row["set"]]))
    for (detector, paradigm), figures in models.items():
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


def pairs_of(ones: Iterable[Figure], others: Iterable[Figure], *same: str) -> Iterator[tuple[Figure, Figure]]:
    """The figures that agree in the named settings."""
    table: dict[tuple[object, ...], list[Figure]] = {}
    for other in others:
        table.setdefault(tuple(getattr(other, name) for name in same), []).append(other)
    for one in ones:
        for other in table.get(tuple(getattr(one, name) for name in same), []):
            yield one, other


def option_in(options: str, name: str) -> str:
    """What the options of a row of attacks.csv say under a name, such as the threat where an attack starts or the
    corruption that it comes after; empty where they do not."""
    return dict(option.partition(" = ")[::2] for option in options.split(", ")).get(name, "")


def is_huge(norm: str, eps: Fraction) -> bool:
    """Whether a ball is HUGE. No length is: how much of an image it may repaint depends on the image's size."""
    return norm == "linf" and eps >= HUGE


def records_of(table: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The rows of a table, each by column."""
    return table.to_dict("records")


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
    compared = list(pairs)
    if not compared:
        return not_run(needs)
    one, other = max(compared, key=lambda pair: pair[0].value - pair[1].value)
    return judged(
        one.value <= other.value + slack,
        f"{TITLE} {one.value:.3f} under {one}, {other.value:.3f} under {other}",
        f"{why}; in doubt is the {one.value:.3f} of {one.set}, where {other.value:.3f} or less is true",
        set=one.set, figure=one.value, reference=other.value,
    )  # fmt: skip
