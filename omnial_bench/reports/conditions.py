"""What figures are of: models, and what they were scored on. No torch here."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from omnial_bench.reports.titles import panels_of

if TYPE_CHECKING:
    import pandas as pd

GOAL_ORDER = ("any", "target", "hide", "fabricate")
"""In the order of tables."""


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

    def rows_in(self, table: "pd.DataFrame") -> "pd.DataFrame":
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
