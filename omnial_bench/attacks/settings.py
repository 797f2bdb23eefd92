"""What the record of a threat can say of each attack alone, and what follows from a record without a detector.

No torch here: a mistake in a suite is told before it is imported, and an attack's own file when it is built.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from omnial_bench.config.load import parse
from omnial_bench.config.schema import Threat

TOGETHER = 32
FIRST_STEP = 2
"""Of adaptive PGD, in units of eps, the paper's."""


@dataclass(frozen=True)
class NoOptions:
    """An attack without settings of its own."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class PGDOptions:
    """What the record of a threat can say of PGD alone."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    best: bool = False
    """Whether an image keeps its strongest iterate, the last one included, for one more forward pass."""
    decay: bool = False
    """Whether the step falls linearly to nothing, so that the last ones do not turn about a maximum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the direction before in each step, so that what turns about from step to step evens out."""
    together: Annotated[int, Field(ge=1)] = TOGETHER
    """Starts of images in one batch at the most; all images of a call at one start always lie in one."""


@dataclass(frozen=True, kw_only=True)
class APGDOptions:
    """The paper's constants."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    rho: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Share of the steps between two checkpoints that have to gain for the step size to stay."""
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Share of a step that is new; the rest repeats the step before. The paper's alpha."""
    together: Annotated[int, Field(ge=1)] = TOGETHER
    """Starts of images in one batch at the most; all images of a call at one start always lie in one."""


@dataclass(frozen=True, kw_only=True)
class MinimalOptions:
    """How the smallest change is searched for."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    patience: Annotated[int, Field(ge=1)] = 4
    """Steps at a radius before it counts as too small."""
    within: Annotated[float, Field(gt=1, le=2)] = 1.1
    """Factor between the radius that is found and the largest that was too small."""


@dataclass(frozen=True, kw_only=True)
class PatchOptions:
    """What the patch is."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    area: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the frame, before the patch is cut to `where`."""


@dataclass(frozen=True, kw_only=True)
class SquareOptions:
    """How the search is begun."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    area: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the region's box that the first squares cover: p as in AutoAttack (Croce and Hein, ICML 2020). The
    paper's 0.05 for ImageNet is for ten thousand queries; hundreds want larger squares."""


@dataclass(frozen=True, kw_only=True)
class UniversalOptions:
    """How the perturbation is found."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    batch: Annotated[int, Field(ge=1)] = 8
    """Images whose gradients are averaged for a step."""


@dataclass(frozen=True, kw_only=True)
class CorruptionOptions:
    """How much of it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    severity: Annotated[int, Field(ge=1, le=5)] = 3


def _odd(side: int) -> int:
    if side and side % 2 == 0:
        raise ValueError("expected 0 or an odd side, so that the kernel has a middle")
    return side


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """MI-FGSM (Dong et al., CVPR 2018): settings of `DenseTransfer`, which may be mixed at will."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    momentum: Annotated[float, Field(ge=0)] = 1.0
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    resize: Annotated[float, Field(gt=0, le=1)] = 0.9
    kernel: Annotated[int, Field(ge=0), AfterValidator(_odd)] = 0
    together: Annotated[int, Field(ge=1)] = TOGETHER


@dataclass(frozen=True, kw_only=True)
class Diversity(Momentum):
    """M-DI2-FGSM (Xie et al., CVPR 2019)."""

    diversity: Annotated[float, Field(ge=0, le=1)] = 0.5


@dataclass(frozen=True, kw_only=True)
class Translation(Momentum):
    """TI-MI-FGSM (Dong et al., CVPR 2019)."""

    kernel: Annotated[int, Field(ge=0), AfterValidator(_odd)] = 15


def first_step(eps: Fraction, steps: int, *, decay: bool = False) -> Fraction:
    """2.5 eps / steps (Madry et al., ICLR 2018); with decay eps / 2, or more where so few steps would not add up to
    2.5 eps."""
    return max(eps / 2, 5 * eps / (steps + 1)) if decay else Fraction(5, 2) * eps / steps


def patch_label(threat: Threat) -> str:
    """The patch's area, and its bound and goal where they are not 1 and `any`: `patch 5 % linf 8/255 hide`."""
    options = parse(PatchOptions, threat.options, f"options of threat {threat.name}")
    text = f"patch {100 * options.area:g} %"
    if threat.eps != 1:
        text += f" {255 * float(threat.eps):g}/255"
    if threat.goal != "any":
        text += {"target": " targeted"}.get(threat.goal, f" {threat.goal}")
    return text if threat.where == "frame" else f"{text} {threat.where}"


def corruption_label(threat: Threat) -> str:
    """What is done and how much: `blur severity 3`."""
    options = parse(CorruptionOptions, threat.options, f"options of threat {threat.name}")
    return f"{threat.attack} severity {options.severity}"
