"""What the record of a threat can say of each attack alone, and the labels that follow from it.

No torch here: a mistake in a suite is told before it is imported, and an attack's own file when it is built.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field

from omnial_bench.config.load import parse
from omnial_bench.config.schema import Threat

TOGETHER = 32
"""Starts of images in one batch at the most; all images of a call at one start always lie in one."""
FIRST_STEP = 2
"""Of adaptive PGD, in units of eps, the paper's."""
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
SomeShare = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """An attack without settings of its own; those of all others refuse unknown ones as it does."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True)
class PGDOptions(NoOptions):
    """What the record of a threat can say of PGD alone."""

    best: bool = False
    """Whether an image keeps its strongest iterate, the last one included, for one more forward pass."""
    decay: bool = False
    """Whether the step falls linearly to nothing, so that the last ones do not turn about a maximum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the direction before in each step, so that what turns about from step to step evens out."""
    together: Count = TOGETHER


@dataclass(frozen=True, kw_only=True)
class APGDOptions(NoOptions):
    """The paper's constants."""

    rho: Share = 0.75
    """Share of the steps between two checkpoints that have to gain for the step size to stay."""
    momentum: SomeShare = 0.75
    """Share of a step that is new; the rest repeats the step before. The paper's alpha."""
    together: Count = TOGETHER


@dataclass(frozen=True, kw_only=True)
class MinimalOptions(NoOptions):
    """How the smallest change is searched for."""

    patience: Count = 4
    """Steps at a radius before it counts as too small."""
    within: Annotated[float, Field(gt=1, le=2)] = 1.1
    """Factor between the radius that is found and the largest that was too small along the same gradient."""


@dataclass(frozen=True, kw_only=True)
class PatchOptions(NoOptions):
    area: SomeShare = 0.05
    """Share of the frame, before the patch is cut to `where`."""


@dataclass(frozen=True, kw_only=True)
class SquareOptions(NoOptions):
    area: SomeShare = 0.8
    """Share of the region's box that the first squares cover: p as in AutoAttack (Croce and Hein, ICML 2020). The
    paper's 0.05 for ImageNet is for ten thousand queries; hundreds want larger squares."""


@dataclass(frozen=True, kw_only=True)
class UniversalOptions(NoOptions):
    batch: Count = 8
    """Images whose gradients are averaged for a step."""


@dataclass(frozen=True, kw_only=True)
class CorruptionOptions(NoOptions):
    severity: Annotated[int, Field(ge=1, le=5)] = 3


def _odd(side: int) -> int:
    if side and side % 2 == 0:
        raise ValueError("expected 0 or an odd side, so that the kernel has a middle")
    return side


@dataclass(frozen=True, kw_only=True)
class Momentum(NoOptions):
    """MI-FGSM (Dong et al., CVPR 2018): settings of `DenseTransfer`, which may be mixed at will."""

    momentum: Annotated[float, Field(ge=0)] = 1.0
    diversity: Share = 0.0
    resize: SomeShare = 0.9
    kernel: Annotated[int, Field(ge=0), AfterValidator(_odd)] = 0
    together: Count = TOGETHER


@dataclass(frozen=True, kw_only=True)
class Diversity(Momentum):
    """M-DI2-FGSM (Xie et al., CVPR 2019)."""

    diversity: Share = 0.5


@dataclass(frozen=True, kw_only=True)
class Translation(Momentum):
    """TI-MI-FGSM (Dong et al., CVPR 2019)."""

    kernel: Annotated[int, Field(ge=0), AfterValidator(_odd)] = 15


class Severities(NamedTuple):
    """The sizes of severities 1 to 5, and their unit. Pixels per 256 are of the image's shorter side, so that they say
    the same at any size of a network."""

    unit: str
    sizes: tuple[float, float, float, float, float]
    moves: bool = False
    """Whether the image moves in its frame, and its truth with it."""


CORRUPTIONS: dict[str, Severities] = {
    "gaussian_noise": Severities(
        "standard deviation, as a share of the range of values", (0.02, 0.04, 0.06, 0.10, 0.15)
    ),
    "blur": Severities("standard deviation, in pixels at the network's size", (0.5, 1.0, 1.5, 2.5, 4.0)),
    "brightness": Severities("added to every value, as a share of the range of values", (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": Severities("what is left of the distance to the channel's mean", (0.80, 0.65, 0.50, 0.35, 0.20)),
    "jpeg": Severities("quality by the scale of libjpeg, chroma at half resolution", (80, 60, 40, 20, 10)),
    "light_gradient": Severities("stops of light across the frame", (0.25, 0.5, 1.0, 1.5, 2.0)),
    "white_balance": Severities("stops of light between red and blue", (0.1, 0.2, 0.4, 0.6, 1.0)),
    "glare": Severities("share of the way to white in the middle of the streak", (0.15, 0.3, 0.5, 0.7, 0.9)),
    "defocus": Severities("radius of the disc, in pixels per 256", (1.0, 1.5, 2.5, 4.0, 6.0)),
    "motion_blur": Severities("length of the way, in pixels per 256", (2.0, 4.0, 7.0, 11.0, 16.0)),
    "rotation": Severities("degrees", (0.5, 1.0, 2.0, 3.5, 5.0), moves=True),
    "shift": Severities("pixels per 256", (1.0, 2.0, 4.0, 8.0, 16.0), moves=True),
}
"""How much each corruption does at each severity, chosen for a line with a camera that is fixed: what lamps, lenses,
belts and cables do within a shift, not what a photographer does. docs/protocol.md says what each means at a plant."""


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
