"""Square attack on dense predictions (Andriushchenko et al., ECCV 2020): random search that takes no gradient."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.attacks.boxes import Box, box_of, filled, placed
from omnial_bench.attacks.bumps import LEAST, moved, tiled
from omnial_bench.attacks.dense import DenseAttack, stronger
from omnial_bench.attacks.settings import SquareOptions
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of ten thousand, after which a square has half the area (the paper's section 4.1); scaled to the budget."""
SCHEDULE = 10000


class Square(DenseAttack):
    """Square in either ball: a budget of `steps` queries, and the best image so far is kept for each image.

    In L-infinity the first query paints vertical stripes, each later one a square of one colour change; all are at the
    corners of the ball. In L2 it paints a grid of bumps, and each later one moves length from one square into bumps in
    another. Unlike in the paper an image that the first query does no harm goes on from itself, for stripes can undo
    an attack that hides; the query for that is not counted. Squares lie in the box around `where`.
    """

    def __init__(
        self, victim: Victim, threat: Threat, generator: torch.Generator, options: SquareOptions | None = None
    ) -> None:
        super().__init__("square", victim, threat, generator)
        self.steps = threat.steps
        self.first = threat.random_start
        self.area = (options or SquareOptions()).area

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The attacked images, in float32, inside the ball and [0, 1]; equal to `images` outside of `where`."""
        clean, truth, region = self.inputs(images, labels, where)
        box, propose = box_of(region), self._bumps if self.threat.norm == "l2" else self._corners
        loss = self.model.value(clean, truth, self.objective, towards=self.targeted)
        attacked, best = clean, self.sign * loss
        losses = []
        for step in range(self.steps):
            losses.append(self.sign * best.mean())
            candidate = propose(step, attacked, clean, region, box)
            loss = self.model.value(candidate, truth, self.objective, towards=self.targeted)
            attacked, best = stronger(attacked, best, candidate, self.sign * loss)
        self.keep_losses(losses)
        return attacked

    def _corners(
        self,
        step: int,
        attacked: Float[Tensor, "b 3 h w"],
        clean: Float[Tensor, "b 3 h w"],
        region: Bool[Tensor, "b h w"],
        box: Box,
    ) -> Float[Tensor, "b 3 h w"]:
        """Stripes, then a square, at the corners of the L-infinity ball (the paper's algorithm 2)."""
        frame = clean.shape[2:]
        if step == 0 and self.first:
            painted, colours = region, self._signs(len(clean), frame[1])
        else:
            side = self._side(step, box, least=1)
            painted = region & filled(placed(box, side, side, frame, self.generator), frame)
            colours = self._signs(len(clean), 1)
        corner = self.threat.project(clean + float(self.threat.eps) * colours.to(clean.device), clean)
        return torch.where(painted[:, None], corner, attacked)

    def _bumps(
        self,
        step: int,
        attacked: Float[Tensor, "b 3 h w"],
        clean: Float[Tensor, "b 3 h w"],
        region: Bool[Tensor, "b h w"],
        box: Box,
    ) -> Float[Tensor, "b 3 h w"]:
        """A grid of bumps, then length moved into bumps elsewhere, on the L2 sphere but for what [0, 1] cuts off."""
        eps = float(self.threat.eps)
        if step == 0 and self.first:
            change = eps * tiled(region, box, self.generator)
        else:
            change = moved(attacked - clean, region, box, self._side(step, box, least=LEAST), eps, self.generator)
        return self.threat.project(clean + change, clean)

    def _side(self, step: int, box: Box, *, least: int) -> Int64[Tensor, " b"]:
        """The side of each image's square in a step, never longer than its box."""
        share = self.area / 2 ** sum(step * SCHEDULE > at * self.steps for at in HALVINGS)
        side: Tensor = (share * box.height * box.width).sqrt().round().long()
        return side.clamp_min(least).minimum(box.height).minimum(box.width)

    def _signs(self, n: int, width: int) -> Float[Tensor, "n 3 1 w"]:
        return 2.0 * torch.randint(0, 2, (n, 3, 1, width), generator=self.generator) - 1


def build(victim: Victim, threat: Threat, generator: torch.Generator, options: SquareOptions) -> Square:
    """The Square attack of a record."""
    attack: Square = Square(victim, threat, generator, options)
    return attack
