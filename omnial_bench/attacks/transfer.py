"""Attacks whose images are to harm other detectors too: momentum, diverse inputs, translation invariance."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Masks, PerImage
from omnial_bench.attacks.directions import gathered
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.victim import Lookout
from omnial_bench.types import RGB


class DenseTransfer(DensePGD):
    """PGD along a direction that is less the source model's own.

    `momentum`: the direction is the gradient, divided by its L1 norm, plus this much of the direction before.
    `diversity`: the probability with which an image is shown smaller, by a factor from `resize` to 1, at a random
    place, its edges repeated around it; its labels go with it. `kernel`: side of the Gaussian that smooths the
    gradient, of deviation (side - 1) / 2 / sqrt(3); 0 smooths nothing. All else is as in DensePGD; `losses` are of the
    images as they were shown.
    """

    def __init__(
        self, *arguments: Any, diversity: float = 0.0, resize: float = 0.9, kernel: int = 0, **settings: Any
    ) -> None:
        super().__init__(*arguments, **({"random_start": False, "momentum": 1.0} | settings))
        self.attack, self.diversity, self.resize, self.kernel = "transfer", diversity, resize, kernel

    def lookout(self, truth: Masks) -> Lookout:
        return _Diverse(self, truth) if self.diversity else super().lookout(truth)

    def turned(self, direction: RGB, gradient: RGB) -> RGB:
        return gathered(direction, smooth(gradient, self.kernel) if self.kernel else gradient, self.momentum)


class _Diverse(Lookout):
    """One that shows the victim other images than those that are to be changed."""

    def __init__(self, attack: DenseTransfer, truth: Masks) -> None:
        super().__init__(attack.model, truth, attack.objective, towards=attack.targeted)
        self.attack = attack

    @property
    def recalls(self) -> bool:
        """Never: each look is at other images."""
        return False

    def gradient(self, images: RGB, progress: float) -> tuple[PerImage, RGB]:
        """Objective of the images as they are shown, and its gradient to the images as they are."""
        grid = self._grid(images)
        images = images.detach().requires_grad_(True)
        with torch.enable_grad():
            shown = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        labels = F.grid_sample(
            self.truth[:, None].to(images.dtype), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        loss, gradient = self.target.gradient(
            shown, labels[:, 0].to(self.truth.dtype), self.objective, towards=self.towards, progress=progress
        )
        return loss, torch.autograd.grad(shown, images, gradient)[0]

    def _grid(self, images: RGB) -> Float[Tensor, "b h w 2"]:
        """Where each shown pixel is taken from, in the coordinates of grid_sample."""
        drawn = torch.rand(4, len(images), generator=self.attack.generator)
        least = self.attack.resize
        scale = torch.where(drawn[0] < self.attack.diversity, least + (1 - least) * drawn[1], 1.0)
        # Shown at `scale`, an image leaves 1 - scale free on either side of its middle.
        shift = (2 * drawn[2:] - 1) * (1 - scale)
        affine = torch.zeros(len(images), 2, 3)
        affine[:, 0, 0] = affine[:, 1, 1] = 1 / scale
        affine[:, :, 2] = (shift / scale).T
        return F.affine_grid(affine.to(images), list(images.shape), align_corners=False)


def smooth(gradient: RGB, side: int) -> RGB:
    """The gradient under a Gaussian of an odd `side`, zeros outside the frame."""
    radius = side // 2
    at = torch.arange(-radius, radius + 1, device=gradient.device, dtype=gradient.dtype)
    line = torch.exp(-3 * at.square() / (2 * max(radius, 1) ** 2))
    line = line / line.sum()
    rows, columns = line.view(1, 1, -1, 1).expand(3, 1, -1, -1), line.view(1, 1, 1, -1).expand(3, 1, -1, -1)
    return F.conv2d(F.conv2d(gradient, rows, padding=(radius, 0), groups=3), columns, padding=(0, radius), groups=3)
