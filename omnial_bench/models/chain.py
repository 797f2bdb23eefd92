"""Gaussians a place over features at several strides, worked out from coarse to fine by the chain rule.

Coarse features are repeated over the finer places beneath them, which therefore share the Gaussian of the coarse ones;
a place's own is only what its fine features add, given the coarse. Distances are those of a full covariance a place.

Features are nested: a tensor `p b d` a stride, coarsest first, places before channels, and the places beneath one that
is coarser follow each other. `e` counts the channels of all coarser strides, and `q` the places of the next coarser.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.models.room import check_room

AT_ONCE = 16
"""Coarsest places whose Gaussians are worked out at once."""


class Rows(NamedTuple):
    """Of one stride: the rows of the inverse Cholesky factor of each place's covariance that its own channels have."""

    above: Float[Tensor, "p d e"]
    own: Float[Tensor, "p d d"]


def nest(features: Float[Tensor, "b d h w"], ratios: Sequence[int]) -> Float[Tensor, "p b d"]:
    """A map in nested order; `ratios` are places of one stride along a side of the next coarser, coarsest first."""
    count, channels, *sides = features.shape
    whole = prod(ratios)
    high, wide = ([side // whole, *ratios] for side in sides)
    depth = len(high)
    order = [axis for place in range(2, 2 + depth) for axis in (place, depth + place)]
    parted = features.reshape(count, channels, *high, *wide).permute(*order, 0, 1)
    return parted.reshape(sides[0] * sides[1], count, channels)


def unnest(values: Float[Tensor, "p b"], coarsest: tuple[int, int], ratios: Sequence[int]) -> Float[Tensor, "b h w"]:
    """A value a place as a map; `coarsest` are places of the coarsest stride along height and width."""
    sides = [[side, *ratios] for side in coarsest]
    depth = len(ratios) + 1
    shape = [side for pair in zip(*sides, strict=True) for side in pair]
    spread = values.reshape(*shape, -1).permute(-1, *range(0, 2 * depth, 2), *range(1, 2 * depth, 2))
    return spread.reshape(-1, *map(prod, sides))


def joined(above: Float[Tensor, "q b e"], own: Float[Tensor, "p b d"]) -> Float[Tensor, "p b f"]:
    """All channels of each place, those of coarser strides first."""
    return torch.cat((above.repeat_interleave(len(own) // len(above), 0), own), 2)


def times(rows: Float[Tensor, "p d e"], above: Float[Tensor, "q e f"]) -> Float[Tensor, "p d f"]:
    """Products of each place's rows with what it shares with its neighbours, which is not repeated for it."""
    places, width, _ = rows.shape
    # Sizes are written out, for of the coarsest stride there is nothing above.
    together = rows.reshape(len(above), places // len(above) * width, above.shape[1])
    return (together @ above).reshape(places, width, above.shape[2])


def squares(nested: Sequence[Float[Tensor, "p b d"]], rows: Sequence[Rows]) -> Float[Tensor, "p b"]:
    """Squared Mahalanobis distances of features less their means, at the finest places.

    Rows stand on the right: on the CPU that is up to ten times as quick for few images.
    """
    above = nested[0][..., :0]
    total = nested[0].new_zeros(above.shape[:2])
    for own, (coarse, fine) in zip(nested, rows, strict=True):
        (places, count, width), shared = own.shape, len(above)
        by_parent = shared, places // shared, count, width
        ahead = above @ coarse.reshape(shared, places // shared * width, above.shape[2]).mT
        ahead = ahead.reshape(shared, count, places // shared, width).transpose(1, 2)
        whitened = (own @ fine.mT).reshape(by_parent) + ahead
        total = (total[:, None] + whitened.square().sum(3)).reshape(places, count)
        above = joined(above, own)
    return total


class Moments:
    """Means and covariances of nested features, batch after batch, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.centres: list[Tensor] = []
        self.first: list[Tensor] = []
        self.second: list[Rows] = []

    def add(self, nested: Sequence[Float[Tensor, "p b d"]]) -> None:
        """UserError where sums of this size do not fit into memory."""
        nested = [part.double() for part in nested]
        if not self.count:
            # Around the mean of the first batch, so that no digits cancel.
            self.centres = [part.mean(1, keepdim=True) for part in nested]
            self.first = [torch.zeros_like(centre) for centre in self.centres]
            above = [sum(part.shape[2] for part in nested[:place]) for place in range(len(nested))]
            shapes = [(len(part), part.shape[2], coarse) for part, coarse in zip(nested, above, strict=True)]
            check_room(
                12 * sum(p * d * (d + e) for p, d, e in shapes), nested[0].device, "Gaussians",
                "keep fewer channels, or a coarser grid",
            )  # fmt: skip
            self.second = [
                Rows(centre.new_zeros(p, d, e), centre.new_zeros(p, d, d))
                for centre, (p, d, e) in zip(self.centres, shapes, strict=True)
            ]

        self.count += nested[0].shape[1]
        coarser = nested[0][..., :0]
        for part, centre, first, (coarse, fine) in zip(nested, self.centres, self.first, self.second, strict=True):
            apart = part - centre
            first += apart.sum(1, keepdim=True)
            fine.baddbmm_(apart.mT, apart)
            coarse += times(apart.mT, coarser)
            coarser = joined(coarser, apart)

    def means(self) -> list[Float[Tensor, "p d"]]:
        return [(centre + first / self.count)[:, 0] for centre, first in zip(self.centres, self.first, strict=True)]

    def whitened(self, ridge: float) -> list[Rows]:
        """Of the unbiased covariances with `ridge` added to each variance, in float32."""
        chunks = [self._rows(start, ridge) for start in range(0, len(self.centres[0]), AT_ONCE)]
        return [Rows(*(torch.cat(parts) for parts in zip(*level, strict=True))) for level in zip(*chunks, strict=True)]

    def _rows(self, start: int, ridge: float) -> list[Rows]:
        """Beneath a few of the coarsest places. With L the factor of the covariance C, a row of blocks of L is
        (C_ae W', chol(C_aa - L_ae L_ae')), where W is the inverse of L so far; so is a row of W by substitution."""
        rows: list[Rows] = []
        inverse = above = None
        for place in range(len(self.centres)):
            first, (coarse, fine) = self.first[place], self.second[place]
            beneath = len(first) // len(self.first[0])
            part = slice(start * beneath, (start + AT_ONCE) * beneath)
            shift = first[part] / self.count
            if inverse is None or above is None:
                inverse, above = shift.new_zeros(len(shift), 0, 0), shift[..., :0]
            share = 1 / (self.count - 1)
            ahead = share * (coarse[part] - self.count * times(shift.mT, above))
            own = share * (fine[part] - self.count * shift.mT @ shift)
            own = own + ridge * torch.eye(own.shape[1], dtype=own.dtype, device=own.device)
            left = times(ahead, inverse.mT)
            factor = torch.linalg.cholesky(own - left @ left.mT)
            across = torch.eye(own.shape[1], dtype=own.dtype, device=own.device).expand_as(own)
            right = torch.linalg.solve_triangular(factor, across, upper=False)
            lower = -(right @ times(left, inverse))
            rows.append(Rows(lower.float(), right.float()))
            above = joined(above, shift)
            top = F.pad(inverse, (0, right.shape[1])).repeat_interleave(len(right) // len(inverse), 0)
            inverse = torch.cat((top, torch.cat((lower, right), 2)), 1)
        return rows
