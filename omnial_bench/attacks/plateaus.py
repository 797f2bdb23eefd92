"""Regions of an image without a gradient that move a detector's map all the same: attacks begin off them as well, and
what is flat all over the ball is measured."""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Aim, Masks, Objective, PerImage
from omnial_bench.attacks.objectives import image_score, linear, peaks
from omnial_bench.attacks.slopes import ROUNDING
from omnial_bench.attacks.victim import Victim
from omnial_bench.types import RGB, Prediction, ThreatModel

DRAWS = 4
"""Of noise."""
GREY = 0.5
"""Middle of the range: what is flat at an image is mostly an end of it, white or black, and is left on this side."""
NEAR = 3
"""Pixels to each side. Where one so near has a gradient there is no plateau but a choice, as of a maximum over a window
or over colours: the others come in once that one has moved."""


def off_plateaus(
    victim: Victim, begin: RGB, clean: RGB, ball: ThreatModel, still: Bool[Tensor, "b 3 h w"], objective: Objective
) -> RGB:
    """Images in the ball where an attack begins, with pixels of plateaus of `clean` moved to its end towards grey, if
    they have a gradient there; the images themselves where there are none.

    `still` are those without one for the objective. Of these count what the map, or the image score that the objective
    goes for, does not feel at all: an objective may be done with a pixel. A plateau may end in a jump that no gradient
    leads back over, so that an attack is to go on from `begin` too.
    """
    if not still.any():
        return begin
    end = ball.project(begin + 2 * float(ball.eps) * (GREY - begin).sign(), clean)
    shown = ball.project(torch.where(still, end, begin), clean)
    freed = still & ~_unfelt_at(victim, shown, objective)
    if freed.any():
        freed = freed & _unfelt_at(victim, begin, objective)
    if freed.any():
        freed = freed & plateaus(victim, clean, objective)
    # A mixture of two images in a ball of lengths may lie outside of it.
    return ball.project(torch.where(freed, shown, begin), clean) if freed.any() else begin


def plateaus(victim: Victim, images: RGB, objective: Objective = linear) -> Bool[Tensor, "b 1 h w"]:
    """Pixels about which, `NEAR` to each side, there is no gradient in any colour."""
    felt = (~_unfelt_at(victim, images, objective)).any(1, keepdim=True).to(images.dtype)
    found: Bool[Tensor, "b 1 h w"] = F.max_pool2d(felt, 2 * NEAR + 1, 1, NEAR) == 0
    return found


def unfelt(victim: Victim, images: RGB, truth: Masks, ball: ThreatModel, generator: torch.Generator) -> float | None:
    """How far noise on the pixels of plateaus alone moves the map, as a share of how far noise on all pixels does.

    Of these count what has no gradient where an attack begins: at random in the ball, and `off_plateaus`. A map moves
    as `linear` does; shares are of root mean squares over `DRAWS` of noise, and the worst image's. 0 where a plateau
    does nothing, as beyond a border that is cut off. Regions in which values are rounded make it large. None where
    noise moves nothing.
    """
    flat = plateaus(victim, images).expand_as(images)
    if not flat.any():
        return 0.0
    begin = ball.project(images + ball.draw(tuple(images.shape), generator).to(images), images)
    begin = off_plateaus(victim, begin, images, ball, flat, linear)
    still = flat & _unfelt_at(victim, begin, linear)
    if not still.any():
        return 0.0
    # All in passes of one size: where sums depend on the batch they depend on it alike.
    truth = truth.repeat(2, 1, 1)
    before = victim.value(begin.repeat(2, 1, 1, 1), truth, linear)
    moves = []
    for _ in range(DRAWS):
        noise = ball.draw(tuple(images.shape), generator).to(images)
        noisy = ball.project(begin + noise, images)
        values = victim.value(torch.cat((torch.where(still, noisy, begin), noisy)), truth, linear)
        moves.append((values - before).double().square().view(2, -1))
    alone, together = torch.stack(moves).mean(0).sqrt()
    shares: Tensor = (alone / together)[together > ROUNDING * before[: len(images)].abs()]
    return float(shares.max()) if len(shares) else None


def _unfelt_at(victim: Victim, images: RGB, objective: Objective) -> Bool[Tensor, "b 3 h w"]:
    """Pixels at which what an objective goes for has no gradient."""
    truth = torch.zeros_like(images[:, 0]).bool()
    seen = _score if objective in (image_score, peaks) else _map
    found: Bool[Tensor, "b 3 h w"] = victim.gradient(images, truth, seen)[1] == 0
    return found


def _map(prediction: Prediction, _: Aim) -> PerImage:
    """All of it, in shares drawn once: in a plain sum what a pixel adds another may take off, as where a map is a
    difference of neighbours. The image score where it alone has a gradient."""
    odds = prediction.log_odds
    if not odds.requires_grad:
        return prediction.image_score
    shares = torch.rand(odds.shape[1:], generator=torch.Generator().manual_seed(0)).to(odds)
    return (shares * odds).flatten(1).mean(1)


def _score(prediction: Prediction, aim: Aim) -> PerImage:
    """One of its own; of the map, whose highest place alone has a gradient in it, the map."""
    own = prediction.score is not None and prediction.image_score.requires_grad
    return prediction.image_score if own else _map(prediction, aim)
