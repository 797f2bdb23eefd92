"""JNLD: DRAEM's networks that also reconstruct the JND map and tell how noticeable a defect is (Zhao, ICME 2022)."""

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.models.blocks import (
    Localiser,
    Reconstructor,
    Style,
    check_size,
    initialise,
)
from omnial_bench.models.losses import focal_loss, mse_loss, ssim_loss
from omnial_bench.models.options import JNLDOptions as Options
from omnial_bench.synthesis import jnld as synthesis
from omnial_bench.types import GradientTrained, Prediction, Synthetic


class JNLD(GradientTrained):
    """One decoder gives image and JND map; both beside the input, 7 channels, are localised on.

    Sizes are multiples of `output_stride`.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        style = Style(output_stride=options.output_stride)
        self.reconstruction = Reconstructor(outputs=4, width=options.width, style=style)
        self.localisation = Localiser(inputs=7, classes=options.classes, width=options.loc_width, style=style)
        initialise(self)

    def networks(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b k h w"]]:
        """The reconstruction (image, then JND map) and the logits; UserError for a size the stride does not divide."""
        check_size(images, self.options.output_stride)
        reconstruction = self.reconstruction(images)
        logits = self.localisation(torch.cat((reconstruction, images), 1))
        return reconstruction.to(images), logits.to(images)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Logits of normal and the levels, and the reconstructed image."""
        reconstruction, logits = self.networks(images)
        return Prediction(logits, reconstruction[:, :3], self.options.smoothing, self.options.pooling)

    def synthesize(
        self, images: Float[Tensor, "b 3 h w"], textures: Float[Tensor, "b 3 h w"], generator: torch.Generator
    ) -> Synthetic:
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
