"""Common corruptions at five severities, after Hendrycks and Dietterich (ICLR 2019): what happens to images without
an adversary.

The kinds are theirs, the constants are this project's: theirs try whether an object is still recognised, and drown a
fine defect at the first severity.
"""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from omnial_bench.attacks.dense import DenseAttack
from omnial_bench.attacks.settings import CorruptionOptions
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat
from omnial_bench.data.images import to_bytes, to_float
from omnial_bench.errors import UserError, unknown
from omnial_bench.synthesis.canny import gaussian_blur

NOISE = (0.02, 0.04, 0.06, 0.10, 0.15)
"""Standard deviation of Gaussian noise, in pixel units."""
BLUR = (0.5, 1.0, 1.5, 2.5, 4.0)
"""Standard deviation of the Gaussian in pixels at the network's size."""
BRIGHTNESS = (0.05, 0.10, 0.15, 0.20, 0.30)
"""Added to every value."""
CONTRAST = (0.80, 0.65, 0.50, 0.35, 0.20)
"""What is left of the distance to the image's mean of each channel."""
JPEG = (80, 60, 40, 20, 10)
"""Quality by the scale of libjpeg; chroma at half resolution."""


Corrupt = Callable[[Float[Tensor, "b 3 h w"], int, torch.Generator], Float[Tensor, "b 3 h w"]]
"""Images, severity and random numbers to corrupted images, not yet cut to [0, 1]."""


class Corruption(DenseAttack):
    """A corruption in an attack's place: it asks no detector, knows no truth, and eps and goal say nothing to it."""

    def __init__(
        self, victim: Victim, threat: Threat, generator: torch.Generator, corrupt: Corrupt, options: CorruptionOptions
    ) -> None:
        super().__init__(threat.attack, victim, threat, generator)
        self.corrupt = corrupt
        self.severity = options.severity

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The corrupted images, in float32, in [0, 1]; equal to `images` outside of `where`."""
        clean, _, region = self.inputs(images, labels, where)
        corrupted = self.corrupt(clean, self.severity, self.generator).clamp(0, 1)
        return torch.where(region[:, None], corrupted, clean)


def gaussian_noise(
    images: Float[Tensor, "b 3 h w"], severity: int, generator: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """Gaussian noise, of each value apart."""
    return images + NOISE[severity - 1] * torch.randn(images.shape, generator=generator).to(images.device)


def blur(images: Float[Tensor, "b 3 h w"], severity: int, _: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Gaussian blur, cut at three standard deviations."""
    sigma = BLUR[severity - 1]
    return gaussian_blur(images, sigma=sigma, radius=min(math.ceil(3 * sigma), min(images.shape[2:]) - 1))


def brightness(images: Float[Tensor, "b 3 h w"], severity: int, _: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """More light, as far as white."""
    return images + BRIGHTNESS[severity - 1]


def contrast(images: Float[Tensor, "b 3 h w"], severity: int, _: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Every value nearer to its channel's mean over the image."""
    return torch.lerp(images.mean((2, 3), keepdim=True), images, CONTRAST[severity - 1])


def jpeg(images: Float[Tensor, "b 3 h w"], severity: int, _: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Written as JPEG in memory and read again, on the 8-bit grid."""
    decoded = []
    for rows in to_bytes(images).permute(0, 2, 3, 1).cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(rows).save(buffer, format="JPEG", quality=JPEG[severity - 1], subsampling="4:2:0")
        with Image.open(buffer, formats=["JPEG"]) as image:
            decoded.append(np.array(image.convert("RGB")))
    return to_float(torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2), images.device)


CORRUPTIONS: dict[str, Corrupt] = {
    "gaussian_noise": gaussian_noise,
    "blur": blur,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
}


def build(victim: Victim, threat: Threat, generator: torch.Generator, options: CorruptionOptions) -> Corruption:
    """The corruption that the record's attack names; UserError for another one, or an eps that would cut it short."""
    if threat.attack not in CORRUPTIONS:
        raise unknown("corruption", threat.attack, CORRUPTIONS)
    if threat.eps != 1:
        raise UserError(
            f'threat {threat.name}: expected eps = "1" for {threat.attack}, whose size is its severity, '
            f"got {threat.eps}; choose options.severity from 1 to 5"
        )
    attack: Corruption = Corruption(victim, threat, generator, CORRUPTIONS[threat.attack], options)
    return attack
