"""Whether pixels without a gradient move a detector's map: an attack that follows one leaves them as they are."""

import torch
from torch import Tensor

from omnial_bench.attacks.aim import Masks, Objective
from omnial_bench.attacks.slopes import ROUNDING
from omnial_bench.attacks.victim import Victim
from omnial_bench.types import RGB, ThreatModel

DRAWS = 4
"""Of noise."""


def unfelt(
    victim: Victim, images: RGB, truth: Masks, objective: Objective, ball: ThreatModel, generator: torch.Generator
) -> float | None:
    """How far noise on the pixels without a gradient alone moves the objective, as a share of how far noise on all
    pixels does: root mean squares over `DRAWS` of noise in the ball; of the worst image.

    0 where what has no gradient has no effect, as beyond a border that is cut off. Preprocessing that is flat where an
    image lies, such as a mask that blanks a white background or a range that is clipped on the inside, makes it large,
    and slopes do not tell: along short steps it stands still. None where noise moves nothing.
    """
    _, gradient = victim.gradient(images, truth, objective)
    still = gradient == 0
    if not still.any():
        return 0.0
    begin = victim.value(images, truth, objective)
    moves = []
    for _ in range(DRAWS):
        noise = ball.draw(tuple(images.shape), generator).to(images)
        # Both in one pass: where sums depend on the batch they depend on it alike.
        noisy = torch.cat((images + noise * still, images + noise)).clamp(0, 1)
        values = victim.value(noisy, truth.repeat(2, 1, 1), objective)
        moves.append((values - begin.repeat(2)).double().square().view(2, -1))
    alone, together = torch.stack(moves).mean(0).sqrt()
    shares: Tensor = (alone / together)[together > ROUNDING * begin.abs()]
    return float(shares.max()) if len(shares) else None
