"""Scores in units of what a small noise moves them by, in which a copy that bends its scores is like its detector."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LEVELS, LEAST, WIDEST = 48, 32, 16.0
"""Levels at which the move is measured, pixels of each at the least, and by how many moves two levels are told apart at
the most: a gap without pixels is not to be stretched."""
TAIL = 8
"""One part in so many of the levels tells how the move grows beyond the last."""
SAME = 1e-3
"""A move that changes by less over a piece is constant there."""


@dataclass(frozen=True)
class Stabiliser:
    """A strictly increasing map after which a noise moves the scores of all levels alike: the integral of
    1 / move(score), the move linear between levels and, where it grows outwards, beyond the last.

    A function that rises, put on the scores, multiplies a score's move by its own slope, so that to first order the map
    takes it off again: also beyond the scores that it was made from, where ranks tell nothing.
    """

    levels: Float[Tensor, " levels"]
    heights: Float[Tensor, " levels"]
    moves: Float[Tensor, " levels"]
    growth: Float[Tensor, " pieces"]
    """Change of the move by the score, of the pieces below the first level, between two and above the last."""

    @classmethod
    def of(cls, scores: Float[Tensor, " n"], stirred: Float[Tensor, " n"]) -> "Stabiliser":
        """From scores, and those of the same pixels after a small noise."""
        order = scores.detach().argsort()
        ordered, change = scores[order].double().cpu(), (stirred - scores)[order].double().cpu()
        count = max(1, min(LEVELS, len(ordered) // LEAST))
        levels = torch.stack([part.mean() for part in ordered.tensor_split(count)])
        moves = torch.stack([part.square().mean().sqrt() for part in change.tensor_split(count)])
        apart = torch.cat((torch.ones(1, dtype=torch.bool), levels.diff() > 0))
        levels, moves = levels[apart], moves[apart]
        gaps = levels.diff() / WIDEST
        ends = torch.zeros(1, dtype=gaps.dtype)
        moves = moves.maximum(torch.cat((ends, gaps))).maximum(torch.cat((gaps, ends)))
        # A map of one value that no noise moves keeps its slope.
        moves = torch.where(moves > 0, moves, 1.0)
        widths, growth = levels.diff(), moves.diff() / levels.diff()
        growth = torch.where((growth * widths).abs() < SAME * moves[:-1], 0.0, growth)
        inside = min(len(levels) - 1, max(1, len(levels) // TAIL))
        below = above = ends
        if inside:
            below = ((moves[inside] - moves[0]) / (levels[inside] - levels[0])).clamp_max(0)[None]
            above = ((moves[-1] - moves[-1 - inside]) / (levels[-1] - levels[-1 - inside])).clamp_min(0)[None]
        steps = _climbed(widths, moves[:-1], growth)
        heights = torch.cat((ends, steps.cumsum(0)))
        parts = (levels, heights, moves, torch.cat((below, growth, above)))
        return cls(*(part.to(scores.device, scores.dtype) for part in parts))

    def __call__(self, scores: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
        """Heights of the scores; differentiable."""
        piece = torch.searchsorted(self.levels, scores.detach().contiguous(), right=True)
        at = (piece - 1).clamp_min(0)
        return self.heights[at] + _climbed(scores - self.levels[at], self.moves[at], self.growth[piece])


def _climbed(way: Tensor, move: Tensor, growth: Tensor) -> Tensor:
    """The integral of 1 / (move + growth * x) for x from 0 to `way`."""
    flat = growth == 0
    slanted = torch.log1p(growth * way / move) / torch.where(flat, 1.0, growth)
    return torch.where(flat, way / move, slanted)
