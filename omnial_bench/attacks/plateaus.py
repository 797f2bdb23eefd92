"""Pixels without a gradient that move a detector's map all the same: attacks begin off what is flat where that can be
left, and what remains of it is measured."""

import torch
from jaxtyping import Bool
from torch import Tensor

from omnial_bench.attacks.aim import Aim, Masks, PerImage
from omnial_bench.attacks.objectives import linear
from omnial_bench.attacks.slopes import ROUNDING
from omnial_bench.attacks.victim import Victim
from omnial_bench.types import RGB, Prediction, ThreatModel

DRAWS = 4
"""Of noise."""
GREY = 0.5
"""Middle of the range: what is flat at an image is mostly an end of it, white or black, and is left on this side."""


def off_plateaus(victim: Victim, begin: RGB, clean: RGB, ball: ThreatModel, still: Bool[Tensor, "b 3 h w"]) -> RGB:
    """Images in the ball where an attack begins, with pixels that have no gradient at the end of it towards grey, if
    they have one there, or else at the other, if there; the images themselves where all have one.

    `still` are those without one for an objective. Of these count what the prediction does not feel at all: an
    objective may be done with a pixel that the map still feels.
    """
    if not still.any():
        return begin
    still, start = still & _unfelt_at(victim, begin), begin
    for way in (1, -1):
        if still.any():
            end = ball.project(start + way * 2 * float(ball.eps) * (GREY - start).sign(), clean)
            shown = ball.project(torch.where(still, end, begin), clean)
            stays = still & _unfelt_at(victim, shown)
            # A mixture of two images in a ball of lengths may lie outside of it.
            begin, still = ball.project(torch.where(still & ~stays, shown, begin), clean), stays
    return begin


def unfelt(victim: Victim, images: RGB, truth: Masks, ball: ThreatModel, generator: torch.Generator) -> float | None:
    """How far noise on pixels without a gradient alone moves the map, as a share of how far noise on all pixels does.

    Without one where an attack begins: at random in the ball, and `off_plateaus`. A map moves as `linear` does; shares
    are of root mean squares over `DRAWS` of noise, and the worst image's. 0 where what has no gradient does nothing, as
    beyond a border that is cut off. Values that are rounded, some or all, make it large. None where noise moves
    nothing.
    """
    begin = ball.project(images + ball.draw(tuple(images.shape), generator).to(images), images)
    begin = off_plateaus(victim, begin, images, ball, torch.ones_like(begin, dtype=torch.bool))
    still = _unfelt_at(victim, begin)
    if not still.any():
        return 0.0
    before = victim.value(begin, truth, linear)
    moves = []
    for _ in range(DRAWS):
        noise = ball.draw(tuple(images.shape), generator).to(images)
        noisy = ball.project(images + noise, images)
        # Both in one pass: where sums depend on the batch they depend on it alike.
        values = victim.value(torch.cat((torch.where(still, noisy, begin), noisy)), truth.repeat(2, 1, 1), linear)
        moves.append((values - before.repeat(2)).double().square().view(2, -1))
    alone, together = torch.stack(moves).mean(0).sqrt()
    shares: Tensor = (alone / together)[together > ROUNDING * before.abs()]
    return float(shares.max()) if len(shares) else None


def _unfelt_at(victim: Victim, images: RGB) -> Bool[Tensor, "b 3 h w"]:
    """Pixels at which neither a map nor an image score has a gradient."""
    truth = torch.zeros_like(images[:, 0], dtype=torch.bool)
    found: Bool[Tensor, "b 3 h w"] = victim.gradient(images, truth, _all)[1] == 0
    return found


def _all(prediction: Prediction, aim: Aim) -> PerImage:
    """Every score that has a gradient; of all pixels as one kind, what one adds no other takes off."""
    scores = [linear(prediction, aim)] if prediction.score_map.requires_grad else []
    if prediction.image_score.requires_grad or not scores:
        scores.append(prediction.image_score)
    return torch.stack(scores).sum(0)
