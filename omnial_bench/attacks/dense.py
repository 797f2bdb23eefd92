"""torchattacks' Attack for dense predictions, without its traps: what the attacks that are not its PGD derive from."""

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchattacks.attack import Attack

from omnial_bench.attacks.aim import Objective
from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.victim import as_victim
from omnial_bench.config.schema import Threat
from omnial_bench.errors import UserError
from omnial_bench.types import ThreatModel


class DenseAttack(Attack):  # type: ignore[misc]
    """An attack on a victim inside the ball of a record, with its objective and random numbers from a CPU generator.

    Goal `any` raises the objective against the labels, which are the truth; the other goals lower it towards the
    labels, which are then target maps. Raises UserError for an unknown objective.
    """

    def __init__(self, name: str, victim: nn.Module, threat: Threat, generator: torch.Generator) -> None:
        # For a model without weights the parent prints that it found no device; here the images' device counts.
        with redirect_stdout(io.StringIO()):
            super().__init__(name, as_victim(victim))
        self.supported_mode = ["default", "targeted"]
        if threat.goal != "any":
            self.set_mode_targeted_by_label(quiet=True)
        self.threat = ThreatModel(eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where)
        self.objective: Objective = objective_named(threat.objective)
        self.generator = generator
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

    def inputs(
        self, images: Float[Tensor, "b 3 h w"], labels: Bool[Tensor, "b h w"], where: Bool[Tensor, "b h w"] | None
    ) -> tuple[Float[Tensor, "b 3 h w"], Bool[Tensor, "b h w"], Bool[Tensor, "b h w"]]:
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


def stronger(
    images: Float[Tensor, "b 3 h w"],
    gain: Float[Tensor, " b"],
    others: Float[Tensor, "b 3 h w"],
    other_gain: Float[Tensor, " b"],
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, " b"]]:
    """Of two versions of each image the one that gains more, with its gain; the first where they are equal."""
    better = other_gain > gain
    return torch.where(better[:, None, None, None], others, images), torch.where(better, other_gain, gain)
