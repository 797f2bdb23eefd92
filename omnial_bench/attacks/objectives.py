"""What is attacked: how wrong a prediction is, as one number an image that an attack raises (or lowers, towards a
target).

Of every objective: the images of a batch do not mix, and with one kind of pixels only it stays finite.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Aim, Masks, Objective, PerImage, log_odds_of_wrong, means_apart
from omnial_bench.attacks.ranks import peak, pooled, ranking
from omnial_bench.attacks.specs import check_objective
from omnial_bench.errors import UserError
from omnial_bench.types import Prediction


def cross_entropy(prediction: Prediction, aim: Aim) -> PerImage:
    """Binary cross-entropy of the log-odds, in nats, averaged over all pixels of an image: what plain PGD raises."""
    return _pixelwise(prediction, aim.truth).flatten(1).mean(1)


def balanced(prediction: Prediction, aim: Aim) -> PerImage:
    """Cross-entropy averaged apart over an image's anomalous (or hidden) and its normal pixels, and added.

    In the plain mean the normal pixels, nine in ten, decide. An image with pixels of one kind has that term alone.
    After PatchGuard's balanced loss.
    """
    return means_apart(_pixelwise(prediction, aim.truth), aim.apart)


def segpgd(prediction: Prediction, aim: Aim) -> PerImage:
    """`balanced` with SegPGD's weights: 1 - lambda for the pixels still to be won, lambda for those already won, where
    lambda goes from 0 to 1/2 over the steps (Gu et al., ECCV 2022, arXiv 2207.12391).

    A pixel is still to be won while it is right, or, towards a target, while it is not there. The weights act on the
    gradient alone; the value is that of `balanced` at any progress, so that iterates and restarts can be compared.
    """
    right = _margin(prediction, aim.truth) > 0
    later = aim.progress / 2
    return _weighted(prediction, aim, torch.where(right ^ aim.towards, 1 - later, later))


def cospgd(prediction: Prediction, aim: Aim) -> PerImage:
    """`balanced` with CosPGD's weights: the cosine between a pixel's two probabilities and its one-hot label, or,
    towards a target, 1 minus it (Agnihotri et al., ICML 2024, arXiv 2302.02213).

    With m the log-odds of the right answer the cosine is 1 / sqrt(1 + exp(-2 m)), written without a division that
    could overflow. The weights act on the gradient alone; the value is that of `balanced`.
    """
    logarithm = F.softplus(-2 * _margin(prediction, aim.truth)) / -2
    return _weighted(prediction, aim, -torch.expm1(logarithm) if aim.towards else torch.exp(logarithm))


def linear(prediction: Prediction, aim: Aim) -> PerImage:
    """Mean log-odds of an image's normal pixels minus that of its anomalous ones; hidden defects, and pixels of one
    kind alone, count with the sign of what they are to be.

    Nothing in it saturates and it has no scale: attacks that step by sign or by direction take the same steps after any
    positive affine change of the scores. After PatchGuard's attack (arXiv 2025, af39835).
    """
    return means_apart(log_odds_of_wrong(prediction.log_odds, aim.truth), aim.apart)


def image_score(prediction: Prediction, aim: Aim) -> PerImage:
    """The score that ranks images, negative where it should be high; an image is anomalous if a pixel of it is.

    What moves pixel figures need not move image figures: the score is a pooled maximum, one place decides. Not its
    cross-entropy, which climbs the same way but has no gradient where a score is sure beyond log-odds of 100.
    """
    label = aim.truth.flatten(1).any(1)
    return torch.where(label, -prediction.image_score, prediction.image_score)


def peaks(prediction: Prediction, aim: Aim) -> PerImage:
    """The value of `image_score`, with the gradient of the map's `peak` alone.

    A score that is the highest of its map falls hardly along its own gradient: of a hundred places that are high, a
    step lowers one. Thirteen steps at 8/255 took PatchCore's on six broken bottles from 25 to 19, and to 8 along this.
    A score that the map does not show is none of this one's, but `image_score`'s.
    """
    highest = peak(prediction.score_map, aim.rivals)
    rising = torch.where(aim.truth.flatten(1).any(1), -highest, highest)
    return image_score(prediction, aim).detach() + (rising - rising.detach())


def reconstruction(prediction: Prediction, aim: Aim) -> PerImage:
    """Mean squared difference of reconstruction and input over the normal pixels, minus that over the anomalous ones.

    Detectors that compare the two find what is not reconstructed: it is high, in [-1, 1], where defects are copied and
    normal pixels are not. Raises UserError for a detector without a reconstruction.
    """
    if prediction.reconstruction is None:
        raise UserError(
            "objective reconstruction: expected a prediction with a reconstruction, got one without; "
            "try objective balanced or joint"
        )
    difference = (prediction.reconstruction - aim.images).square().mean(1)
    return means_apart(log_odds_of_wrong(difference, aim.truth), aim.apart)


def joint(prediction: Prediction, aim: Aim) -> PerImage:
    """`balanced` + the cross-entropy of the score, and 10 times `reconstruction` where there is one: all at once.

    A squared difference is about a hundredth where a reconstruction is poor; tenfold, that is a tenth of a nat.
    """
    total = balanced(prediction, aim) + F.softplus(image_score(prediction, aim))
    return total if prediction.reconstruction is None else total + 10 * reconstruction(prediction, aim)


def _margin(prediction: Prediction, truth: Masks) -> Float[Tensor, "b h w"]:
    """Log-odds of each pixel's right answer, without a gradient."""
    odds = prediction.log_odds.detach()
    return torch.where(truth, odds, -odds)


def _weighted(prediction: Prediction, aim: Aim, weight: Float[Tensor, "b h w"]) -> PerImage:
    """The value of `balanced`; the gradient of its pixels times `weight`."""
    loss = _pixelwise(prediction, aim.truth)
    return means_apart(loss.detach() + weight * (loss - loss.detach()), aim.apart)


def _pixelwise(prediction: Prediction, truth: Masks) -> Float[Tensor, "b h w"]:
    """Cross-entropy of each pixel, as softplus of the log-odds of the wrong answer.

    The usual form differentiates to sigmoid - 1, which is exactly 0 in float32 from log-odds of 17 on: a detector that
    is merely sure of its anomalies would look robust.
    """
    return F.softplus(log_odds_of_wrong(prediction.log_odds, truth))


OBJECTIVES: dict[str, Objective] = {
    "balanced": balanced,
    "cospgd": cospgd,
    "cross_entropy": cross_entropy,
    "image_score": image_score,
    "joint": joint,
    "linear": linear,
    "peaks": peaks,
    "pooled": pooled,
    "ranking": ranking,
    "reconstruction": reconstruction,
    "segpgd": segpgd,
}

STEADY: frozenset[Objective] = frozenset(OBJECTIVES.values()) - {segpgd}
"""Those whose gradient is the same at any progress: an image that has not moved need not be looked at again."""


def objective_named(name: str) -> Objective:
    """The objective of a name; UserError with the closest known one."""
    check_objective(name)
    return OBJECTIVES[name]
