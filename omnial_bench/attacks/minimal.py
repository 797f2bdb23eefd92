"""The smallest change that takes an image across the decision threshold: a bisection over radii in one PGD."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from omnial_bench.attacks.aim import Aim, Masks, Objective, PerImage
from omnial_bench.attacks.dense import RecordAttack
from omnial_bench.attacks.directions import within
from omnial_bench.attacks.objectives import image_score, peaks
from omnial_bench.attacks.plateaus import off_plateaus
from omnial_bench.attacks.radii import Radii
from omnial_bench.errors import UserError
from omnial_bench.types import RGB, Prediction

SHORTEST = 2.0**-4
"""Of a radius, what steps at it shrink to."""
OPENING = 4
"""Steps as long as the first that make a radius: where steps go from corner to corner of the ball, what was high comes
back."""


class Minimal(RecordAttack):
    """Each image at a radius of its own, as `Radii` says: along the gradient of `peaks` and along that of
    `image_score`, the other way about where the score is to rise. Where a detector has one of the two, that is either.

    Steps, each shorter than the one before, begin at the change that crossed last, shrunk to the radius. There are
    `steps` passes in all, beside those of `off_plateaus`, which says where the second gradient begins; an image that is
    done costs none. No losses are kept, for the images of a step are at different radii.

    `sizes` are the smallest radii of the last call in pixel units: 0 for an image on that side already, infinite where
    eps does not take it across. Returned is what crossed at eps, by as little as a step took it, or else came closest.
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
                "normal images; hold more of them out (validation), or give held_out images"
            )
        radii = Radii(
            float(self.threat.eps), self.steps, self.options.within, self.options.patience, ~self._is_to_rise(target)
        )
        attacked, shown, crossing, begin = clean.clone(), clean.clone(), clean.clone(), clean
        closest, still = torch.full_like(radii.now, -math.inf), torch.ones_like(radii.active)
        for step in range(self.steps):
            rows = radii.active.nonzero()[:, 0]
            if not len(rows):
                break
            objective = _along(radii.leading[rows])
            loss, slope = self.model.gradient(attacked[rows], target[rows], objective, towards=self.targeted)
            if step == 0:
                begin = off_plateaus(self.model, clean, clean, self.threat, (slope == 0) & region[:, None], image_score)
            closer = torch.isinf(radii.above[rows]) & (self.sign * loss > closest[rows])
            shown[rows[closer]], closest[rows[closer]] = attacked[rows[closer]], self.sign * loss[closer]
            still[rows] &= (slope == 0).flatten(1).all(1)
            crossed = self._is_across(loss, target[rows])
            crossing[rows[crossed]] = attacked[rows[crossed]]
            changes = (attacked - clean)[rows].abs().flatten(1).amax(1)
            anew, settled = radii.take(rows, crossed, changes, self.steps - step)
            attacked[anew] = begin[anew]
            shrink = (radii.now / radii.above)[settled, None, None, None]
            attacked[settled] = clean[settled] + shrink * (crossing - clean)[settled]
            moving = radii.active[rows] & ~torch.isin(rows, anew)
            self._move(attacked, clean, radii, rows[moving], within(slope[moving].sign(), region[rows[moving], None]))
        self.sizes, self.flat = radii.above.tolist(), int((still & torch.isinf(radii.above)).sum())
        return shown

    def _move(self, attacked: RGB, clean: RGB, radii: Radii, rows: Int64[Tensor, " n"], directions: RGB) -> None:
        """Have images of `attacked` make the next step at their radius."""
        tries, patience, most = radii.tries[rows], radii.patience[rows], radii.now[rows, None, None, None]
        length = radii.now[rows] * (OPENING / patience).clamp_max(1.0) * SHORTEST ** (tries / patience)
        move = self.sign * length[:, None, None, None] * directions
        change = (attacked[rows] + move - clean[rows]).clamp(-most, most)
        attacked[rows] = (clean[rows] + change).clamp(0.0, 1.0)
        radii.tries[rows] += 1

    def _is_across(self, loss: PerImage, target: Tensor) -> Bool[Tensor, " b"]:
        """Whether the image score lies on the side that the attack wants, as the objective tells it."""
        score = torch.where((target == 1).flatten(1).any(1), -loss, loss)
        across: Tensor = (score > self.model.threshold) == self._is_to_rise(target)
        return across

    def _is_to_rise(self, target: Tensor) -> Bool[Tensor, " b"]:
        anomalous = (target == 1).flatten(1).any(1)
        return anomalous if self.targeted else ~anomalous


def _along(by_map: Bool[Tensor, " b"]) -> Objective:
    """The gradient of `peaks` for these images, that of `image_score` for the others; either has the score's value."""

    def chosen(prediction: Prediction, aim: Aim) -> PerImage:
        if not prediction.score_map.requires_grad:
            return image_score(prediction, aim)
        if not prediction.image_score.requires_grad:
            return peaks(prediction, aim)
        return torch.where(by_map, peaks(prediction, aim), image_score(prediction, aim))

    return chosen
