"""Attacks whose images are to harm other detectors too: momentum, diverse inputs, translation invariance."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Objective
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.pgd import Climb, DensePGD, ascent, gathered, within
from omnial_bench.attacks.settings import TOGETHER
from omnial_bench.attacks.victim import Lookout, Victim
from omnial_bench.types import ThreatModel


class DenseTransfer(DensePGD):
    """PGD along a direction that is less the source model's own.

    `momentum`: the direction is the gradient, divided by its L1 norm, plus this much of the direction before.
    `diversity`: the probability with which an image is shown smaller, by a factor from `resize` to 1, at a random
    place, its edges repeated around it; its labels go with it. `kernel`: side of the Gaussian that smooths the
    gradient, of deviation (side - 1) / 2 / sqrt(3); 0 smooths nothing. All else is as in DensePGD; `losses` are of the
    images as they were shown.
    """

    def __init__(
        self,
        model: Victim,
        threat: ThreatModel,
        *,
        generator: torch.Generator,
        objective: Objective = balanced,
        steps: int = 10,
        step_size: float | None = None,
        random_start: bool = False,
        restarts: int = 1,
        momentum: float = 1.0,
        diversity: float = 0.0,
        resize: float = 0.9,
        kernel: int = 0,
        together: int = TOGETHER,
    ) -> None:
        super().__init__(
            model,
            threat,
            generator=generator,
            objective=objective,
            steps=steps,
            step_size=step_size,
            random_start=random_start,
            restarts=restarts,
            momentum=momentum,
            together=together,
        )
        self.attack = "transfer"
        self.diversity = diversity
        self.resize = resize
        self.kernel = kernel

    def climb(
        self,
        clean: Float[Tensor, "b 3 h w"],
        region: Bool[Tensor, "b 1 h w"] | None,
        start: Float[Tensor, "b 3 h w"],
        lookout: Lookout,
    ) -> Climb:
        """The steps from one start of each image."""
        attacked, direction, losses = start, torch.zeros_like(start), []
        flat = torch.ones(len(start), dtype=torch.bool, device=start.device)
        for step in range(self.steps):
            progress = step / self.steps
            if self.diversity:
                loss, gradient = self._diverse(attacked, lookout.truth, progress)
            else:
                loss, gradient = lookout.gradient(attacked, progress)
            losses.append(loss)
            flat &= (gradient == 0).flatten(1).all(1)
            gradient = smooth(gradient, self.kernel) if self.kernel else gradient
            direction = gathered(direction, gradient, self.momentum)
            move = ascent(within(direction, region), self.threat)
            attacked = self.threat.project(attacked + self.sign * self.alpha * move, clean)
        gain = self.sign * (lookout.value(attacked) if self.restarts > 1 else losses[-1])
        return Climb(attacked, torch.stack(losses), flat, gain)

    def _diverse(
        self, images: Float[Tensor, "b 3 h w"], truth: Bool[Tensor, "b h w"], progress: float
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, "b 3 h w"]]:
        """Objective of the images as they are shown, and its gradient to the images as they are."""
        grid = self._grid(images)
        images = images.detach().requires_grad_(True)
        with torch.enable_grad():
            shown = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        labels = F.grid_sample(
            truth[:, None].to(images.dtype), grid, mode="nearest", padding_mode="border", align_corners=False
        )
        loss, gradient = self.model.gradient(
            shown, labels[:, 0].to(truth.dtype), self.objective, towards=self.targeted, progress=progress
        )
        return loss, torch.autograd.grad(shown, images, gradient)[0]

    def _grid(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w 2"]:
        """Where each shown pixel is taken from, in the coordinates of grid_sample."""
        drawn = torch.rand(4, len(images), generator=self.generator)
        scale = torch.where(drawn[0] < self.diversity, self.resize + (1 - self.resize) * drawn[1], 1.0)
        # Shown at `scale`, an image leaves 1 - scale free on either side of its middle.
        shift = (2 * drawn[2:] - 1) * (1 - scale)
        affine = torch.zeros(len(images), 2, 3)
        affine[:, 0, 0] = affine[:, 1, 1] = 1 / scale
        affine[:, :, 2] = (shift / scale).T
        return F.affine_grid(affine.to(images), list(images.shape), align_corners=False)


def smooth(gradient: Float[Tensor, "b 3 h w"], side: int) -> Float[Tensor, "b 3 h w"]:
    """The gradient under a Gaussian of an odd `side`, zeros outside the frame."""
    radius = side // 2
    at = torch.arange(-radius, radius + 1, device=gradient.device, dtype=gradient.dtype)
    line = torch.exp(-3 * at.square() / (2 * max(radius, 1) ** 2))
    line = line / line.sum()
    rows, columns = line.view(1, 1, -1, 1).expand(3, 1, -1, -1), line.view(1, 1, 1, -1).expand(3, 1, -1, -1)
    return F.conv2d(F.conv2d(gradient, rows, padding=(radius, 0), groups=3), columns, padding=(0, radius), groups=3)
