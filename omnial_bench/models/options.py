"""What may be switched of each detector, and the sizes that it takes. No torch here: a mistake is told without it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from omnial_bench.config.load import parse
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError, unknown
from omnial_bench.models.learned_options import (
    CutPasteOptions,
    LearnedOptions,
    MKDOptions,
    PaDiMOptions,
    PaDiMSPDOptions,
    PatchCoreOptions,
    PatchSVDDOptions,
    RD4ADOptions,
    SimpleNetOptions,
    STFPMOptions,
    UniADOptions,
)

Norm = Literal["batch", "instance"]
Width = Annotated[int, Field(ge=1, le=1024)]
Fraction01 = Annotated[float, Field(ge=0, le=1)]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("expected an odd number of pixels")
    return value


OddSide = Annotated[int, Field(ge=1, le=255), AfterValidator(_odd)]


@dataclass(frozen=True, kw_only=True)
class DRAEMOptions:
    """What may be switched; the defaults are the paper's.

    Widths are channels of the finest scale; `smoothing` and `pooling` are sides of the mean filters of Prediction.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    width: Width = 128
    loc_width: Width = 64
    output_stride: Literal[2, 4, 8, 32] = 32
    """Largest stride of both networks; the reconstruction, of five scales, stops at 16 when it is 32."""
    anomalous: Fraction01 = 0.5
    """Probability that a training sample gets an anomaly; panels, where on, replace the rule."""
    panels: bool = False
    """Panel-guided synthesis (OmniAL, Table 4)."""
    rotation: Fraction01 = 0.3
    """Probability that a normal training image is turned by U(-90, 90) degrees."""
    smoothing: OddSide = 1
    pooling: OddSide = 21


@dataclass(frozen=True, kw_only=True)
class JNLDOptions:
    """What may be switched; the paper leaves most of it open (docs/fidelity.md). Widths and filters as in DRAEM."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    width: Width = 128
    loc_width: Width = 64
    output_stride: Literal[2, 4, 8, 32] = 32
    """Largest stride of both networks; the reconstruction, of five scales, stops at 16 when it is 32."""
    classes: Literal[2, 4] = 4
    """4: normal, easy, medium, hard; 2: normal, anomalous."""
    image_ssim: bool = False
    """Add the SSIM loss of the image, the other reading of its reconstruction losses."""
    anomalous: Fraction01 = 0.5
    """Probability that a training sample gets an anomaly; panels, where on, replace the rule."""
    panels: bool = False
    """Panel-guided synthesis (OmniAL, Table 4)."""
    free_energy: bool = False
    """Take the JND map by the free-energy principle (Wu et al. 2013) in place of nonlinear additivity; slower."""
    smoothing: OddSide = 1
    pooling: OddSide = 21


@dataclass(frozen=True, kw_only=True)
class OmniALOptions:
    """What may be switched; the defaults are the paper's, or the choices of docs/fidelity.md where it names none.

    Widths are channels of the finest scale; `smoothing` and `pooling` are sides of the mean filters of Prediction.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    width: Width = 64
    loc_width: Width = 64
    rec_norm: Norm = "instance"
    rec_dilation: bool = True
    loc_dilation: bool = True
    channel_attention: bool = True
    spatial_attention: bool = True
    diffneck: bool = True
    output_stride: Literal[2, 4, 8, 32] = 4
    """Largest stride of both networks; the reconstruction, of five scales, stops at 16 when it is 32."""
    panels: bool = True
    anomalous: Fraction01 = 0.5
    """Without panels: probability that a training sample gets an anomaly."""
    both_sides: bool = False
    """Panels shrink in width and height, the other reading of their range."""
    additive: bool = False
    """Blend the levels by their clipped sum, the other reading of Eq. 1."""
    self_source: Fraction01 = 0.5
    """Probability that the anomaly texture is a crop of the image itself rather than of a texture."""
    free_energy: bool = False
    """Take the JND map by the free-energy principle (Wu et al. 2013) in place of nonlinear additivity; slower."""
    smoothing: OddSide = 5
    pooling: OddSide = 21


@dataclass(frozen=True, kw_only=True)
class GaussianOptions:
    """What may be switched of the Gaussian over filters."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    stride: Literal[2, 4, 8] = 4
    """Pixels between two places that have a Gaussian each."""
    scales: Annotated[int, Field(ge=1, le=3)] = 2
    """At how many halvings of the image edges are looked for; the coarsest is not coarser than the places."""
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the mean covariance of all places in that of each: few normals tell little of one place alone."""


OPTIONS: Mapping[str, type[Any]] = {
    "cutpaste": CutPasteOptions, "draem": DRAEMOptions, "gaussian": GaussianOptions, "jnld": JNLDOptions,
    "mkd": MKDOptions, "omnial": OmniALOptions, "padim": PaDiMOptions, "padim-spd-lite": PaDiMSPDOptions,
    "patchcore": PatchCoreOptions, "patchsvdd": PatchSVDDOptions, "rd4ad": RD4ADOptions, "simplenet": SimpleNetOptions,
    "stfpm": STFPMOptions, "uniad": UniADOptions,
}  # fmt: skip
"""By the detector's name in `registry.DETECTORS`."""


def check_options(recipe: Recipe) -> None:
    """UserError for a detector that is not there, an option that it has not, or a size that it cannot take."""
    if recipe.detector not in OPTIONS:
        raise unknown("detector", recipe.detector, OPTIONS)
    check_fit(parse(OPTIONS[recipe.detector], recipe.options, f"options of {recipe.detector}"), recipe.size)


def check_fit(options: object, size: tuple[int, int]) -> None:
    """UserError for a size, height and width, that networks of these options cannot take."""
    if isinstance(options, DRAEMOptions | JNLDOptions | OmniALOptions):
        check_sides(size, options.output_stride)
    if isinstance(options, GaussianOptions):
        check_sides(size, options.stride)
    if isinstance(options, LearnedOptions | CutPasteOptions | PatchSVDDOptions):
        check_sides(size, options.multiple)


def check_sides(size: tuple[int, int], multiple: int) -> None:
    """UserError where height or width is no multiple of what the poolings need."""
    height, width = size
    if height % multiple or width % multiple:
        near = [max(1, round(side / multiple)) * multiple for side in (height, width)]
        raise UserError(
            f"expected a network height and width that {multiple} divides, got {height}x{width}; "
            f"try {near[0]}x{near[1]}"
        )
