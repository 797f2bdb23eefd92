"""torchattacks' Attack for dense predictions, without its traps: what all but attacks from elsewhere derive from."""

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchattacks.attack import Attack

from omnial_bench.attacks.aim import Masks, Objective, PerImage
from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.threats import threat_model
from omnial_bench.attacks.victim import as_victim
from omnial_bench.config.schema import Threat
from omnial_bench.errors import UserError
from omnial_bench.types import RGB, ThreatModel


class DenseAttack(Attack):  # type: ignore[misc]
    """An attack on a victim inside a ball, with its objective and random numbers from a CPU generator.

    Goal `any` raises the objective against the labels, which are the truth; the other goals lower it towards the
    labels, which are then target maps. `forward` gives the images attacked, in float32, inside the ball and [0, 1];
    with `where`, equal to those given outside of it.
    """

    def __init__(
        self, name: str, victim: nn.Module, threat: ThreatModel, objective: Objective, generator: torch.Generator
    ) -> None:
        # For a model without weights the parent prints that it found no device; here the images' device counts.
        with redirect_stdout(io.StringIO()):
            super().__init__(name, as_victim(victim))
        self.supported_mode = ["default", "targeted"]
        if threat.goal != "any":
            self.set_mode_targeted_by_label(quiet=True)
        self.threat, self.objective, self.generator = threat, objective, generator
        self.losses: list[float] = []
        self.flat: int | None = None

    def __setattr__(self, name: str, value: object) -> None:
        # The parent's puts every value assigned, models included, into a reference cycle: a detector and its memory
        # on a GPU would stay until the garbage collector comes by.
        object.__setattr__(self, name, value)

    @property
    def sign(self) -> float:
        """1 where the objective is raised, -1 where it is lowered."""
        return -1.0 if self.targeted else 1.0

    def inputs(self, images: RGB, labels: Masks, where: Masks | None) -> tuple[RGB, Masks, Masks]:
        """The images in float32, their truth or target maps, and where pixels may change, on one device."""
        clean = images.detach().float()
        truth = self.get_target_label(clean, labels) if self.targeted else labels
        region = torch.ones_like(clean[:, 0], dtype=torch.bool) if where is None else where
        return clean, truth.to(clean.device), region.to(clean.device).bool()

    def keep_losses(self, losses: Sequence[Float[Tensor, ""]]) -> None:
        """Keep the mean objective before each step; UserError where the detector gave NaN or infinite values."""
        self.losses = torch.stack(list(losses)).tolist()
        if not all(map(math.isfinite, self.losses)):
            raise UserError(
                f"expected finite outputs from the detector under the attack {self.attack}, got NaN or infinite ones; "
                "return logits, not logarithms of probabilities that can be 0"
            )


class RecordAttack(DenseAttack):
    """One that is made of a threat's record and its checked options; UserError for an unknown objective."""

    def __init__(self, victim: nn.Module, threat: Threat, generator: torch.Generator, options: Any) -> None:
        super().__init__(threat.attack, victim, threat_model(threat), objective_named(threat.objective), generator)
        self.steps, self.random_start, self.options = threat.steps, threat.random_start, options
        self.alpha = float(2.5 * threat.eps / threat.steps if threat.step_size is None else threat.step_size)


def stronger(images: RGB, gain: PerImage, others: RGB, other_gain: PerImage) -> tuple[RGB, PerImage]:
    """Of two versions of each image the one that gains more, with its gain; the first where they are equal."""
    better = other_gain > gain
    return torch.where(better[:, None, None, None], others, images), torch.where(better, other_gain, gain)
