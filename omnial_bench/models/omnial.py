"""OmniAL: panel-guided synthesis, dilated channel and spatial attention, DiffNeck (Zhao, CVPR 2023)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omnial_bench.models.blocks import FAR, Style, block
from omnial_bench.models.draem import TwoNetworks
from omnial_bench.models.losses import focal_loss, mse_loss, ssim_loss
from omnial_bench.models.options.reconstruction import OmniALOptions as Options
from omnial_bench.synthesis import omnial as synthesis
from omnial_bench.types import RGB, Synthetic


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


class OmniAL(TwoNetworks):
    """Reconstructs image and JND map, and localises defects of three levels."""

    options: Options

    def __init__(self, options: Options) -> None:
        shared: dict[str, Any] = {
            "output_stride": options.output_stride,
            "channel_attention": options.channel_attention,
            "spatial_attention": options.spatial_attention,
        }
        reconstruction = Style(norm=options.rec_norm, dilated=options.rec_dilation, **shared)
        localisation = Style(dilated=options.loc_dilation, **shared)
        neck = DiffNeck(options.loc_width) if options.diffneck else None
        super().__init__(options, classes=4, styles=(reconstruction, localisation), neck=neck)

    def synthesize(self, images: RGB, textures: RGB, generator: torch.Generator) -> Synthetic:
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
