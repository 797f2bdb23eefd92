"""Projected gradient descent on dense predictions (Madry et al., ICLR 2018), inside any threat model."""

import io
from contextlib import redirect_stdout

import torch
import torchattacks
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.objectives import Objective, balanced
from omnial_bench.attacks.victim import Victim
from omnial_bench.nouns import ThreatModel


class DensePGD(torchattacks.PGD):  # type: ignore[misc]
    """torchattacks' PGD with the objective, the ball and the random numbers handed in.

    Goal `any` raises the objective against the labels, which are the truth; the other goals lower it towards the
    labels, which are then target maps. `step_size` is in pixel units; None is 2.5 eps / steps. The random start is
    uniform in the L-infinity ball and, in L2, of a uniform direction and radius. `losses` holds the mean loss of the
    last call, before each step.
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
        random_start: bool = True,
    ) -> None:
        eps = float(threat.eps)
        alpha = 2.5 * eps / steps if step_size is None else step_size
        # For a model without weights the parent prints that it found no device; here the images' device counts.
        with redirect_stdout(io.StringIO()):
            super().__init__(model, eps=eps, alpha=alpha, steps=steps, random_start=random_start)
        self.threat = threat
        self.objective = objective
        self.generator = generator
        self.losses: list[float] = []
        self.flat: int | None = None
        if threat.goal != "any":
            self.set_mode_targeted_by_label(quiet=True)

    def __setattr__(self, name: str, value: object) -> None:
        # The parent's keeps everything ever assigned, models included, in a list that lives as long as the process.
        object.__setattr__(self, name, value)

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The attacked images, in float32, inside the ball and [0, 1]; with `where`, equal to `images` outside of
        it."""
        clean, truth = images.detach().float(), labels.to(images.device).bool()
        region = None if where is None else where.to(images.device)[:, None]
        attacked = self._start(clean, region) if self.random_start else clean
        sign = -1.0 if self.targeted else 1.0
        losses, flat = [], torch.zeros(())
        for step in range(self.steps):
            loss, gradient = self.model.gradient(
                attacked, truth, self.objective, towards=self.targeted, progress=step / self.steps
            )
            losses.append(loss.mean())
            if step == 0:
                flat = (gradient == 0).flatten(1).all(1).sum()
            move = ascent(_within(gradient, region), self.threat)
            attacked = self.threat.project(attacked + sign * self.alpha * move, clean)
        self.losses, self.flat = torch.stack(losses).tolist(), int(flat)
        return attacked.detach()

    def _start(self, clean: Float[Tensor, "b 3 h w"], region: Tensor | None) -> Float[Tensor, "b 3 h w"]:
        noise = _within(random_change(clean.shape, self.threat, self.generator).to(clean.device), region)
        return self.threat.project(clean + noise, clean)


def ascent(gradient: Float[Tensor, "b 3 h w"], threat: ThreatModel) -> Float[Tensor, "b 3 h w"]:
    """The direction of steepest ascent of length 1 in the threat's norm; 0 where there is no gradient."""
    if threat.norm == "linf":
        return gradient.sign()
    length = gradient.flatten(1).norm(dim=1)[:, None, None, None]
    return torch.where(length > 0, gradient / length.clamp_min(torch.finfo(gradient.dtype).tiny), 0)


def random_change(
    shape: torch.Size | tuple[int, int, int, int], threat: ThreatModel, generator: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """A random change within the threat's ball, on the CPU: uniform (L-infinity), or of uniform direction and radius
    (L2)."""
    eps = float(threat.eps)
    if threat.norm == "linf":
        return (2 * torch.rand(shape, generator=generator) - 1) * eps
    direction = torch.randn(shape, generator=generator)
    length = direction.flatten(1).norm(dim=1)
    scale: Tensor = torch.rand(shape[0], generator=generator) * eps / length
    return direction * scale[:, None, None, None]


def _within(change: Float[Tensor, "b 3 h w"], region: Bool[Tensor, "b 1 h w"] | None) -> Float[Tensor, "b 3 h w"]:
    return change if region is None else change * region
