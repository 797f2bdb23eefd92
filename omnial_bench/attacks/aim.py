"""What an objective holds a prediction against: the truth or a target of each pixel, and what the detector says of all
images of the category where the attack begins, in a unit in which a copy that bends its scores is like its detector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.types import RGB, Prediction

Masks = Bool[Tensor, "b h w"]
"""Of each pixel whether it is anomalous, or may change."""
PerImage = Float[Tensor, " b"]

LEVELS, LEAST, WIDEST = 48, 32, 16.0
"""Levels at which the move is measured, pixels of each at the least, and by how many moves two levels are told apart at
the most: a gap without pixels is not to be stretched."""
TAIL = 8
"""One part in so many of the levels tells how the move grows beyond the last."""
SAME = 1e-3
"""A move that changes by less over a piece is constant there."""
COUNT = 512
"""Rivals of each kind: quantiles of the scores of all images."""

Pixels = Sequence[tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]]
"""Log-odds and truth, in parts."""
NORMAL, ANOMALOUS, HIDDEN = 0, 1, 2
"""Labels of pixels: what each is, or is to look like; hidden is a defect that is to look normal."""


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


@dataclass(frozen=True)
class Rivals:
    """Scores of a detector's pixels over a whole category, before the first step; none of it has a gradient."""

    unit: Stabiliser
    middle: float
    spread: float
    """Mean and standard deviation of the scores, in that unit, before any attack: after one, a few scores that it has
    driven far out would make all others look alike."""
    normal: Float[Tensor, " rivals"]
    anomalous: Float[Tensor, " rivals"]
    """Quantiles of the scores, ascending; where there is no pixel of a kind, those of all pixels."""
    share: float
    """Of the anomalous pixels among all; where one kind is missing, a half, so that both count alike."""

    @classmethod
    def of(cls, before: Pixels, begun: Pixels, stirred: Pixels) -> "Rivals":
        """From the images before any attack, those where it begins, and these after a small noise."""
        odds, truth = _joined(begun)
        unit = Stabiliser.of(odds, _joined(stirred)[0])
        spread, middle = torch.std_mean(unit(_joined(before)[0]))
        scores = _standard(unit(odds), float(middle), float(spread))
        share = float(truth.float().mean())
        mixed = 0 < share < 1
        normal, anomalous = (_quantiles(scores[kind] if mixed else scores) for kind in (~truth, truth))
        return cls(unit, float(middle), float(spread), normal, anomalous, share if mixed else 0.5)

    def scores(self, odds: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
        """Log-odds on the scale of the rivals: in standard deviations of their unit."""
        return _standard(self.unit(odds), self.middle, self.spread)


def _joined(parts: Pixels) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    odds, truth = (torch.cat(kind) for kind in zip(*parts, strict=True))
    return odds, truth


def _standard(scores: Tensor, middle: float, spread: float) -> Tensor:
    return (scores - middle) / (spread or 1.0)


def _quantiles(scores: Float[Tensor, " n"]) -> Float[Tensor, " rivals"]:
    at = (torch.arange(COUNT, dtype=torch.float64, device=scores.device) + 0.5) / COUNT * len(scores)
    return scores.sort().values[at.long()]


@dataclass(frozen=True)
class Aim:
    """What an objective holds a prediction against."""

    truth: Masks
    """The true masks, or target maps."""
    images: RGB
    """What the detector was shown; the gradient reaches it here too."""
    towards: bool = False
    """Whether `truth` is a target that the attack lowers the objective towards."""
    progress: float = 0.0
    """Share of the attack's steps that are done, in [0, 1)."""
    hidden: Masks | None = None
    """Defects that are to look normal: averaged apart as if they were anomalous, or normal pixels, nine in ten, would
    decide again."""
    rivals: Rivals | None = None
    """What the detector says of the images of the category where the attack begins: `pooled` needs it, `ranking` takes
    the unit of scores from it."""

    @classmethod
    def at(cls, labels: Tensor, images: RGB, towards: bool, progress: float) -> "Aim":
        """At `labels`, which are NORMAL, ANOMALOUS or HIDDEN."""
        hidden = None if labels.dtype == torch.bool else labels == HIDDEN
        return cls(labels == ANOMALOUS, images, towards, progress, hidden)

    @property
    def apart(self) -> Masks:
        """The pixels that are averaged apart from all others."""
        return self.truth if self.hidden is None else self.truth | self.hidden


Objective = Callable[[Prediction, Aim], PerImage]


def means_apart(values: Float[Tensor, "b ..."], apart: Bool[Tensor, "b ..."]) -> PerImage:
    """The mean over each image's pixels in `apart` plus that over its others; 0 for a kind that it has none of."""
    weight = apart.float()
    anomalous = (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
    normal = (values * (1 - weight)).flatten(1).sum(1) / (1 - weight).flatten(1).sum(1).clamp_min(1)
    return anomalous + normal


def log_odds_of_wrong(odds: Float[Tensor, "b h w"], truth: Masks) -> Float[Tensor, "b h w"]:
    """Of each pixel the log-odds of the wrong answer."""
    return torch.where(truth, -odds, odds)
