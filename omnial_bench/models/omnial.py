"""OmniAL: panel-guided synthesis, dilated channel and spatial attention, DiffNeck (Zhao, CVPR 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict
from torch import Tensor, nn

from omnial_bench.models.blocks import (
    FAR,
    Fraction01,
    Localiser,
    Norm,
    OddSide,
    Reconstructor,
    Style,
    Width,
    block,
    check_size,
    initialise,
)
from omnial_bench.models.losses import focal_loss, mse_loss, ssim_loss
from omnial_bench.synthesis import omnial as synthesis
from omnial_bench.types import GradientTrained, Prediction, Synthetic


@dataclass(frozen=True, kw_only=True)
class Options:
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


ABLATION: dict[str, dict[str, Any]] = {
    "abl1_noPA_recBN_CA_segBN": {
        "panels": False, "rec_norm": "batch", "rec_dilation": False, "spatial_attention": False, "loc_dilation": False,
        "diffneck": False,
    },
    "abl2_PA_recBN_CA_segBN": {
        "rec_norm": "batch", "rec_dilation": False, "spatial_attention": False, "loc_dilation": False,
        "diffneck": False,
    },
    "abl3_PA_recIN_CA_segBN": {
        "rec_dilation": False, "spatial_attention": False, "loc_dilation": False, "diffneck": False,
    },
    "abl4_PA_recIN_DC_CA_segBN_DC": {"spatial_attention": False, "diffneck": False},
    "abl5_PA_recIN_DC_CA_DSA_segBN_DC": {"diffneck": False},
    "abl6_PA_recIN_DC_CA_segBN_DC_DiffNeck": {"spatial_attention": False},
    "abl7_full_OmniAL": {},
}  # fmt: skip
"""The rows of the paper's Table 3, each as what it changes in Options; the last is OmniAL itself."""


class DiffNeck(nn.Module):
    """The joint view of reconstruction, JND map and input, and 0.1 of each pair's view (OmniAL, section 3.3).

    Takes the joint representation `b 7 h w` (reconstruction 3, JND map 1, input 3), gives features `b width h w`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.joint, self.image, self.jnd = block(7, width, width), block(6, width, width), block(4, width, width)

    def forward(self, joint: Float[Tensor, "b 7 h w"]) -> Float[Tensor, "b c h w"]:
        pair = torch.cat((joint[:, :3], joint[:, 4:]), 1)
        return self.joint(joint) + FAR * (self.image(pair) + self.jnd(joint[:, 3:]))  # type: ignore[no-any-return]


class OmniAL(GradientTrained):
    """Reconstructs image and JND map, and localises defects of three levels; sizes are multiples of `output_stride`."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        shared: dict[str, Any] = {
            "output_stride": options.output_stride,
            "channel_attention": options.channel_attention,
            "spatial_attention": options.spatial_attention,
        }
        reconstruction = Style(norm=options.rec_norm, dilated=options.rec_dilation, **shared)
        localisation = Style(dilated=options.loc_dilation, **shared)
        self.reconstruction = Reconstructor(outputs=4, width=options.width, style=reconstruction)
        self.neck: nn.Module = DiffNeck(options.loc_width) if options.diffneck else nn.Identity()
        inputs = options.loc_width if options.diffneck else 7
        self.localisation = Localiser(inputs=inputs, classes=4, width=options.loc_width, style=localisation)
        initialise(self)

    def networks(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 4 h w"]]:
        """The reconstruction (image, then JND map) and the logits; UserError for a size the stride does not divide."""
        check_size(images, self.options.output_stride)
        reconstruction = self.reconstruction(images)
        logits = self.localisation(self.neck(torch.cat((reconstruction, images), 1)))
        return reconstruction.to(images), logits.to(images)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Logits of normal, easy, medium and hard, and the reconstructed image."""
        reconstruction, logits = self.networks(images)
        return Prediction(logits, reconstruction[:, :3], self.options.smoothing, self.options.pooling)

    def synthesize(
        self, images: Float[Tensor, "b 3 h w"], textures: Float[Tensor, "b 3 h w"], generator: torch.Generator
    ) -> Synthetic:
        """Defects of three levels inside a panel; labels 0..3 and the JND map of the clean images."""
        options = self.options
        return synthesis.synthesize(
            images,
            textures,
            generator,
            panels=options.panels,
            anomalous=options.anomalous,
            both_sides=options.both_sides,
            additive=options.additive,
            self_source=options.self_source,
            free_energy=options.free_energy,
        )

    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        """The five terms of Eq. 3, all of weight 1: `mse_image`, `ssim_image`, `mse_jnd`, `ssim_jnd`, `focal`."""
        assert batch.jnd is not None, "OmniAL learns from batches with a JND map"
        reconstruction, logits = self.networks(batch.images)
        image, jnd = reconstruction[:, :3], reconstruction[:, 3:]
        return {
            "mse_image": mse_loss(image, batch.clean),
            "ssim_image": ssim_loss(image, batch.clean),
            "mse_jnd": mse_loss(jnd, batch.jnd),
            "ssim_jnd": ssim_loss(jnd, batch.jnd),
            "focal": focal_loss(logits, batch.labels),
        }
