"""Square attack on dense predictions (Andriushchenko et al., ECCV 2020): random search that takes no gradient.

In the L2 ball it tries bumps in pairs of opposite sign, paid for with length from somewhere else (algorithm 3): a
change in L2 is worth most where it is concentrated, so no query paints a square evenly.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from omnial_bench.attacks.aim import Masks
from omnial_bench.attacks.boxes import Box, box_of, filled, placed
from omnial_bench.attacks.dense import RecordAttack, stronger
from omnial_bench.types import RGB

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of ten thousand, after which a square has half the area (the paper's section 4.1); scaled to the budget."""
SCHEDULE = 10000
LEAST = 3
"""Side of the smallest square: in one pixel a new bump either repeats what is there or takes all of it back."""
GRID = 5
"""Tiles along the longer side of the box in the first query."""
_TINY = torch.finfo(torch.float32).tiny


class Square(RecordAttack):
    """Square in either ball: a budget of `steps` queries, and the best image so far is kept for each image.

    In L-infinity the first query paints vertical stripes, each later one a square of one colour change; all are at the
    corners of the ball. In L2 it paints a grid of bumps, and each later one moves length from one square into bumps in
    another. Unlike in the paper an image that the first query does no harm goes on from itself, for stripes can undo
    an attack that hides; the query for that is not counted. Squares lie in the box around `where`.
    """

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
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

    def _corners(self, step: int, attacked: RGB, clean: RGB, region: Masks, box: Box) -> RGB:
        """Stripes, then a square, at the corners of the L-infinity ball (the paper's algorithm 2)."""
        frame = clean.shape[2:]
        if step == 0 and self.random_start:
            painted, colours = region, _signs((len(clean), 3, 1, frame[1]), self.generator)
        else:
            side = self._side(step, box, least=1)
            painted = region & filled(placed(box, side, side, frame, self.generator), frame)
            colours = _signs((len(clean), 3, 1, 1), self.generator)
        corner = self.threat.project(clean + float(self.threat.eps) * colours.to(clean.device), clean)
        return torch.where(painted[:, None], corner, attacked)

    def _bumps(self, step: int, attacked: RGB, clean: RGB, region: Masks, box: Box) -> RGB:
        """A grid of bumps, then length moved into bumps elsewhere, on the L2 sphere but for what [0, 1] cuts off."""
        eps = float(self.threat.eps)
        if step == 0 and self.random_start:
            change = eps * tiled(region, box, self.generator)
        else:
            change = moved(attacked - clean, region, box, self._side(step, box, least=LEAST), eps, self.generator)
        return self.threat.project(clean + change, clean)

    def _side(self, step: int, box: Box, *, least: int) -> Int64[Tensor, " b"]:
        """The side of each image's square in a step, never longer than its box."""
        share = self.options.area / 2 ** sum(step * SCHEDULE > at * self.steps for at in HALVINGS)
        side: Tensor = (share * box.height * box.width).sqrt().round().long()
        return side.clamp_min(least).minimum(box.height).minimum(box.width)


def tiled(region: Masks, box: Box, generator: torch.Generator) -> RGB:
    """The first query: a grid of bumps over the box, signs and directions by chance, of length 1 inside the region."""
    b, device = len(region), region.device
    signs = _signs((b, GRID, GRID, 3), generator).to(device)
    across = (torch.rand(b, GRID, GRID, generator=generator) < 0.5).to(device)
    side = (box.height.maximum(box.width) + GRID - 1) // GRID
    (row, u), (column, v) = (
        _tiles(first, side, frame) for first, frame in ((box.top, region.shape[1]), (box.left, region.shape[2]))
    )
    image = torch.arange(b, device=device)[:, None, None]
    row, column, u, v = row[:, :, None], column[:, None, :], u[:, :, None], v[:, None, :]
    shape = torch.where(across[image, row, column], _bumps(v, u, side), _bumps(u, v, side))
    change = shape[:, None] * signs[image, row, column].permute(0, 3, 1, 2) * region[:, None]
    length: Tensor = change.flatten(1).norm(dim=1).clamp_min(_TINY)
    return change / length[:, None, None, None]


def moved(
    change: RGB, region: Masks, box: Box, side: Int64[Tensor, " b"], eps: float, generator: torch.Generator
) -> RGB:
    """A change in which one square has given its length, and the ball what was left of it, to bumps in another square.

    Both squares have the given side and lie in the box at random. What was there where the bumps come stays in the
    mixture, with equal weight. The result has length `eps` before it is cut to [0, 1], and lies inside the region.
    """
    frame, device = change.shape[2:], change.device
    into, out_of = (placed(box, side, side, frame, generator) for _ in range(2))
    signs = _signs((len(change), 3, 1, 1), generator).to(device)
    across = (torch.rand(len(change), generator=generator) < 0.5).to(device)[:, None, None]
    u, v = (
        torch.arange(n, device=device) - first[:, None] for n, first in zip(frame, (into.top, into.left), strict=True)
    )
    u, v = u[:, :, None], v[:, None, :]
    shape = torch.where(across, _bumps(v, u, side), _bumps(u, v, side))
    to, fro = filled(into, frame), filled(out_of, frame)
    bumps = _unit((shape * (to & region))[:, None])
    spare = (eps**2 - change.square().flatten(1).sum(1)).clamp_min(0)[:, None, None, None]
    taken = (change * (to | fro)[:, None]).square().sum((2, 3), keepdim=True)
    direction = _unit(signs * bumps + _unit(change * to[:, None]))
    return torch.where(to[:, None], direction * (taken + spare / 3).sqrt(), change * ~fro[:, None])


def _unit(planes: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Each channel apart at length 1; 0 where there is nothing."""
    length: Tensor = planes.flatten(2).norm(dim=2).clamp_min(_TINY)
    return planes / length[:, :, None, None]


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, generator=generator) - 1


def _tiles(
    first: Int64[Tensor, " b"], side: Int64[Tensor, " b"], frame: int
) -> tuple[Int64[Tensor, "b n"], Int64[Tensor, "b n"]]:
    """For each row or column the tile that it lies in, and its place there; what lies outside of the box is nobody's
    concern."""
    at = torch.arange(frame, device=first.device) - first[:, None]
    return (at // side[:, None]).clamp(0, GRID - 1), at % side[:, None]


def _bumps(
    u: Int64[Tensor, "b #h #w"], v: Int64[Tensor, "b #h #w"], side: Int64[Tensor, " b"]
) -> Float[Tensor, "b h w"]:
    """Two bumps side by side along `v`, one up and one down, at places counted from the corner of a square.

    Each falls off with the distance d from the middle of its half, the larger of the two coordinates': the sum of 1/k²
    for k from d + 1 to n + 1, with n half the side (the paper's equation 2).
    """
    side = side[:, None, None]
    half = side // 2
    second = v >= half
    middle = torch.where(second, half + (side - half) // 2, half // 2)
    distance = (u - half).abs().maximum((v - middle).abs()).minimum(half + 1)
    terms = 1 / torch.arange(1, int(half.max()) + 2, device=u.device, dtype=torch.float32).square()
    sums = torch.cat((terms.new_zeros(1), terms.cumsum(0)))
    height = sums[half + 1] - sums[distance]
    return torch.where(second, -height, height)
