"""Common corruptions at five severities: what camera, optics, light, file and belt do to images without an adversary.

The kinds are in part those of Hendrycks and Dietterich (ICLR 2019), the sizes are this project's, in `settings.py`:
theirs try whether an object is still recognised, and drown a fine defect at the first severity.
"""

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Masks, PerImage
from omnial_bench.attacks.dense import RecordAttack
from omnial_bench.attacks.settings import CORRUPTIONS
from omnial_bench.data.images import to_bytes, to_float
from omnial_bench.synthesis.canny import gaussian_blur
from omnial_bench.types import RGB

GAMMA = 2.2
"""Values of an image are light to the power of 1 / GAMMA: a stop, which is twice the light, multiplies them by 1.37."""
STREAK = (12.0, 48.0)
"""Standard deviations of a glare across and along, in pixels per 256."""
LINE = (torch.arange(25) + 0.5) / 25 - 0.5
"""Places from -1/2 to 1/2 along a motion, and across a disc, that a blur takes the mean over."""

Corrupt = Callable[[RGB, float, torch.Generator], RGB]
"""Images, the size of the severity and random numbers to corrupted images, not yet cut to [0, 1]."""
Move = Callable[[int, float, tuple[int, int], torch.Generator], tuple[Float[Tensor, "b 2 2"], Float[Tensor, "b 2"]]]
"""Number of images, size, height and width, random numbers -> where each pixel of a moved image comes from: the matrix
that its place (right, down, from the frame's middle, in pixels) is multiplied by, and what is added."""


class Corruption(RecordAttack):
    """A corruption in an attack's place: it asks no detector, knows no truth, and eps and goal say nothing to it."""

    @property
    def size(self) -> float:
        """That of the severity."""
        return CORRUPTIONS[self.attack].sizes[self.options.severity - 1]

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        clean, _, region = self.inputs(images, labels, where)
        corrupted = KINDS[self.attack](clean, self.size, self.generator).clamp(0, 1)
        return torch.where(region[:, None], corrupted, clean)


class Displacement(Corruption):
    """A small rotation or shift of an object in its frame, which its truth follows.

    What enters at a border is the frame mirrored there, and so is its truth. An image whose defect would leave the
    frame altogether is not moved, for then its label would be wrong. `truth` holds the labels of the last call, moved.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.truth = torch.zeros(0, 1, 1, dtype=torch.bool)

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        """The moved images, in float32, in [0, 1], values between pixels by bilinear interpolation; labels are those of
        the nearest pixel."""
        clean, truth, _ = self.inputs(images, labels, where)
        height, width = clean.shape[2:]
        matrix, offset = MOVES[self.attack](len(clean), self.size, (height, width), self.generator)
        x, y = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)
        sources = places @ matrix.mT[:, None] + offset[:, None, None]
        grid = (sources * 2 / torch.tensor([width - 1, height - 1])).to(clean.device)
        moved = _sampled(truth[:, None].float(), grid, "nearest")[:, 0] > 0.5
        lost = truth.flatten(1).any(1) & ~moved.flatten(1).any(1)
        self.truth = torch.where(lost[:, None, None], truth, moved)
        return torch.where(lost[:, None, None, None], clean, _sampled(clean, grid, "bilinear").clamp(0, 1))


def gaussian_noise(images: RGB, deviation: float, generator: torch.Generator) -> RGB:
    """Gaussian noise, of each value apart."""
    return images + deviation * torch.randn(images.shape, generator=generator).to(images.device)


def blur(images: RGB, sigma: float, _: torch.Generator) -> RGB:
    """Gaussian blur, cut at three standard deviations."""
    return gaussian_blur(images, sigma=sigma, radius=min(math.ceil(3 * sigma), min(images.shape[2:]) - 1))


def brightness(images: RGB, more: float, _: torch.Generator) -> RGB:
    """More light, as far as white."""
    return images + more


def contrast(images: RGB, left: float, _: torch.Generator) -> RGB:
    """Every value nearer to its channel's mean over the image."""
    return torch.lerp(images.mean((2, 3), keepdim=True), images, left)


def jpeg(images: RGB, quality: float, _: torch.Generator) -> RGB:
    """Written as JPEG in memory and read again, on the 8-bit grid."""
    decoded = []
    for rows in to_bytes(images).permute(0, 2, 3, 1).cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(rows).save(buffer, format="JPEG", quality=int(quality), subsampling="4:2:0")
        with Image.open(buffer, formats=["JPEG"]) as image:
            decoded.append(np.array(image.convert("RGB")))
    return to_float(torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2), images.device)


def light_gradient(images: RGB, stops: float, generator: torch.Generator) -> RGB:
    """Light that falls by `stops` across the frame, from the side or corner where it is strongest, in a direction of
    each image's own; in the middle it is as it was."""
    cosine, sine = _directions(torch.rand(len(images), generator=generator), images)
    height, width = images.shape[2:]
    down = torch.linspace(-0.5, 0.5, height, device=images.device)[:, None]
    ramp = (cosine * torch.linspace(-0.5, 0.5, width, device=images.device) + sine * down) / (cosine.abs() + sine.abs())
    return images * 2 ** (stops / GAMMA * ramp)


def white_balance(images: RGB, stops: float, generator: torch.Generator) -> RGB:
    """Light of another colour temperature than the camera is set to, warmer or colder by chance: red and blue `stops`
    apart, half of it each, and green as it was."""
    sign = torch.rand(len(images), generator=generator).round()[:, None] * 2 - 1
    gains = 2 ** (stops / GAMMA / 2 * sign * torch.tensor([1.0, 0.0, -1.0]))
    return images * gains.to(images.device)[:, :, None, None]


def glare(images: RGB, peak: float, generator: torch.Generator) -> RGB:
    """A soft streak of white light, of STREAK's size, anywhere in the frame and in any direction; in its middle every
    value goes `peak` of its way to white."""
    height, width = images.shape[2:]
    left, top, turn = torch.rand(len(images), 3, generator=generator).T
    cosine, sine = _directions(turn, images)
    across = torch.arange(width, device=images.device) - _column(left * (width - 1), images)
    down = torch.arange(height, device=images.device)[:, None] - _column(top * (height - 1), images)
    thin, long = (side * min(height, width) / 256 for side in STREAK)
    squares = ((cosine * across + sine * down) / long) ** 2 + ((cosine * down - sine * across) / thin) ** 2
    return torch.lerp(images, torch.ones_like(images), peak * torch.exp(-squares / 2))


def defocus(images: RGB, radius: float, _: torch.Generator) -> RGB:
    """The mean over a disc, as a lens out of focus takes it."""
    square = torch.cartesian_prod(LINE, LINE)
    disc = square[square.norm(dim=1) <= 0.5]
    return _smear(images, 2 * radius * disc.expand(len(images), -1, -1))


def motion_blur(images: RGB, length: float, generator: torch.Generator) -> RGB:
    """The mean along a straight way, in a direction of each image's own."""
    turn = 2 * math.pi * torch.rand(len(images), generator=generator)
    ways = length * torch.stack([turn.cos(), turn.sin()], 1)[:, None]
    return _smear(images, ways * LINE[:, None])


def _smear(images: RGB, ways: Float[Tensor, "b n 2"]) -> RGB:
    """The mean of each image moved by each of its ways (right, down), in pixels per 256, its values read between
    pixels as bilinear interpolation does; beyond the frame it is mirrored."""
    count, channels, *sides = images.shape
    ways = ways * min(sides) / 256
    reach = min(math.ceil(ways.abs().max().item()), min(sides) - 1)
    taps = torch.arange(-reach, reach + 1)
    across, down = (1 - (ways[..., None] - taps).abs()).clamp_min(0).unbind(2)
    kernels = (down.mT @ across / ways.shape[1]).repeat_interleave(channels, 0)[:, None].to(images.device)
    padded = F.pad(images, (reach,) * 4, mode="reflect").flatten(0, 1)[None]
    return F.conv2d(padded, kernels, groups=count * channels).view_as(images)


def _directions(turns: PerImage, images: RGB) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
    """Cosine and sine of a share of a whole turn, on the images' device."""
    angles = _column(2 * math.pi * turns, images)
    return angles.cos(), angles.sin()


def _column(values: PerImage, images: RGB) -> Float[Tensor, "b 1 1 1"]:
    return values.to(images.device)[:, None, None, None]


def _sampled(images: Float[Tensor, "b c h w"], grid: Float[Tensor, "b h w 2"], mode: str) -> Float[Tensor, "b c h w"]:
    return F.grid_sample(images, grid, mode, padding_mode="reflection", align_corners=True)


def rotation(
    count: int, degrees: float, _: tuple[int, int], generator: torch.Generator
) -> tuple[Float[Tensor, "b 2 2"], Float[Tensor, "b 2"]]:
    """About the middle, either way by chance."""
    angles = math.radians(degrees) * (torch.rand(count, generator=generator).round() * 2 - 1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack([cosine, sine, -sine, cosine], 1).view(-1, 2, 2), torch.zeros(count, 2)


def shift(
    count: int, pixels: float, size: tuple[int, int], generator: torch.Generator
) -> tuple[Float[Tensor, "b 2 2"], Float[Tensor, "b 2"]]:
    """Left, right, up or down by chance."""
    quarters = (4 * torch.rand(count, generator=generator)).long()
    ways = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])[quarters]
    return torch.eye(2).expand(count, 2, 2), pixels * min(size) / 256 * ways


KINDS: dict[str, Corrupt] = {
    "gaussian_noise": gaussian_noise,
    "blur": blur,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
    "light_gradient": light_gradient,
    "white_balance": white_balance,
    "glare": glare,
    "defocus": defocus,
    "motion_blur": motion_blur,
}
MOVES: dict[str, Move] = {"rotation": rotation, "shift": shift}
