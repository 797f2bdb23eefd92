"""The test suites of a run beside its fixed sets, and which of them answers which question. No torch here."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import pandas as pd

from omnial_bench.attacks.evidence import is_huge
from omnial_bench.attacks.specs import AIMS
from omnial_bench.metrics.metric import kind_of
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.origins import Environment, read_attempts, read_environment, read_health, unlearnt_of
from omnial_bench.reports.suites import RANKING, Evaluation, Trial, split
from omnial_bench.reports.values import Values
from omnial_bench.results import read_differences


@dataclass(frozen=True)
class Campaign:
    """Every row (`values`), those of the clean test and the fixed sets (`fixed`), the test suites, which may be none,
    and their records."""

    values: Values
    fixed: Values
    evaluations: tuple[Evaluation, ...]
    attempts: pd.DataFrame
    health: pd.DataFrame
    environment: Environment

    @cached_property
    def white_box(self) -> Evaluation | None:
        """The suite that attacks each model itself towards most goals at one size, any harm among them."""

        def shows(suite: Evaluation) -> tuple[bool, int, bool, bool, int]:
            goals = self._goals(suite)
            return "any" in goals, len(goals), suite.name == "white-box", bool(suite.worst), len(suite.own)

        return max((each for each in self.evaluations if each.own and each.control), key=shows, default=None)

    @cached_property
    def goals(self) -> dict[str, Trial]:
        """The white-box threats at the common size, by goal: any, hide, fabricate."""
        return self._goals(self.white_box) if self.white_box else {}

    def _goals(self, evaluation: Evaluation) -> dict[str, Trial]:
        fixed = {condition.eps for condition in self.fixed.sets if condition.norm == "linf"}
        sizes = {trial.size: trial for trial in evaluation.own}

        def shows(size: str) -> tuple[bool, int, bool, float]:
            trial, goals = sizes[size], evaluation.aimed(size)
            # What any detector should give way to stands for a suite only where there is nothing else.
            known = not math.isnan(trial.eps)
            huge = known and is_huge(trial.norm, Fraction(trial.eps).limit_denominator(10**4))
            return bool(goals) and not huge, len(goals), trial.eps in fixed, trial.eps if known else 0.0

        return evaluation.aimed(max(sizes, key=shows, default=""))

    def against(self, metric: str) -> Condition | None:
        """The white-box attack, towards any harm at the common size, that a metric is read under.

        Metrics of images are read under an attack on the score that ranks them: under one on pixels alone they are
        no bound. None where the suite has no such threat.
        """
        suite, pixels = self.white_box, self.goals.get("any")
        if suite is None or pixels is None or not metric.startswith("image_"):
            return pixels.own if pixels else None
        wanted = (RANKING, pixels.size, "frame", "any")
        alike = (each for each in suite.own if (each.objective, each.size, each.where, each.goal) == wanted)
        return next((each.own for each in alike), None)

    def first_columns(self, metric: str) -> dict[str, Condition | None]:
        """What the first table has of a metric: no attack, each goal at the common size, and the worst of several
        attacks of that size."""
        if not (suite := self.white_box):
            return {}
        shown = {"unattacked": suite.control, **{goal: trial.own for goal, trial in self.goals.items()}}
        if self.worst and all(trial.size == self.size for trial in self.worst.own):
            shown["worst"] = self.worst.worst
        return shown | ({"any": self.against(metric)} if "any" in shown else {})

    def bounds(self, model: Model, condition: Condition | None, metric: str) -> bool:
        """Whether a figure bounds the model's robustness: it was attacked itself, through just this kind of metric.

        Rows tell what an attack went for; for those that do not, the objective in attacks.csv does. An attack from
        elsewhere, `package.module:object`, bounds nothing unless it says so.
        """
        if condition is None or not condition.white_box or self.unbound(condition):
            return False
        aims = self.values.aims(model, condition)
        aims = self._aims(condition) if aims <= {""} else aims
        return bool(aims) and all(kind_of(metric) in aim.split("+") for aim in aims)

    def unbound(self, condition: Condition) -> bool:
        """Whether it is an attack from elsewhere that claims no bound."""
        return ":" in condition.attack and not any("bound" in trial.spec.split() for trial in self._trials(condition))

    def _trials(self, condition: Condition) -> list[Trial]:
        """The threats behind a white-box condition, of the worst over several these."""
        worst = [trial for suite in self.evaluations if suite.worst == condition for trial in suite.own]
        return worst or [trial for suite in self.evaluations for trial in suite.own if trial.own == condition]

    def _aims(self, condition: Condition) -> set[str]:
        kinds = {AIMS.get(trial.objective, "pixel") for trial in self._trials(condition) if trial.objective}
        return {"+".join(sorted(kinds))} if kinds else set()

    @property
    def size(self) -> str:
        """The common size of the white-box threats in words."""
        return next((trial.size for trial in self.goals.values()), "")

    @cached_property
    def worst(self) -> Evaluation | None:
        """The suite that has the worst over its threats, image by image."""
        own = [each for each in self.evaluations if each.worst]
        return max(own, key=lambda each: (each.name == "worst-case", len(each.trials)), default=None)

    @property
    def fixed_set(self) -> Condition | None:
        """The fixed set of the same norm and size as the white-box attack, that raises the loss like it."""
        trial = self.goals.get("any")
        if trial is None or not self.fixed.control:
            return None
        alike = [each for each in self.fixed.sets if (each.norm, each.towards) == (trial.norm, False)]
        return next((each for each in alike if abs(each.eps - trial.eps) < 1e-9), None)

    @property
    def transfers(self) -> tuple[tuple[Evaluation, Trial], ...]:
        """Threats whose images other models are scored on."""
        return tuple((each, trial) for each in self.evaluations for trial in each.trials if trial.transferred)

    @property
    def corruptions(self) -> Evaluation | None:
        """The suite that holds common corruptions."""
        own = [each for each in self.evaluations if each.corruptions]
        return max(own, key=lambda each: len(each.corruptions), default=None)

    @property
    def shifted(self) -> Evaluation | None:
        """The suite that attacks after common corruptions."""
        return next((each for each in self.evaluations if any(trial.after for trial in each.trials)), None)

    def attempts_under(self, trial: Trial) -> pd.DataFrame:
        """The rows of attacks.csv on each model attacked itself."""
        return self.attempts[(self.attempts["set"] == trial.set) & (self.attempts["source"] == "self")]

    def attacked(self, trial: Trial) -> int:
        """Images of all categories that the goal attacks, the most of any model; 0 where attacks.csv does not say."""
        counts = self.attempts_under(trial).groupby(["detector", "paradigm", "seed"])["attacked"].sum()
        return int(counts.max()) if len(counts) else 0


def campaign_of(run: Path, rows: pd.DataFrame, *, seed: int | None = None) -> Campaign:
    """The rows of a run folder with what its other files say of them; UserError as of `Values`."""
    attempts, health, environment = read_attempts(run, seed=seed), read_health(run), read_environment(run)
    fixed, evaluations = split(rows, attempts)
    if evaluations and fixed.empty:
        # A run of test suites alone: their images before any attack are the test split.
        controls = [each.control.set for each in evaluations if each.control]
        whole = (controls or [evaluations[0].trials[0].set])[0]
        fixed = rows[rows["set"].str.partition("/")[0] == whole]
        fixed = fixed.assign(set=fixed["set"].str.replace(whole, "clean", n=1, regex=False))
    recorded = unlearnt_of(health), read_differences(run), environment.detectors, environment.families
    evaluations = tuple(replace(each, heading=environment.suites.get(each.name, "")) for each in evaluations)
    return Campaign(Values(rows, *recorded), Values(fixed, *recorded), evaluations, attempts, health, environment)
