"""What Square tries in the L2 ball: bumps in pairs of opposite sign, paid for with length from somewhere else.

After algorithm 3 of Andriushchenko et al., ECCV 2020. A change in L2 is worth most where it is concentrated, so no
query paints a square evenly.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.attacks.boxes import Box, filled, placed

LEAST = 3
"""Side of the smallest square: in one pixel a new bump either repeats what is there or takes all of it back."""
GRID = 5
"""Tiles along the longer side of the box in the first query."""


def tiled(region: Bool[Tensor, "b h w"], box: Box, generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
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
    change: Float[Tensor, "b 3 h w"],
    region: Bool[Tensor, "b h w"],
    box: Box,
    side: Int64[Tensor, " b"],
    eps: float,
    generator: torch.Generator,
) -> Float[Tensor, "b 3 h w"]:
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


_TINY = torch.finfo(torch.float32).tiny


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
