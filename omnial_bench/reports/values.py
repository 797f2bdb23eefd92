"""What the rows speak of: models, conditions, and the figure of each. No torch here."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd

from omnial_bench.errors import UserError
from omnial_bench.metrics.metric import METRICS, is_chance
from omnial_bench.reports.conditions import Condition, Model, Titles, condition_order, family_of, model_order
from omnial_bench.results import AT_THRESHOLD, HEADLINE, size_of

METRIC_TITLES = {name: metric.title for name, metric in METRICS.items()}
MEAN = "mean"
_CONDITION = ("set", "threat", "source")
_FIGURE = ("category", "metric", "aim", "seed", "value", "low", "high", "n")


class Gap(NamedTuple):
    """A difference between two models on the same images, with its paired 95 % interval."""

    difference: float
    low: float
    high: float

    @property
    def apart(self) -> bool:
        """Whether the images tell the models apart: 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


class _Figure(NamedTuple):
    seed: int
    value: float
    low: float
    high: float
    n: int


Ranked = list[tuple[float, Model]]
_Key = tuple[Model, Condition, str, str]
"""Model, condition, category and metric."""
_Pair = tuple[Model, Model, tuple[str, str, str, str]]
"""Both models, and set, source, category and metric."""


class Values:
    """The rows of one data set by model, condition, category and metric; several seeds are averaged."""

    def __init__(
        self,
        rows: pd.DataFrame,
        unlearnt: Mapping[tuple[str, str], tuple[str, ...]] | None = None,
        differences: pd.DataFrame | None = None,
        titles: Mapping[str, str] | None = None,
        families: Mapping[str, str] | None = None,
    ) -> None:
        """`unlearnt` names by detector and paradigm what a check says has not learnt, with the categories or none;
        `differences` are those of differences.csv, `titles` and `families` those of detectors that the run tells.

        UserError where there are no rows, or where they are of several data sets.
        """
        if rows.empty:
            raise UserError("expected rows to report on, got none; score a model into this run first")
        datasets = list(dict.fromkeys(rows["dataset"]))
        if len(datasets) > 1:
            raise UserError(f"expected rows of one data set, got {', '.join(datasets)}; report on each apart")
        self.dataset: str = datasets[0]
        self.seeds: tuple[int, ...] = tuple(sorted({int(seed) for seed in rows["seed"]}))
        self._figures: dict[_Key, list[_Figure]] = defaultdict(list)
        self._counts: dict[tuple[Model, Condition, str], int] = defaultdict(int)
        self._aims: dict[tuple[Model, Condition, str], set[str]] = defaultdict(set)
        every = conditions_of(rows)
        conditions = {(each.set, each.threat, each.source): each for each in every}
        columns = ["detector", "paradigm", "preset", *_CONDITION, *_FIGURE]
        for *names, category, metric, aim, seed, value, low, high, n in rows[columns].itertuples(
            index=False, name=None
        ):
            images = Model(*names[:3]), conditions[tuple(names[3:])], category
            self._figures[*images, metric].append(_Figure(seed, value, low, high, n))
            self._counts[images] = max(self._counts[images], n)
            self._aims[images].add(aim)
        self._gaps = {} if differences is None else _gaps_of(differences[differences["seed"].isin(self.seeds)])
        self.models: tuple[Model, ...] = tuple(sorted({key[0] for key in self._figures}, key=model_order))
        self.detectors = tuple(dict.fromkeys(model.detector for model in self.models))
        self.titles = Titles(self.detectors, titles or {})
        told = families or {}
        # A run that says of its own detector that it has none knows better than a record of here of the same name.
        self.families = {name: told[name] if name in told else family_of(name) for name in self.detectors}
        unlearnt = unlearnt or {}
        self.unlearnt = {model: unlearnt[model[:2]] for model in self.models if model[:2] in unlearnt}
        self.judged = tuple(model for model in self.models if model not in self.unlearnt)
        """The models that anything is concluded on: all but those that a check says have not learnt."""
        self.conditions = tuple(each for each in every if not each.part)
        self.clean = next((each for each in self.conditions if each.clean), None)
        self.control = next((each for each in self.conditions if each.control), None)
        self.attacks = tuple(each for each in self.conditions if each.attacked)
        self.sets = tuple(each for each in self.attacks if not each.white_box)
        """The attacks that are fixed sets."""
        self._parts = tuple(each for each in every if each.part)
        self.categories: tuple[str, ...] = tuple(sorted(set(rows["category"]) - {MEAN}))
        self.intervals = bool(rows[["low", "high"]].notna().all(axis=1).any())
        """Whether any row has an interval over images."""
        present = set(rows["metric"])
        self.metrics = tuple(name for name in METRICS if name in present)
        self.unknown: tuple[str, ...] = tuple(sorted(name for name in present - set(METRICS) if not is_chance(name)))
        """Metrics of a later version or of the user's own, of which nothing but the figures is known."""
        defined = set(rows.loc[rows["value"].notna(), "metric"])
        self.headline = tuple(
            name for name in self.metrics if name in HEADLINE or (name in AT_THRESHOLD and name in defined)
        )
        """The metrics of the first tables: those at a threshold only where there is one."""

    def parts_of(self, whole: Condition | None) -> tuple[Condition, ...]:
        """The same images under each condition of the data set, apart."""
        return tuple(each for each in self._parts if whole and each == replace(whole, set=f"{whole.set}/{each.part}"))

    @cached_property
    def partial(self) -> bool:
        """Whether some mean leaves out a category whose figure is undefined."""
        return any(
            not math.isnan(self.get(model, condition, metric))
            for (model, condition, _, metric), figures in self._figures.items()
            if any(math.isnan(figure.value) for figure in figures)
        )

    def short_label(self, model: Model) -> str:
        """A model below the title of its detector: its paradigm, with its preset where there are several."""
        twins = sum(other.name == model.name for other in self.models)
        return model.paradigm if twins == 1 else f"{model.paradigm} ({model.preset})"

    def label(self, model: Model) -> str:
        return f"{self.titles.of_detector(model.detector)} {self.short_label(model)}"

    def aims(self, model: Model, condition: Condition) -> set[str]:
        """What the rows say that the attack went for, over the categories; `""` among it where one does not say."""
        return set().union(*(self._aims[model, condition, name] for name in self.scored(model, condition)))

    def _of(self, model: Model, condition: Condition | None, metric: str, category: str) -> list[_Figure]:
        return self._figures.get((model, condition, category, metric), []) if condition else []

    def get(self, model: Model, condition: Condition | None, metric: str, category: str = MEAN) -> float:
        """The figure as in the rows (a fraction, or dB); NaN where it is undefined or was not measured."""
        figures = self._of(model, condition, metric, category)
        return fmean(figure.value for figure in figures) if figures else math.nan

    def known(self, condition: Condition, metric: str) -> bool:
        """Whether any model has a figure of it."""
        return any(not math.isnan(self.get(model, condition, metric)) for model in self.models)

    def hits(self, model: Model, condition: Condition | None, metric: str) -> tuple[float, int]:
        """How many images a share stands for, and of how many, over the categories where it is defined; averaged over
        the seeds."""
        known = [
            figure
            for category in self.categories
            for figure in self._of(model, condition, metric, category)
            if not math.isnan(figure.value)
        ]
        seeds = max(len({figure.seed for figure in known}), 1)
        return sum(figure.value * figure.n for figure in known) / seeds, sum(figure.n for figure in known) // seeds

    def measured(self, model: Model, condition: Condition | None, metric: str) -> bool:
        """Whether there is a row of it, be it undefined."""
        return bool(self._of(model, condition, metric, MEAN))

    def each(self, model: Model, condition: Condition | None, metric: str) -> list[float]:
        """The class mean of each seed; none where one is undefined, for a mean of the others would be of other
        models."""
        values = [figure.value for figure in self._of(model, condition, metric, MEAN)]
        return [] if any(map(math.isnan, values)) else values

    def ranked(self, condition: Condition | None, metric: str) -> Ranked:
        """The judged models with a figure, the highest first."""
        pairs = [(self.get(model, condition, metric), model) for model in self.judged]
        return sorted((pair for pair in pairs if not math.isnan(pair[0])), key=lambda pair: -pair[0])

    def change(self, model: Model, condition: Condition, metric: str, category: str = MEAN) -> float:
        """The figure less that of the control."""
        return self.get(model, condition, metric, category) - self.get(model, self.control, metric, category)

    def spread(self, model: Model, condition: Condition | None, metric: str, *, less: Condition | None = None) -> float:
        """Standard deviation over seeds of the class mean, or of it less that under `less`; NaN for one seed."""
        base = {figure.seed: figure.value for figure in self._of(model, less, metric, MEAN)}
        figures = [figure for figure in self._of(model, condition, metric, MEAN) if less is None or figure.seed in base]
        changes = [figure.value - base.get(figure.seed, 0.0) for figure in figures]
        return math.nan if len(changes) < 2 or any(map(math.isnan, changes)) else stdev(changes)

    def interval(self, model: Model, condition: Condition | None, metric: str) -> tuple[float, float]:
        """Both ends of the 95 % interval over images, averaged over the seeds; NaN where a row has none."""
        figures = self._of(model, condition, metric, MEAN)
        ends = [(figure.low, figure.high) for figure in figures] or [(math.nan, math.nan)]
        low, high = map(fmean, zip(*ends, strict=True))
        return (low, high) if math.isfinite(low + high) else (math.nan, math.nan)

    def ends(self, key: str, model: Model, condition: Condition | None, metric: str) -> dict[str, float]:
        """The same as a table's row has them behind its figure `key`, where there are any."""
        low, high = self.interval(model, condition, metric)
        return {} if math.isnan(low) else {f"{key}_low": low, f"{key}_high": high}

    def gap(
        self, model: Model, other: Model, condition: Condition | None, metric: str, category: str = MEAN
    ) -> Gap | None:
        """The figure less that of another model on the same images, averaged over the seeds.

        None where it has no interval, or where it is not that of these rows.
        """
        if condition is None:
            return None
        where = (condition.set, condition.source, category, metric)
        gaps = self._gaps.get((model, other, where), [])
        gaps = gaps or [Gap(-gap, -high, -low) for gap, low, high in self._gaps.get((other, model, where), [])]
        if not gaps:
            return None
        gap = Gap(*(fmean(column) for column in zip(*gaps, strict=True)))
        rows = self.get(model, condition, metric, category) - self.get(other, condition, metric, category)
        return gap if all(map(math.isfinite, gap)) and math.isclose(gap.difference, rows, abs_tol=1e-9) else None

    def seeds_of(self, conditions: Iterable[Condition | None]) -> tuple[int, ...]:
        """The seeds that have a figure under any of the conditions."""
        wanted = set(conditions)
        under = [figures for (_, condition, *_), figures in self._figures.items() if condition in wanted]
        return tuple(sorted({figure.seed for figures in under for figure in figures}))

    def chance(self, condition: Condition | None, metric: str, category: str = MEAN) -> float:
        """The chance level of a metric: the prevalence decides it, hence the images and not the model."""
        levels = (self.get(model, condition, f"{metric}_chance", category) for model in self.models)
        return next((level for level in levels if not math.isnan(level)), math.nan)

    def count(self, model: Model, condition: Condition, category: str) -> int:
        """Number of images of a category that the model was scored on; some metrics use a part of them."""
        return self._counts.get((model, condition, category), 0)

    def part(self, model: Model, condition: Condition) -> tuple[str, ...]:
        """The categories whose images were made by attacking this very model, alone or with others.

        `aim` decides where the rows tell it. Where they do not, the names of the source do: a separate model goes by
        its name with the category, or by its name alone for all of its categories.
        """
        return tuple(
            name
            for name in self.categories
            if self.count(model, condition, name) and self._attacked(model, condition, name)
        )

    def _attacked(self, model: Model, condition: Condition, category: str) -> bool:
        if aims := self._aims[model, condition, category] - {"", "none"}:
            return aims != {"other"}
        return condition.white_box or not {model.name, f"{model.name}-{category}"}.isdisjoint(condition.sources)

    def scored(self, model: Model, condition: Condition) -> tuple[str, ...]:
        """The categories that the model was scored on."""
        return tuple(name for name in self.categories if self.count(model, condition, name))

    def total(self, condition: Condition, model: Model | None = None) -> int:
        """Number of images of all categories together."""
        models = self.models if model is None else (model,)
        return max(sum(self.count(each, condition, name) for name in self.categories) for each in models)


def conditions_of(rows: pd.DataFrame) -> list[Condition]:
    """What the models of rows were scored on, in the order of tables."""
    # Of rows that do not say what attacked and others that do, these tell.
    threats = rows.groupby([*_CONDITION], sort=False)[["attack", "norm", "eps", "goal"]].max().reset_index()
    conditions = [
        Condition(name, threat, source, attack, norm, size_of(eps), goal)
        for name, threat, source, attack, norm, eps, goal in threats.itertuples(index=False, name=None)
    ]
    return sorted(conditions, key=condition_order)


def _gaps_of(differences: pd.DataFrame) -> dict[_Pair, list[Gap]]:
    gaps: dict[_Pair, list[Gap]] = defaultdict(list)
    for row in differences.to_dict("records"):
        model = Model(row["detector"], row["paradigm"], row["preset"])
        other = Model(row["other_detector"], row["other_paradigm"], row["other_preset"])
        where = (row["set"], row["source"], row["category"], row["metric"])
        gaps[model, other, where].append(Gap(row["difference"], row["low"], row["high"]))
    return gaps
