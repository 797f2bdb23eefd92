"""What an objective holds a prediction against: the truth or a target of each pixel, and how means are taken apart."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.rivals import Rivals
from omnial_bench.types import Prediction

NORMAL, ANOMALOUS, HIDDEN = 0, 1, 2
"""Labels of pixels: what each is, or is to look like; hidden is a defect that is to look normal."""


@dataclass(frozen=True)
class Aim:
    """What an objective holds a prediction against."""

    truth: Bool[Tensor, "b h w"]
    """The true masks, or target maps."""
    images: Float[Tensor, "b 3 h w"]
    """What the detector was shown; the gradient reaches it here too."""
    towards: bool = False
    """Whether `truth` is a target that the attack lowers the objective towards."""
    progress: float = 0.0
    """Share of the attack's steps that are done, in [0, 1)."""
    hidden: Bool[Tensor, "b h w"] | None = None
    """Defects that are to look normal: averaged apart as if they were anomalous, or normal pixels, nine in ten, would
    decide again."""
    rivals: Rivals | None = None
    """What the detector says of the images of the category where the attack begins: `pooled` needs it, `ranking` takes
    the unit of scores from it."""

    @classmethod
    def at(cls, labels: Tensor, images: Float[Tensor, "b 3 h w"], towards: bool, progress: float) -> "Aim":
        """At `labels`, which are NORMAL, ANOMALOUS or HIDDEN."""
        hidden = None if labels.dtype == torch.bool else labels == HIDDEN
        return cls(labels == ANOMALOUS, images, towards, progress, hidden)

    @property
    def apart(self) -> Bool[Tensor, "b h w"]:
        """The pixels that are averaged apart from all others."""
        return self.truth if self.hidden is None else self.truth | self.hidden


Objective = Callable[[Prediction, Aim], Float[Tensor, " b"]]


def means_apart(
    values: Float[Tensor, "b ..."], apart: Bool[Tensor, "b ..."]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Means over each image's pixels in `apart` and over its others; 0 for a kind that it has none of."""
    weight = apart.float()
    anomalous = (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
    normal = (values * (1 - weight)).flatten(1).sum(1) / (1 - weight).flatten(1).sum(1).clamp_min(1)
    return anomalous, normal


def log_odds_of_wrong(odds: Float[Tensor, "b h w"], truth: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Of each pixel the log-odds of the wrong answer."""
    return torch.where(truth, -odds, odds)
