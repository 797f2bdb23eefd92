"""Which rows belong to a test suite, and what each of its threats is. No torch here."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from omnial_bench.attacks.evidence import option_in
from omnial_bench.attacks.specs import AIMS
from omnial_bench.attacks.threats import ATTACKS, Kind
from omnial_bench.reports.conditions import GOAL_ORDER, Condition
from omnial_bench.reports.values import conditions_of

ATTACK_TITLES = {
    "pgd": "PGD", "apgd": "APGD", "fgsm": "FGSM", "mi": "MI-FGSM", "di": "DI-FGSM", "ti": "TI-FGSM", "square": "Square",
    "minimal": "smallest change", "noise": "uniform noise", "universal": "universal", "patch": "patch",
}  # fmt: skip
GOALS = ("any", "hide", "fabricate")
RANKING = "image_score"
"""The objective that is after the score that ranks images."""
ON_SCORES = frozenset(name for name, aim in AIMS.items() if aim == "image")
"""All that are after an image score."""
CORRUPTIONS = "corruptions"
"""The suite that common corruptions belong to where attacks.csv does not say."""
_CONTROL, _WORST = "-unattacked", "-worst"
_CORRUPTION = re.compile(r"^(?P<kind>.+) severity (?P<severity>\d+)$")


@dataclass(frozen=True)
class Trial:
    """One threat of a test suite: its rows' conditions, and what attacks.csv says of it or, without it, they do."""

    set: str
    conditions: tuple[Condition, ...]
    attack: str
    objective: str
    goal: str
    norm: str
    eps: float
    where: str
    steps: int
    restarts: int
    options: str = ""
    title: str = ""
    """Of an attack from elsewhere, that it has of itself."""
    spec: str = ""
    """What the attack does, in words of `attacks.specs.Spec`."""

    @property
    def own(self) -> Condition | None:
        """Each model attacked itself."""
        return next((condition for condition in self.conditions if condition.white_box), None)

    @property
    def transferred(self) -> tuple[Condition, ...]:
        """Each model on the images of another one."""
        return tuple(condition for condition in self.conditions if condition.sources)

    @property
    def by_size(self) -> bool:
        """Whether its rows are what a search for the smallest change found up to its size, and no attack's own."""
        return self._searches and not self.objective

    @property
    def stops_across(self) -> bool:
        """Whether it goes no further than across the threshold, whatever its size."""
        return self._searches and bool(self.objective)

    @property
    def _searches(self) -> bool:
        return ATTACKS.get(self.attack, Kind()).sized

    @property
    def size(self) -> str:
        """The budget in words: `8/255`, or a length in l2; empty where there is no ball."""
        if math.isnan(self.eps):
            return ""
        levels = 255 * self.eps
        text = f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{self.eps:g}"
        return f"\u21132 {text}" if self.norm == "l2" else text

    @property
    def words(self) -> str:
        """Size, goal and place, without the attack; the label where it tells no ball."""
        first = self.conditions[0]
        if not first.norm:
            return first.threat.replace("_", " ")
        parts = [self.size]
        parts += [] if self.goal == "any" else ["targeted" if self.goal == "target" else self.goal]
        parts += [] if self.where == "frame" else [self.where]
        return " ".join(parts)

    @property
    def attack_title(self) -> str:
        """The attack with the options that the suite sets."""
        title = ATTACK_TITLES.get(self.attack) or self.title or self.attack.rpartition(":")[2]
        return f"{title} ({self.options})" if self.options else title

    @property
    def goes_on(self) -> bool:
        """Whether it begins in the images of another threat, whose figure then has its share."""
        return bool(option_in(self.options, "start"))

    @property
    def after(self) -> str:
        """The threat whose images it attacks, from the label; empty for the test images as they are."""
        return self.conditions[0].threat.partition(" after ")[2]

    @property
    def corruption(self) -> tuple[str, int] | None:
        """Kind and severity of a common corruption, from the label."""
        parts = _CORRUPTION.match(self.conditions[0].threat)
        return (parts["kind"].replace("_", " "), int(parts["severity"])) if parts else None


@dataclass(frozen=True)
class Evaluation:
    """One test suite as the rows hold it: its images before any attack, its threats, and the worst over them."""

    name: str
    control: Condition | None
    trials: tuple[Trial, ...]
    worst: Condition | None
    heading: str = ""
    """The title of its record, where the run tells it."""

    @property
    def label(self) -> str:
        """The suite within a sentence."""
        return f"{self.name} ({self.heading})" if self.heading else self.name

    @property
    def own(self) -> tuple[Trial, ...]:
        """The threats under which each model is attacked itself, on the test images as they are."""
        return tuple(trial for trial in self.trials if trial.own and trial.corruption is None and not trial.after)

    @property
    def corruptions(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.corruption)

    @property
    def curves(self) -> tuple[tuple[Trial, ...], ...]:
        """Threats that differ in eps alone, by rising eps, and what each search for the smallest change found up to
        each: at least three sizes each."""
        groups: dict[tuple[str, ...], dict[float, Trial]] = {}
        for trial in self.own:
            kind = (trial.attack, trial.objective, trial.goal, trial.norm, trial.where)
            if trial.goes_on or trial.stops_across:
                continue
            search = trial.set.rpartition("-")[0] if trial.by_size else ""
            sizes = groups.setdefault((*kind, search), {})
            if not math.isnan(trial.eps) and (trial.eps not in sizes or trial.steps > sizes[trial.eps].steps):
                sizes[trial.eps] = trial
        return tuple(tuple(sizes[eps] for eps in sorted(sizes)) for sizes in groups.values() if len(sizes) >= 3)

    def title(self, trial: Trial) -> str:
        """A threat in as many words as tell it from the others of the suite."""
        uses = Counter(text for other in self.trials for text in set(_titles(other)))
        return next((text for text in _titles(trial) if uses[text] == 1), f"{trial.words} ({trial.set})")

    def aimed(self, size: str) -> dict[str, Trial]:
        """The threat of each of GOALS at a size in the whole frame: on pixels, the commonest attack, most steps."""
        common = Counter(trial.attack for trial in self.own)
        trials = sorted(self.own, key=lambda each: (-common[each.attack], each.attack != "pgd", -each.steps))
        by_goal: dict[str, Trial] = {}
        for trial in trials:
            on_pixels = trial.objective not in ON_SCORES and not trial.goes_on
            if on_pixels and trial.size == size and trial.where == "frame" and trial.goal in GOALS:
                by_goal.setdefault(trial.goal, trial)
        return by_goal


def split(rows: pd.DataFrame, attempts: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Evaluation, ...]]:
    """Rows of the clean test and the fixed sets apart, and the test suites.

    A suite is known by its control `<suite>-unattacked`; its threats are those that attacks.csv names and, where it
    names none, white-box rows whose set begins with the suite's name, and common corruptions.
    """
    conditions = [each for each in conditions_of(rows) if not each.part]
    suites = _suites(conditions, attempts)
    if not suites:
        return rows, ()
    member = {name: suite for suite, names in suites.items() for name in names}
    # A fixed set may share its name with a threat: rows on the mean of several sources are a set's.
    several = rows["source"].str.contains("+", regex=False)
    fixed = rows[~rows["set"].str.partition("/")[0].isin(member) | several].reset_index(drop=True)
    evaluations = tuple(_evaluation(suite, names, conditions, attempts) for suite, names in suites.items())
    return fixed, evaluations


def _suites(conditions: Sequence[Condition], attempts: pd.DataFrame) -> dict[str, list[str]]:
    """Names of the sets of each suite, of those that have a control and at least one attack."""
    controls = [item.set.removesuffix(_CONTROL) for item in conditions if item.control and item.set.endswith(_CONTROL)]
    named = dict(zip(attempts["set"], attempts["suite"], strict=True))
    suites: dict[str, list[str]] = {suite: [] for suite in sorted(controls)}
    for item in (item for item in conditions if item.attacked):
        # The longest name that fits: `white-box-long-1` is no threat of `white-box` where both are suites.
        like = [name for name in sorted(controls, key=len) if item.white_box and item.set.startswith(f"{name}-")]
        like = [CORRUPTIONS] if not like and _CORRUPTION.match(item.threat) and CORRUPTIONS in controls else like
        suite = named.get(item.set, like[-1] if like else None)
        if suite in suites and item.set not in suites[suite]:
            suites[suite].append(item.set)
    return {name: [f"{name}{_CONTROL}", f"{name}{_WORST}", *sets] for name, sets in suites.items() if sets}


def _evaluation(
    suite: str, names: Iterable[str], conditions: Sequence[Condition], attempts: pd.DataFrame
) -> Evaluation:
    # Of the same name may be a fixed set, on the mean of several sources.
    by_set = {name: [each for each in conditions if each.set == name and len(each.sources) < 2] for name in names}
    control, worst = (next(iter(by_set.pop(f"{suite}{end}", [])), None) for end in (_CONTROL, _WORST))
    mine = attempts[attempts["suite"] == suite]
    trials = [_trial(name, under, mine[mine["set"] == name]) for name, under in by_set.items() if under]
    return Evaluation(suite, control, tuple(sorted(trials, key=_order)), worst)


def _trial(name: str, conditions: Sequence[Condition], recorded: pd.DataFrame) -> Trial:
    under, first = tuple(conditions), conditions[0]
    if recorded.empty:
        where = "foreground" if "foreground" in first.threat else "frame"
        return Trial(name, under, first.attack, "", first.goal or "any", first.norm, first.eps, where, 0, 0)
    row = recorded.iloc[0]
    texts = ("attack", "objective", "goal", "norm", "where", "options", "title", "spec")
    facts: dict[str, Any] = {key: str(row.get(key, "")) for key in texts}
    facts |= {key: 0 if math.isnan(row[key]) else int(row[key]) for key in ("steps", "restarts")}
    return Trial(name, under, eps=float(row["size"]), **facts)


def _titles(trial: Trial) -> tuple[str, ...]:
    attack = f"{trial.words}, {trial.attack_title}"
    objective = f"{attack}, {trial.objective.replace('_', ' ')}"
    return trial.words, attack, objective, f"{objective}, {trial.steps} steps"


def _order(trial: Trial) -> tuple[str, float, int, bool, bool, str, int, str]:
    eps = 0.0 if math.isnan(trial.eps) else trial.eps
    goal = GOAL_ORDER.index(trial.goal) if trial.goal in GOAL_ORDER else len(GOAL_ORDER)
    return trial.norm, eps, goal, trial.where != "frame", trial.attack != "pgd", trial.attack, trial.steps, trial.set
