"""What may be switched of detectors by reconstruction: DRAEM, JNLD and OmniAL."""

from dataclasses import dataclass
from typing import Literal

from omnial_bench.models.options.base import Fraction01, OddSide, Options, Width

Norm = Literal["batch", "instance"]


@dataclass(frozen=True, kw_only=True)
class NetworksOptions(Options):
    """Of a reconstruction and a localisation network.

    Widths are channels of the finest scale; `smoothing` and `pooling` are sides of the mean filters of Prediction.
    """

    width: Width = 128
    loc_width: Width = 64
    output_stride: Literal[2, 4, 8, 32] = 32
    """Largest stride of both networks; the reconstruction, of five scales, stops at 16 when it is 32."""
    anomalous: Fraction01 = 0.5
    """Probability that a training sample gets an anomaly; panels, where on, replace the rule."""
    panels: bool = False
    """Panel-guided synthesis (OmniAL, Table 4)."""
    smoothing: OddSide = 1
    pooling: OddSide = 21

    @property
    def multiple(self) -> int:
        return self.output_stride


@dataclass(frozen=True, kw_only=True)
class DRAEMOptions(NetworksOptions):
    rotation: Fraction01 = 0.3
    """Probability that a normal training image is turned by U(-90, 90) degrees."""


@dataclass(frozen=True, kw_only=True)
class JNDOptions(NetworksOptions):
    free_energy: bool = False
    """Take the JND map by the free-energy principle (Wu et al. 2013) in place of nonlinear additivity; slower."""


@dataclass(frozen=True, kw_only=True)
class JNLDOptions(JNDOptions):
    """The paper leaves most of it open (docs/fidelity.md)."""

    classes: Literal[2, 4] = 4
    """4: normal, easy, medium, hard; 2: normal, anomalous."""
    image_ssim: bool = False
    """Add the SSIM loss of the image, the other reading of its reconstruction losses."""


@dataclass(frozen=True, kw_only=True)
class OmniALOptions(JNDOptions):
    """The defaults are the paper's, or the choices of docs/fidelity.md where it names none."""

    width: Width = 64
    rec_norm: Norm = "instance"
    rec_dilation: bool = True
    loc_dilation: bool = True
    channel_attention: bool = True
    spatial_attention: bool = True
    diffneck: bool = True
    output_stride: Literal[2, 4, 8, 32] = 4
    panels: bool = True
    both_sides: bool = False
    """Panels shrink in width and height, the other reading of their range."""
    additive: bool = False
    """Blend the levels by their clipped sum, the other reading of Eq. 1."""
    self_source: Fraction01 = 0.5
    """Probability that the anomaly texture is a crop of the image itself rather than of a texture."""
    smoothing: OddSide = 5
