"""Random noise of an attack's size: the control that an attack has to beat."""

import torch

from omnial_bench.attacks.aim import Masks
from omnial_bench.attacks.dense import RecordAttack
from omnial_bench.types import RGB


class Noise(RecordAttack):
    """One draw that asks the detector nothing: uniform in the L-infinity ball, or uniform on the sphere in L2.

    In L2 the change inside `where` has the whole length, before it is cut to [0, 1].
    """

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        clean, _, region = self.inputs(images, labels, where)
        noise = self.threat.draw(clean.shape, self.generator).to(clean.device)
        noise = noise * region[:, None]
        if self.threat.norm == "l2":
            length = noise.flatten(1).norm(dim=1).clamp_min(torch.finfo(noise.dtype).tiny)
            noise = noise * (float(self.threat.eps) / length)[:, None, None, None]
        return self.threat.project(clean + noise, clean)
