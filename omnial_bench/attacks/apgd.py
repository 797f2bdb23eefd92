"""Auto-PGD on dense predictions: PGD that chooses its own step (Croce & Hein, ICML 2020, section 3, algorithm 1)."""

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from omnial_bench.attacks.aim import PerImage
from omnial_bench.attacks.directions import ascent, within
from omnial_bench.attacks.pgd import Climb, DensePGD, keep
from omnial_bench.attacks.settings import FIRST_STEP
from omnial_bench.attacks.victim import Lookout, Victim
from omnial_bench.types import RGB, ThreatModel


class DenseAPGD(DensePGD):
    """PGD with momentum whose step, 2 eps at first, is halved for each image apart where it no longer serves.

    At a checkpoint an image whose gains have become rare, or whose best has stood still since the last one, goes on
    from its best iterate with half the step. The best iterate is what comes out. All else is as in DensePGD; a
    `step_size` given is the first one.
    """

    def __init__(self, model: Victim, threat: ThreatModel, *, rho: float = 0.75, **settings: Any) -> None:
        paper = {"step_size": FIRST_STEP * float(threat.eps), "steps": 100, "momentum": 0.75}
        given = {name: value for name, value in settings.items() if value is not None}
        super().__init__(model, threat, **(paper | given), best=True)
        self.attack, self.rho = "APGD", rho

    def climb(self, clean: RGB, region: Bool[Tensor, "b 1 h w"] | None, start: RGB, lookout: Lookout) -> Climb:
        """The steps from one start of each image."""
        loss, gradient = lookout.gradient(start, 0.0)
        losses, flat = [loss], (gradient == 0).flatten(1).all(1)
        gradient = within(gradient, region)
        before, attacked, best = None, start, start
        # Of the best iterate: objective and slope. Of the current one: objective, and gains since the last checkpoint.
        top, slope, now, gains = self.sign * loss, gradient, self.sign * loss, torch.zeros_like(loss)
        size, top_then, halved = torch.full_like(loss, self.alpha), top, torch.zeros_like(loss, dtype=torch.bool)
        windows = checkpoints(self.steps)
        for step in range(1, self.steps):
            before, attacked = attacked, self._step(attacked, before, gradient, size, clean)
            loss, gradient = lookout.gradient(attacked, step / self.steps)
            losses.append(loss)
            flat &= (gradient == 0).flatten(1).all(1)
            gradient = within(gradient, region)
            gains += self.sign * loss > now
            now = self.sign * loss
            better = now > top
            best, slope = _choose(better, attacked, best), _choose(better, gradient, slope)
            top = torch.where(better, now, top)
            if step in windows:
                stalled = (gains < self.rho * windows[step]) | (~halved & (top == top_then))
                size = torch.where(stalled, size / 2, size)
                attacked, gradient = _choose(stalled, best, attacked), _choose(stalled, slope, gradient)
                now = torch.where(stalled, top, now)
                halved, top_then, gains = stalled, top, torch.zeros_like(gains)
        attacked = self._step(attacked, before, gradient, size, clean)
        best, top = keep(best, top, attacked, self.sign * lookout.value(attacked))
        return Climb(best, torch.stack(losses), flat, top)

    def _step(self, attacked: RGB, before: RGB | None, gradient: RGB, size: PerImage, clean: RGB) -> RGB:
        """A projected step, mixed with the one before; the first has none before."""
        move = self.sign * size[:, None, None, None] * ascent(gradient, self.threat)
        ahead = self.threat.project(attacked + move, clean)
        if before is None:
            return ahead
        share = self.momentum
        return self.threat.project(attacked + share * (ahead - attacked) + (1 - share) * (attacked - before), clean)


def checkpoints(steps: int) -> dict[int, int]:
    """The steps after which the step size is looked at, and how many steps each has behind it since the one before.

    The first is at 22 % of the steps; each further distance is 3 points shorter, and 6 points at the least.
    """
    shares, distance = [0, 22], 22
    while shares[-1] < 100:
        distance = max(distance - 3, 6)
        shares.append(shares[-1] + distance)
    # In whole percent, for a rounded product would move a checkpoint by a step.
    at = [-(-share * steps // 100) for share in shares]
    return {one: one - other for other, one in pairwise(at) if other < one < steps}


def _choose(rows: Bool[Tensor, " b"], ones: RGB, others: RGB) -> RGB:
    return torch.where(rows[:, None, None, None], ones, others)
