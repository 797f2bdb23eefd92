"""What figures are of: models and what they were scored on, and their titles for readers. No torch here."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import pandas as pd

from omnial_bench.config.load import read_detector, record_names

GOAL_ORDER = ("any", "target", "hide", "fabricate")
"""In the order of tables."""
_PANELS = re.compile(r"^(?P<base>.+?)[-_+](?P<without>no[-_]?|without[-_]?)?(?:with[-_]?)?panels?$")
_MODEL = re.compile(r"^(?P<detector>.+)-(?P<paradigm>unified|separate)(?:-(?P<category>.+))?$")


class Model(NamedTuple):
    """A detector trained in one paradigm: one line of the headline."""

    detector: str
    paradigm: str
    preset: str

    @property
    def name(self) -> str:
        """As models are named in run folders and in the sources of sets."""
        return f"{self.detector}-{self.paradigm}"

    def owns(self, name: str) -> bool:
        """Whether a folder or an image of that name is of it; separate models carry their category at the end."""
        return name == self.name or name.startswith(f"{self.name}-")

    def rows_in(self, table: pd.DataFrame) -> pd.DataFrame:
        """Its rows of attacks.csv or health.csv."""
        return table[(table["detector"] == self.detector) & (table["paradigm"] == self.paradigm)]


@dataclass(frozen=True)
class Condition:
    """What a model was scored on: the clean test, the control, a fixed set, or an attack on the model itself."""

    set: str
    threat: str
    source: str
    attack: str = field(default="", compare=False)
    norm: str = field(default="", compare=False)
    """Empty, and `eps` NaN, where no ball tells how much was changed."""
    eps: float = field(default=math.nan, compare=False)
    """Size of the perturbation, in [0, 1] pixel units; a length in l2."""
    goal: str = field(default="", compare=False)

    @property
    def clean(self) -> bool:
        return self.set == "clean" and self.threat == "none"

    @property
    def part(self) -> str:
        """The condition of the data set whose images of the clean test these are; empty for all of them."""
        return self.set.partition("/")[2]

    @property
    def control(self) -> bool:
        """The images of the sets before any attack."""
        return self.set != "clean" and self.threat == "none"

    @property
    def attacked(self) -> bool:
        return self.threat != "none"

    @property
    def white_box(self) -> bool:
        return self.source == "self"

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the models that the set was built on."""
        return () if self.source in ("none", "self") else tuple(self.source.split("+"))

    @property
    def towards(self) -> bool:
        """Whether the attack goes towards maps of its choice, not against the truth of every image."""
        return self.goal not in ("", "any")

    @property
    def label(self) -> str:
        if not self.attacked:
            return "Clean test" if self.clean else "Control"
        text = self.threat.replace("linf ", "").replace("l2 ", "\u21132 ")
        return f"{text}, white-box" if self.white_box else text

    @property
    def key(self) -> str:
        """A column name for files."""
        return f"{self.set}_white_box" if self.white_box else self.set


def model_order(model: Model) -> tuple[str, str, int, str]:
    return panels_of(model.detector)[0], model.detector, int(model.paradigm != "unified"), model.preset


def condition_order(condition: Condition) -> tuple[int, int, str, float, str]:
    kind = 0 if condition.clean else 1 if condition.control else 3 if condition.white_box else 2
    goal = GOAL_ORDER.index(condition.goal) if condition.goal in GOAL_ORDER else 0
    eps = math.inf if math.isnan(condition.eps) else condition.eps
    return kind, goal, condition.norm or condition.threat, eps, condition.set


class Titles:
    """Titles of detectors by the names of their records: those that a run tells, else those of the records here."""

    def __init__(self, detectors: Iterable[str], recorded: Mapping[str, str]) -> None:
        """`detectors` are those of the rows: where two of them share a title, their names stand behind it."""
        self._recorded = recorded
        titles = {name: self._plain(name) for name in detectors}
        shared = {title for title, count in Counter(titles.values()).items() if count > 1}
        self._titles = {name: f"{title} ({name})" if title in shared else title for name, title in titles.items()}

    def _plain(self, detector: str) -> str:
        if title := self._recorded.get(detector) or _recorded_here(detector, "title"):
            return title
        base, panels = panels_of(detector)
        return detector if panels is None else f"{self._plain(base)} {'with' if panels else 'without'} panels"

    def of_detector(self, name: str) -> str:
        return self._titles.get(name) or self._plain(name)

    def of_model(self, name: str) -> str:
        """`omnial-separate-grid` as a reader knows it: `OmniAL separate (grid)`."""
        parts = _MODEL.match(name)
        if not parts:
            return name
        text = f"{self.of_detector(parts['detector'])} {parts['paradigm']}"
        return f"{text} ({parts['category']})" if parts["category"] else text

    def of_sources(self, names: Iterable[str]) -> str:
        """The source of a set in words."""
        titles = [self.of_model(name) for name in names]
        if not titles:
            return "none"
        return titles[0] if len(titles) == 1 else f"mean loss over {joined(titles)}"


def family_of(detector: str) -> str:
    """What kind of detector the record of here says it is; empty where there is none, or where it does not say."""
    return _recorded_here(detector, "family") or _recorded_here(panels_of(detector)[0], "family")


@cache
def _recorded_here(detector: str, key: str) -> str:
    """Read once a detector, for every line of a report asks."""
    return str(getattr(read_detector(detector), key)) if detector in record_names("models") else ""


def panels_of(detector: str) -> tuple[str, bool | None]:
    """A detector's base name, and whether its name says with (True) or without (False) panels; else None."""
    parts = _PANELS.match(detector)
    return (parts["base"], parts["without"] is None) if parts else (detector, None)


def joined(items: Sequence[str]) -> str:
    """Items as a list in a sentence."""
    *others, last = items or [""]
    return f"{', '.join(others)} and {last}" if others else last
