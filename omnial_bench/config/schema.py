"""Records: recipes, suites and plans, validated and frozen. No torch here."""

import re
from collections.abc import Collection, Mapping
from fractions import Fraction
from math import log10
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from omnial_bench.config.several import written_out

Paradigm = Literal["unified", "separate"]
MOST = 1e30
"""No setting, count or loss of a training or an attack is larger: float32 ends at 3e38, axes are drawn up to here."""


class Record(BaseModel):
    """A frozen table whose unknown keys are errors."""

    model_config = {"frozen": True, "extra": "forbid", "allow_inf_nan": False}


def _fraction(most: str, expected: str) -> BeforeValidator:
    def read(value: object) -> Fraction:
        try:
            # An exponent of many digits would be worked out, for hours.
            fraction = Fraction("" if re.search(r"e[+-]?[\d_]{4}", str(value), re.IGNORECASE) else str(value))
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError("expected a number or a fraction such as 8/255") from error
        if not 0 <= fraction <= Fraction(most):
            raise ValueError(f"{expected}; eight grey levels are 8/255")
        return fraction

    return BeforeValidator(read)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"expected each once, {name!r} is there {names.count(name)} times")
    return names


_EPS = "expected a size from 0 to 1, for pixels lie in [0, 1], or in l2 a length up to 7095, for images to 4096x4096"
Eps = Annotated[Fraction, _fraction("7095", _EPS)]
_STEP = "expected a size from 0 to 5/2, in l2 to 5/2 eps, the longest step that an eps asks for"
Step = Annotated[Fraction, _fraction("17738", _STEP)]
Names = Annotated[tuple[str, ...], AfterValidator(_distinct)]
Side = Annotated[int, Field(ge=32, le=4096)]
Batch = Annotated[int, Field(ge=1, le=65536)]
"""Images a training step."""
Iterations = Annotated[int, Field(ge=1)]
"""Training steps at the most."""


class Sealed(Record):
    """A record without a default that is newer than checkpoints are: their checksums hold it as it was written."""

    _newer: ClassVar[str]
    """A key that is left out where it has its default."""

    @model_serializer(mode="wrap")
    def _table(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        table: dict[str, Any] = write(self)
        if table.get(self._newer) == type(self).model_fields[self._newer].default:
            del table[self._newer]
        return table


class Training(Sealed):
    """How a detector is trained. The budget is `epochs` passes over the normals, and at most `max_iterations` steps."""

    epochs: Annotated[float, Field(gt=0, le=MOST)] = 700
    max_iterations: Iterations | None = None
    batch: Batch = 8
    draw: Literal["random", "epoch"] = "random"
    """Each normal of a batch at random, with replacement, or every one once before any comes again."""
    lr: Annotated[float, Field(gt=0, le=MOST)] = 1e-4
    milestones: tuple[Annotated[float, Field(ge=0)], ...] = (0.8, 0.9)
    """Fractions of the budget at which the learning rate is multiplied by `gamma`."""
    gamma: Annotated[float, Field(ge=0, le=MOST)] = 0.2
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the training normals held out for validation on synthetic anomalies."""
    _newer: ClassVar[str] = "draw"

    @model_validator(mode="after")
    def _in_floats(self) -> "Training":
        """Several milestones multiply."""
        if log10(self.lr) + len(self.milestones) * log10(max(1.0, self.gamma)) > log10(MOST):
            raise ValueError(f"gamma: expected lr times gamma for each milestone to end at most at {MOST:g}")
        return self


class Recipe(Sealed):
    """One detector, ready to be built and trained."""

    detector: str
    preset: str
    size: tuple[Side, Side]
    """Network height and width in pixels."""
    training: Training = Training()
    options: dict[str, Any] = {}
    """Keyword settings of the detector's class, checked by it."""
    defence: dict[str, Any] = {}
    """What stands around the trained detector: its `name`, of DEFENCES or `package.module:object`, and its keywords."""
    _newer: ClassVar[str] = "defence"


class Preset(Record):
    size: tuple[Side, Side] = (256, 256)
    training: Training = Training()
    options: dict[str, Any] = {}


class DetectorRecord(Record):
    """One file of models/: a detector and its presets, or another record with changes."""

    base: str | None = None
    """A record that this one starts from; keys given here stand in place of its keys."""
    detector: str
    title: str
    source: str
    family: Annotated[str, AfterValidator(str.strip)] = ""
    """What kind of detector it is, such as memory or reconstruction, for reports that compare kinds."""
    options: dict[str, Any] = {}
    """Laid over the options of every preset."""
    defence: dict[str, Any] = {}
    """As of Recipe, for every preset."""
    presets: dict[str, Preset]


class Threat(Record):
    """One threat model of a suite with the attack that stands for it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    norm: Literal["linf", "l2"] = "linf"
    eps: Eps
    goal: Literal["any", "hide", "fabricate", "target"] = "any"
    where: Literal["frame", "foreground"] = "frame"
    attack: str = "pgd"
    """A name, or `package.module:object` of code from elsewhere."""
    objective: str = "balanced"
    steps: Annotated[int, Field(ge=1)] = 10
    step_size: Step | None = None
    """In pixel units; None: the attack's own, which for most is 2.5 eps / steps."""
    random_start: bool = True
    start: str | None = None
    """An earlier threat of the suite, in whose images this one begins in place of a random start."""
    after: str | None = None
    """An earlier corruption of the suite, whose images are this one's originals: the middle of its ball. In a file, a
    list stands for a threat each, `<name>-<after>`."""
    restarts: Annotated[int, Field(ge=1)] = 1
    """Starts, of which each image keeps the strongest result."""
    options: dict[str, Any] = {}
    """Settings of the attack's own, checked by it."""
    _trusted: bool = False

    @property
    def trusted(self) -> bool:
        """Whether the user's own call lets the code run that `attack` names; no file can say so."""
        return self._trusted

    def trusting(self, names: Collection[str]) -> "Threat":
        """The same threat, whose attack may run where it is code from elsewhere that is among `names`."""
        threat = self.model_copy()
        threat._trusted = self.attack in names
        return threat

    @field_validator("eps")
    @classmethod
    def _in_range(cls, eps: Fraction, info: ValidationInfo) -> Fraction:
        """A single value changes by 1 at the most; the length of a whole change may be more."""
        if eps > 1 and info.data.get("norm") != "l2":
            raise ValueError(f"{_EPS}; eight grey levels are 8/255")
        return eps

    @field_validator("step_size")
    @classmethod
    def _in_reach(cls, step: Fraction | None, info: ValidationInfo) -> Fraction | None:
        if step is not None and step > Fraction(5, 2) * max(1, info.data.get("eps", 0)):
            raise ValueError(f"{_STEP}; eight grey levels are 8/255")
        return step


class Suite(Record):
    """One file of attacks/: threat models, the images that they are let loose on, and who is attacked.

    `sources`: sets on disk, built on the mean loss of the source models, for every model. `self`: each model attacked
    itself (white-box). `each`: each model in turn, for every model (transfer). The last two attack the test split.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: str
    against: Literal["sources", "self", "each"] = "sources"
    worst: bool = False
    """Whether the worst over all threats, image by image, is a figure of its own; for `self`."""
    composed: bool = True
    """Whether the figure of the first threat with goal `any` in a ball is the worse, image by image, of all in it."""
    slopes: bool = False
    """Whether the gradient of the first threat that raises its loss by one is held against forward passes."""
    anomalous: Annotated[float, Field(gt=0, lt=1)] = 0.8
    limit: Annotated[int, Field(ge=2)] | None = None
    """Images a category at the most; None takes every one."""
    threats: Annotated[tuple[Threat, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _apart(cls, table: Any) -> Any:
        return written_out(table) if isinstance(table, Mapping) else table

    @property
    def images(self) -> Literal["train", "test"]:
        """`train`: training normals with synthetic anomalies in the foreground; `test`: the real test split."""
        return "train" if self.against == "sources" else "test"

    @property
    def control(self) -> str:
        """Name of the images of a test suite before any attack, in the rows."""
        return f"{self.name}-unattacked"

    @property
    def worst_name(self) -> str:
        """Name of the worst over the threats, in the rows."""
        return f"{self.name}-worst"

    @model_validator(mode="after")
    def _names_differ(self) -> "Suite":
        names = [threat.name for threat in self.threats]
        if len(set(names)) != len(names):
            raise ValueError(f"threat names repeat: {', '.join(names)}")
        if self.worst and self.against != "self":
            raise ValueError("the worst over the threats is taken where each model is attacked itself; against = self")
        for name in ("clean", "synthesis", *([] if self.against == "sources" else [self.control, self.worst_name])):
            if name in names:
                raise ValueError(f"no threat can be called {name!r}, which stands for other images in the results")
        return self


class Plan(Record):
    """One file of plans/: what a run trains, attacks and scores."""

    name: str
    title: str
    dataset: str
    reader: str | None = None
    """What reads the data: a name of READERS, or `package.module:object`; None: that of the layout that it is in."""
    labels: Literal["pixel", "image"] | None = None
    """What is known of the test images; `image`: no mask is read. None: `image` where there are none."""
    categories: Annotated[Names, Field(min_length=1)]
    detectors: Annotated[Names, Field(min_length=1)]
    paradigms: Annotated[tuple[Paradigm, ...], AfterValidator(_distinct), Field(min_length=1)] = ("unified", "separate")
    preset: str = "paper"
    size: tuple[Side, Side] | None = None
    """None: the preset's."""
    batch: Batch | None = None
    """Training images a step; None: the preset's."""
    max_iterations: Iterations | None = None
    """Training steps of each model at the most; None: the preset's."""
    suites: Names = ("paper",)
    sources: Names = ()
    """Models whose mean loss the sets are built on; empty: every unified model of the plan."""
    limit: Annotated[int, Field(ge=2)] | None = None
    """Images a category in each adversarial set at the most; None: the suite's."""
    test_limit: Annotated[int, Field(ge=2)] | None = None
    """Test images a category under attack at the most, in suites that attack the test split; their own limits hold
    too."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    false_alarms: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Of normal images, the share that decision thresholds let raise an alarm."""
    metrics: Names = ()
    """Metrics from elsewhere, `package.module:object`, beside those that every run has."""
