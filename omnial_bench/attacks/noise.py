"""Random noise of an attack's size: the control that an attack has to beat."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.dense import DenseAttack
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat


class Noise(DenseAttack):
    """One draw that asks the detector nothing: uniform in the L-infinity ball, or uniform on the sphere in L2.

    In L2 the change inside `where` has the whole length, before it is cut to [0, 1].
    """

    def __init__(self, victim: Victim, threat: Threat, generator: torch.Generator) -> None:
        super().__init__("noise", victim, threat, generator)

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The images with noise, in float32, inside the ball and [0, 1]; equal to `images` outside of `where`."""
        clean, _, region = self.inputs(images, labels, where)
        noise = self.threat.draw(clean.shape, self.generator).to(clean.device)
        noise = noise * region[:, None]
        if self.threat.norm == "l2":
            length = noise.flatten(1).norm(dim=1).clamp_min(torch.finfo(noise.dtype).tiny)
            noise = noise * (float(self.threat.eps) / length)[:, None, None, None]
        return self.threat.project(clean + noise, clean)


def build(victim: Victim, threat: Threat, generator: torch.Generator, _: object) -> Noise:
    """The control of a threat's size; it has no settings of its own."""
    attack: Noise = Noise(victim, threat, generator)
    return attack
