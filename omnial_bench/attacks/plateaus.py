"""Pixels without a gradient that move a detector's map all the same: attacks begin off what is flat where that can be
left, and what remains of it is measured."""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Aim, Masks, PerImage
from omnial_bench.attacks.objectives import linear
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


def off_plateaus(victim: Victim, begin: RGB, clean: RGB, ball: ThreatModel, still: Bool[Tensor, "b 3 h w"]) -> RGB:
    """Images in the ball where an attack begins, with pixels of plateaus of `clean` at the end of it towards grey, if
    they have a gradient there, or else at the other, if there; as they are where all pixels have one.

    `still` are those without one for an objective. Of these count what the prediction does not feel at all: an
    objective may be done with a pixel that the map still feels.
    """
    if not still.any():
        return begin
    still, start = still & _unfelt_at(victim, begin), begin
    if still.any():
        still = still & plateaus(victim, clean)
    for way in (1, -1):
        if still.any():
            end = ball.project(start + way * 2 * float(ball.eps) * (GREY - start).sign(), clean)
            shown = ball.project(torch.where(still, end, begin), clean)
            stays = still & _unfelt_at(victim, shown)
            # A mixture of two images in a ball of lengths may lie outside of it.
            begin, still = ball.project(torch.where(still & ~stays, shown, begin), clean), stays
    return begin


def plateaus(victim: Victim, images: RGB) -> Bool[Tensor, "b 1 h w"]:
    """Pixels about which, `NEAR` to each side, no score of a prediction has a gradient in any colour."""
    felt = (~_unfelt_at(victim, images)).any(1, keepdim=True).to(images.dtype)
    found: Bool[Tensor, "b 1 h w"] = F.max_pool2d(felt, 2 * NEAR + 1, 1, NEAR) == 0
    return found


def unfelt(victim: Victim, images: RGB, truth: Masks, ball: ThreatModel, generator: torch.Generator) -> float | None:
    """How far noise on the pixels of plateaus alone moves the map, as a share of how far noise on all pixels does.

    Of these count what has no gradient where an attack begins: at random in the ball, and `off_plateaus`. A map moves
    as `linear` does; shares are of root mean squares over `DRAWS` of noise, and the worst image's. 0 where a plateau
    does nothing, as beyond a border that is cut off. Regions in which values are rounded make it large. None where
    noise moves nothing.
    """
    begin = ball.project(images + ball.draw(tuple(images.shape), generator).to(images), images)
    flat = plateaus(victim, images).expand_as(images)
    begin = off_plateaus(victim, begin, images, ball, flat)
    still = flat & _unfelt_at(victim, begin)
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
    found: Bool[Tensor, "b 3 h w"] = victim.gradient(images, torch.zeros_like(images[:, 0]).bool(), _any)[1] == 0
    return found


def _any(prediction: Prediction, _: Aim) -> PerImage:
    """All that has a gradient, in shares drawn once: in a plain sum what a pixel adds another may take off, as where a
    map is a difference of neighbours."""
    odds = prediction.log_odds
    shares = torch.rand(odds.shape[1:], generator=torch.Generator().manual_seed(0)).to(odds)
    scores = [(shares * odds).flatten(1).mean(1)] if odds.requires_grad else []
    if prediction.image_score.requires_grad or not scores:
        scores.append(prediction.image_score)
    return torch.stack(scores).sum(0)
