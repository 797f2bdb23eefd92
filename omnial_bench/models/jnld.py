"""JNLD: DRAEM's networks that also reconstruct the JND map and tell how noticeable a defect is (Zhao, ICME 2022)."""

import torch
from torch import Tensor

from omnial_bench.models.draem import TwoNetworks
from omnial_bench.models.losses import focal_loss, mse_loss, ssim_loss
from omnial_bench.models.options.reconstruction import JNLDOptions as Options
from omnial_bench.synthesis import jnld as synthesis
from omnial_bench.types import RGB, Synthetic


class JNLD(TwoNetworks):
    """One decoder gives image and JND map; both beside the input, 7 channels, are localised on."""

    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options, classes=options.classes)

    def synthesize(self, images: RGB, textures: RGB, generator: torch.Generator) -> Synthetic:
        """Defects of three noticeable degrees; labels 0..3, or 0 and 1 with two classes."""
        options = self.options
        return synthesis.synthesize(
            images,
            textures,
            generator,
            anomalous=options.anomalous,
            panels=options.panels,
            levels=options.classes - 1,
            free_energy=options.free_energy,
        )

    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        """Terms `mse_image`, `mse_jnd`, `focal` and, with the option, `ssim_image`; all of weight 1."""
        assert batch.jnd is not None, "JNLD learns from batches with a JND map"
        reconstruction, logits = self.networks(batch.images)
        image, jnd = reconstruction[:, :3], reconstruction[:, 3:]
        terms = {
            "mse_image": mse_loss(image, batch.clean),
            "mse_jnd": mse_loss(jnd, batch.jnd),
            "focal": focal_loss(logits, batch.labels),
        }
        return terms | {"ssim_image": ssim_loss(image, batch.clean)} if self.options.image_ssim else terms
