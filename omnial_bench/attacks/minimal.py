"""The smallest change that takes an image across the decision threshold: a bisection over radii in one PGD."""

import math
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from omnial_bench.attacks.aim import Aim, Masks, Objective, PerImage
from omnial_bench.attacks.dense import RecordAttack
from omnial_bench.attacks.directions import within
from omnial_bench.attacks.objectives import image_score, peaks
from omnial_bench.attacks.plateaus import off_plateaus
from omnial_bench.errors import UserError
from omnial_bench.types import RGB, Prediction

FLOOR = 2.0**-9
"""Of eps: the lower end at first."""
SHORTEST = 2.0**-4
"""Of a radius, what steps at it shrink to."""
DOUBT = 0.8
"""Of the smallest radius that crossed, where the other gradient is asked whether it takes less."""
DOWN = 2.0**-4
"""Of that radius, the lower end for the other gradient."""
LESS, LONGER = 4, 2
"""What part of a change that took steps to cross is tried next, and for how many times as many."""
OPENING = 4
"""Steps as long as the first that make a radius: where steps go from corner to corner of the ball, what was high comes
back."""


class Minimal(RecordAttack):
    """Each image at a radius of its own, between the largest at which nothing crossed and the smallest at which it did.

    An image first has the whole eps, for two fifths of the `steps` at the most along the gradient of `peaks`, and for
    as many from the beginning along that of `image_score`, the other way about where the score is to rise; the first
    that takes it across leads. Until a radius has failed, one `LESS` times smaller comes next where the last one took
    more than a step to cross, for `LONGER` times as many, if half of these are left: what is long in coming is so at a
    smaller size, too. Any other is the geometric mean of both ends, the lower one `FLOOR` of eps at first. Steps, each
    shorter than the one before, begin at the change that crossed last, shrunk to the radius. One step across makes it
    the upper end; `patience` steps without, the lower one. Where the upper end is within a factor `within` of the
    lower, the other gradient is asked at `DOUBT` of it. Where that crosses, it leads, with `DOWN` of the upper end for
    the lower, for what was too small along the one may do along the other; and then the first is asked in its turn. The
    search ends where neither takes less, or after `steps` passes in all, beside those of `off_plateaus`; an image that
    is done costs none. Where a detector has one of the two gradients, that is either.

    The second begins where `off_plateaus` says.

    No losses are kept, for the images of a step are at different radii.

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
        eps, count = float(self.threat.eps), len(clean)
        attacked, shown, crossing, begin = clean.clone(), clean.clone(), clean.clone(), clean
        radius, below, above = (clean.new_full((count,), size) for size in (eps, eps * FLOOR, math.inf))
        lowest = below.clone()
        tries, active = torch.zeros_like(radius), torch.ones_like(radius, dtype=torch.bool)
        by_map = ~self._is_to_rise(target)
        turned_about, asked, still = torch.zeros_like(active), torch.zeros_like(active), torch.ones_like(active)
        closest = clean.new_full((count,), -math.inf)
        whole = max(1, min(2 * self.steps // 5, self.steps // 2 - 1))
        patience = torch.full_like(radius, whole)
        for step in range(self.steps):
            rows = active.nonzero()[:, 0]
            if not len(rows):
                break
            objective = _along(by_map[rows])
            loss, slope = self.model.gradient(attacked[rows], target[rows], objective, towards=self.targeted)
            crossed = self._is_across(loss, target[rows])
            closer = torch.isinf(above[rows]) & (self.sign * loss > closest[rows])
            shown[rows[closer]], closest[rows[closer]] = attacked[rows[closer]], self.sign * loss[closer]
            still[rows] &= (slope == 0).flatten(1).all(1)
            over = ~crossed & (tries[rows] >= patience[rows])
            anew = over & torch.isinf(above[rows]) & ~turned_about[rows]
            again = rows[anew]
            by_map[again], turned_about[again] = ~by_map[again], True
            attacked[again], tries[again] = begin[again], 0
            won, lost = rows[crossed], rows[over & ~anew]
            crossing[won] = attacked[won]
            above[won] = torch.minimum(radius[won], (attacked - clean)[won].abs().flatten(1).amax(1))
            below[lost] = torch.where(asked[lost], above[lost], radius[lost])
            asked[won] = False
            turned = torch.cat([won, lost])
            doubted = turned[(above <= self.options.within * below)[turned] & ~asked[turned]]
            by_map[doubted], asked[doubted], below[doubted] = ~by_map[doubted], True, above[doubted] * DOWN
            active = active & (above > self.options.within * below) & ~(torch.isinf(above) & (below >= eps))
            turned = turned[active[turned]]
            longer = (LONGER * tries[turned]).clamp_max(whole)
            slow = ((tries > 1) & (below == lowest) & ~asked)[turned] & (longer < 2 * (self.steps - step))
            between = torch.where(slow, above[turned] / LESS, (below[turned] * above[turned]).sqrt())
            radius[turned] = torch.where(asked[turned], above[turned] * DOUBT, between)
            tries[turned], patience[turned] = 0, torch.where(slow, longer, 0).clamp_min(self.options.patience)
            shrink = (radius[turned] / above[turned])[:, None, None, None]
            attacked[turned] = clean[turned] + shrink * (crossing[turned] - clean[turned])
            if step == 0:
                begin = off_plateaus(self.model, clean, clean, self.threat, (slope == 0) & region[:, None], image_score)
            moving = active[rows] & ~anew
            rows, slope = rows[moving], slope[moving]
            longest = radius[rows] * (OPENING / patience[rows]).clamp_max(1.0)
            length = (longest * SHORTEST ** (tries[rows] / patience[rows]))[:, None, None, None]
            move = self.sign * length * within(slope.sign(), region[rows, None])
            size = radius[rows, None, None, None]
            change = (attacked[rows] + move - clean[rows]).clamp(-size, size)
            attacked[rows] = (clean[rows] + change).clamp(0.0, 1.0)
            tries[rows] += 1
        self.sizes, self.flat = above.tolist(), int((still & torch.isinf(above)).sum())
        return shown

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
