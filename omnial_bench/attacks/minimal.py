"""The smallest change that takes an image across the decision threshold: a bisection over radii in one PGD."""

import math
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from omnial_bench.attacks.aim import Masks, PerImage
from omnial_bench.attacks.dense import RecordAttack
from omnial_bench.attacks.directions import within
from omnial_bench.attacks.objectives import peaks
from omnial_bench.errors import UserError
from omnial_bench.types import RGB

FLOOR = 2.0**-9
"""Of eps: no smaller radius is told from none."""
SHORTEST = 2.0**-4
"""Of a radius, what steps at it shrink to."""


class Minimal(RecordAttack):
    """Each image at a radius of its own: halved, in octaves, where the image crosses, and raised where it does not.

    An image first has the whole eps, for half of the `steps` at the most. Where a step takes it across, the radius
    between that and the largest without success is next, from the change that crossed, shrunk; where `patience` steps
    do not, each shorter than the one before, the radius between it and the smallest with success is. Radii are halved
    on a logarithmic scale, until the smallest that crossed is within a factor `within` of the largest that did not, or
    after `steps` passes in all. An image that is done costs none.

    It goes along the gradients of `peaks`, whose value is the score. No losses are kept, for the images of a step are
    at different radii.

    `sizes` are the smallest radii of the last call in pixel units: 0 for an image on that side already, infinite where
    eps does not take it across. Returned is what crossed at the largest radius that was tried.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sizes: list[float] = []

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        """The attacked images, in float32, inside the ball and [0, 1]; equal to `images` outside of `where`. UserError
        for a victim without a threshold."""
        clean, target, region = self.inputs(images, labels, where)
        if not math.isfinite(self.model.threshold):
            raise UserError(
                "expected a detector with a threshold for the attack minimal, got one without scores of held-out "
                "normal images; train it with validation above 0, or give held_out images"
            )
        eps, count = float(self.threat.eps), len(clean)
        attacked, shown, crossing = clean.clone(), clean.clone(), clean.clone()
        radius, below, above = (clean.new_full((count,), size) for size in (eps, eps * FLOOR, math.inf))
        tries, active = torch.zeros_like(radius), torch.ones_like(radius, dtype=torch.bool)
        patience = torch.full_like(radius, max(self.options.patience, self.steps // 2))
        for step in range(self.steps):
            rows = active.nonzero()[:, 0]
            if not len(rows):
                break
            loss, slope = self.model.gradient(attacked[rows], target[rows], peaks, towards=self.targeted)
            crossed = self._is_across(loss, target[rows])
            if step == 0:
                self.flat = int(((slope == 0).flatten(1).all(1) & ~crossed).sum())
            won, lost = rows[crossed], rows[~crossed & (tries[rows] >= patience[rows])]
            first = won[torch.isinf(above[won])]
            shown[first] = attacked[first]
            crossing[won] = attacked[won]
            above[won] = torch.minimum(radius[won], (attacked - clean)[won].abs().flatten(1).amax(1))
            below[lost] = radius[lost]
            # As far as the last step of one that eps does not take across has come.
            shown[lost] = torch.where(torch.isinf(above[lost])[:, None, None, None], attacked[lost], shown[lost])
            active = active & (above > self.options.within * below) & ~(torch.isinf(above) & (below >= eps))
            turned = torch.cat([won, lost])
            turned = turned[active[turned]]
            radius[turned] = (below[turned] * above[turned]).sqrt()
            tries[turned], patience[turned] = 0, self.options.patience
            shrink = (radius[turned] / above[turned])[:, None, None, None]
            attacked[turned] = clean[turned] + shrink * (crossing[turned] - clean[turned])
            moving = active[rows]
            rows, slope = rows[moving], slope[moving]
            length = (radius[rows] * SHORTEST ** (tries[rows] / patience[rows]))[:, None, None, None]
            move = self.sign * length * within(slope.sign(), region[rows, None])
            size = radius[rows, None, None, None]
            change = (attacked[rows] + move - clean[rows]).clamp(-size, size)
            attacked[rows] = (clean[rows] + change).clamp(0.0, 1.0)
            tries[rows] += 1
        self.sizes = above.tolist()
        return shown

    def _is_across(self, loss: PerImage, target: Tensor) -> Bool[Tensor, " b"]:
        """Whether the image score lies on the side that the attack wants, as the objective tells it."""
        anomalous = (target == 1).flatten(1).any(1)
        score = torch.where(anomalous, -loss, loss)
        across: Tensor = (score > self.model.threshold) == (anomalous if self.targeted else ~anomalous)
        return across
