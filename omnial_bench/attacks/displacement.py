"""An object that does not lie where the training images have it: small rotations and shifts that its truth follows."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.dense import DenseAttack
from omnial_bench.attacks.settings import CorruptionOptions
from omnial_bench.attacks.severities import CORRUPTIONS
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat

Move = Callable[[int, float, tuple[int, int], torch.Generator], tuple[Float[Tensor, "b 2 2"], Float[Tensor, "b 2"]]]
"""Number of images, size, height and width, random numbers -> where each pixel of a moved image comes from: the matrix
that its place (right, down, from the frame's middle, in pixels) is multiplied by, and what is added."""


class Displacement(DenseAttack):
    """A move of the image in its frame, in an attack's place: it asks no detector.

    What enters at a border is the frame mirrored there, and so is its truth. An image whose defect would leave the
    frame altogether is not moved, for then its label would be wrong. `truth` holds the labels of the last call, moved.
    """

    def __init__(
        self, victim: Victim, threat: Threat, generator: torch.Generator, move: Move, options: CorruptionOptions
    ) -> None:
        super().__init__(threat.attack, victim, threat, generator)
        self.move = move
        self.size = CORRUPTIONS[threat.attack].sizes[options.severity - 1]
        self.truth = torch.zeros(0, 1, 1, dtype=torch.bool)

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The moved images, in float32, in [0, 1], values between pixels by bilinear interpolation; labels are those of
        the nearest pixel."""
        clean, truth, _ = self.inputs(images, labels, where)
        height, width = clean.shape[2:]
        matrix, offset = self.move(len(clean), self.size, (height, width), self.generator)
        x, y = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)
        sources = places @ matrix.mT[:, None] + offset[:, None, None]
        grid = (sources * 2 / torch.tensor([width - 1, height - 1])).to(clean.device)
        moved = _sampled(truth[:, None].float(), grid, "nearest")[:, 0] > 0.5
        lost = truth.flatten(1).any(1) & ~moved.flatten(1).any(1)
        self.truth = torch.where(lost[:, None, None], truth, moved)
        return torch.where(lost[:, None, None, None], clean, _sampled(clean, grid, "bilinear").clamp(0, 1))


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


MOVES: dict[str, Move] = {"rotation": rotation, "shift": shift}


def build(victim: Victim, threat: Threat, generator: torch.Generator, options: CorruptionOptions) -> Displacement:
    """The move that a checked record's attack names."""
    attack: Displacement = Displacement(victim, threat, generator, MOVES[threat.attack], options)
    return attack
