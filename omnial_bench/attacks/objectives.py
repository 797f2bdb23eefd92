"""What is attacked: how wrong a prediction is, as one number an image that an attack raises (or lowers, towards a
target)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.errors import unknown
from omnial_bench.nouns import Prediction


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


Objective = Callable[[Prediction, Aim], Float[Tensor, " b"]]


def cross_entropy(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """Binary cross-entropy of the log-odds, in nats, averaged over all pixels of an image: what plain PGD raises."""
    return _pixelwise(prediction, aim.truth).flatten(1).mean(1)


def balanced(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """Cross-entropy averaged apart over an image's anomalous and its normal pixels, and added.

    In the plain mean the normal pixels, nine in ten, decide. An image with pixels of one kind has that term alone.
    After PatchGuard's balanced loss.
    """
    loss, weight = _pixelwise(prediction, aim.truth), aim.truth.float()
    anomalous = (loss * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
    normal = (loss * (1 - weight)).flatten(1).sum(1) / (1 - weight).flatten(1).sum(1).clamp_min(1)
    return anomalous + normal


def _pixelwise(prediction: Prediction, truth: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Cross-entropy of each pixel, as softplus of the log-odds of the wrong answer.

    The usual form differentiates to sigmoid - 1, which is exactly 0 in float32 from log-odds of 17 on: a detector that
    is merely sure of its anomalies would look robust.
    """
    odds = prediction.log_odds
    return F.softplus(torch.where(truth, -odds, odds))


OBJECTIVES: dict[str, Objective] = {"balanced": balanced, "cross_entropy": cross_entropy}


def objective_named(name: str) -> Objective:
    """The objective of a name; UserError with the closest known one."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
