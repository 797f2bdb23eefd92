"""What a detector says of the images of a category where an attack begins: the scores that `pooled` has pixels
overtake, and the unit that scores are measured in."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.stabilising import Stabiliser

COUNT = 512
"""Rivals of each kind: quantiles of the scores of all images."""

Pixels = Sequence[tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]]
"""Log-odds and truth, in parts."""


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
