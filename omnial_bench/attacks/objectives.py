"""What is attacked: how wrong a prediction is, as one number an image that an attack raises (or lowers, towards a
target).

Of every objective: the images of a batch do not mix, and with one kind of pixels only it stays finite.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.specs import check_objective
from omnial_bench.errors import UserError
from omnial_bench.types import Prediction

NORMAL, ANOMALOUS, HIDDEN = 0, 1, 2
"""Labels of pixels: what each is, or is to look like; hidden is a defect that is to look normal."""

PARTNERS = 2
"""Pixels of the other kind that `ranking` holds each pixel against."""
STRIDE = 7919
"""A prime, so that neighbouring pixels meet partners far apart."""
KNOTS, REACH = 64, 3.2
"""Of `straightened`: the least value, the largest, and between them normal quantiles, evenly up to this one."""
STRAIGHT = 0.25
"""Share of the straightened scores in those of `ranking`."""
WIDTH = 0.5
"""Of a pair in `ranking`: by how many standard deviations it is won."""


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


def cross_entropy(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """Binary cross-entropy of the log-odds, in nats, averaged over all pixels of an image: what plain PGD raises."""
    return _pixelwise(prediction, aim.truth).flatten(1).mean(1)


def balanced(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """Cross-entropy averaged apart over an image's anomalous (or hidden) and its normal pixels, and added.

    In the plain mean the normal pixels, nine in ten, decide. An image with pixels of one kind has that term alone.
    After PatchGuard's balanced loss.
    """
    anomalous, normal = _apart(_pixelwise(prediction, aim.truth), aim.apart)
    return anomalous + normal


def segpgd(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """`balanced` with SegPGD's weights: 1 - lambda for the pixels still to be won, lambda for those already won, where
    lambda goes from 0 to 1/2 over the steps (Gu et al., ECCV 2022, arXiv 2207.12391).

    A pixel is still to be won while it is right, or, towards a target, while it is not there. The weights act on the
    gradient alone; the value is that of `balanced` at any progress, so that iterates and restarts can be compared.
    """
    right = _margin(prediction, aim.truth) > 0
    later = aim.progress / 2
    return _weighted(prediction, aim, torch.where(right ^ aim.towards, 1 - later, later))


def cospgd(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """`balanced` with CosPGD's weights: the cosine between a pixel's two probabilities and its one-hot label, or,
    towards a target, 1 minus it (Agnihotri et al., ICML 2024, arXiv 2302.02213).

    With m the log-odds of the right answer the cosine is 1 / sqrt(1 + exp(-2 m)), written without a division that
    could overflow. The weights act on the gradient alone; the value is that of `balanced`.
    """
    logarithm = F.softplus(-2 * _margin(prediction, aim.truth)) / -2
    return _weighted(prediction, aim, -torch.expm1(logarithm) if aim.towards else torch.exp(logarithm))


def linear(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """Mean log-odds of an image's normal pixels minus that of its anomalous ones; hidden defects, and pixels of one
    kind alone, count with the sign of what they are to be.

    Nothing in it saturates and it has no scale: attacks that step by sign or by direction take the same steps after any
    positive affine change of the scores. After PatchGuard's attack (arXiv 2025, af39835).
    """
    anomalous, normal = _apart(_wrong(prediction, aim.truth), aim.apart)
    return anomalous + normal


def ranking(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """How far an image's normal pixels rank above its anomalous ones: the mean of -log(1 + softplus((a - n) / t)) over
    pairs of a normal pixel's score n and an anomalous one's a, t `WIDTH`.

    A score is the log-odds in standard deviations of the map, and to the share `STRAIGHT` what it is when
    `straightened`. The latter is the same after any strictly increasing change of the scores, so that no bend, be it an
    exponential or a sigmoid that has not rounded to 1, takes the attack's hold; the former favours those pixels that
    move most, where others cannot be won. A pair that is won loses its weight, one far from being won keeps a little
    (one over its distance), so that the ranks decide and not a few extreme pixels. Every pixel meets `PARTNERS` of the
    other kind, in a fixed order and in memory of the map's size. Towards a target it is lowered, with the pairs turned
    about. An image with pixels of one kind has the value that `linear` has of the scores; towards a target its gradient
    is weighted by sigmoid((wrong - mean) / t), which bears on those that lie furthest out. The same after any positive
    affine change of the log-odds; the deviation, the bend and the weights have no gradient.
    """
    spread, middle = torch.std_mean(prediction.log_odds.detach().flatten(1), 1)
    spread = spread.clamp_min(torch.finfo(torch.float32).tiny)
    plain = (prediction.log_odds - middle[:, None, None]) / spread[:, None, None]
    odds = STRAIGHT * straightened(prediction.log_odds) + (1 - STRAIGHT) * plain
    truth = aim.truth.flatten(1)
    pixels, anomalous = truth.shape[1], truth.sum(1, keepdim=True)
    # The anomalous pixels first, each kind in reading order; `first` says of each place whether it holds one.
    place = torch.arange(pixels, device=odds.device).expand_as(truth)
    before = truth.cumsum(1)
    order = torch.empty_like(before).scatter_(1, torch.where(truth, before - 1, anomalous + place - before), place)
    scores, first = odds.flatten(1).gather(1, order), place < anomalous
    paired = torch.zeros_like(scores[:, 0])
    for turn in range(PARTNERS):
        at = STRIDE * place + turn * pixels // PARTNERS
        partner = torch.where(first, anomalous + at % (pixels - anomalous).clamp_min(1), at % anomalous.clamp_min(1))
        lead = scores - scores.gather(1, partner.clamp_max(pixels - 1))
        lead = torch.where(first, lead, -lead) / WIDTH
        cost = torch.log1p(F.softplus(-lead)) if aim.towards else -torch.log1p(F.softplus(lead))
        paired = paired + sum(_apart(cost, first)) / (2 * PARTNERS)
    both = (anomalous > 0) & (anomalous < pixels)
    return torch.where(both.squeeze(1), paired, _alone(odds, aim))


def straightened(odds: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The log-odds of each image bent so that they are normally distributed: piecewise linear between `KNOTS` of the
    image's own values, each brought to the normal quantile of its rank. The bend itself has no gradient.

    What is differentiated thus does not depend on how a detector bends its scores. A map of one value keeps its slope.
    """
    flat = odds.flatten(1)
    ordered = flat.detach().sort(1).values
    last = ordered.shape[1] - 1
    shares = torch.special.ndtr(torch.linspace(-REACH, REACH, KNOTS - 2, dtype=torch.float64, device=odds.device))
    places = F.pad((shares * last).round().long(), (1, 0))
    places = F.pad(places, (0, 1), value=last)
    heights = torch.special.ndtri((places + 0.5) / (last + 1)).to(flat.dtype)
    values = ordered[:, places].contiguous()
    # A value that several knots share belongs to the piece above them, the largest to the one below.
    largest = torch.searchsorted(values, ordered[:, -1:].contiguous())
    after = torch.searchsorted(values, flat.detach().contiguous(), right=True).minimum(largest).clamp_min(1)
    low, width = values.gather(1, after - 1), values.diff(dim=1).gather(1, after - 1)
    slope = torch.where(width > 0, heights.diff()[after - 1] / width, 1.0)
    found: Tensor = heights[after - 1] + slope * (flat - low)
    return found.view_as(odds)


def image_score(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """The score that ranks images, negative where it should be high; an image is anomalous if a pixel of it is.

    What moves pixel figures need not move image figures: the score is a pooled maximum, one place decides. Not its
    cross-entropy, which climbs the same way but has no gradient where a score is sure beyond log-odds of 100.
    """
    label = aim.truth.flatten(1).any(1)
    return torch.where(label, -prediction.image_score, prediction.image_score)


def reconstruction(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
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
    anomalous, normal = _apart(torch.where(aim.truth, -difference, difference), aim.apart)
    return anomalous + normal


def joint(prediction: Prediction, aim: Aim) -> Float[Tensor, " b"]:
    """`balanced` + the cross-entropy of the score, and 10 times `reconstruction` where there is one: all at once.

    A squared difference is about a hundredth where a reconstruction is poor; tenfold, that is a tenth of a nat.
    """
    total = balanced(prediction, aim) + F.softplus(image_score(prediction, aim))
    return total if prediction.reconstruction is None else total + 10 * reconstruction(prediction, aim)


def _alone(odds: Float[Tensor, "b h w"], aim: Aim) -> Float[Tensor, " b"]:
    """The value that `linear` has of these scores; towards a target the gradient of its pixels times the share of the
    way that they lie out."""
    wrong = torch.where(aim.truth, -odds, odds)
    if aim.towards:
        flat = wrong.detach().flatten(1)
        out = torch.sigmoid((flat - flat.mean(1, keepdim=True)) / WIDTH).view_as(wrong)
        wrong = wrong.detach() + out * (wrong - wrong.detach())
    anomalous, normal = _apart(wrong, aim.apart)
    return anomalous + normal


def _wrong(prediction: Prediction, truth: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Log-odds of each pixel's wrong answer."""
    odds = prediction.log_odds
    return torch.where(truth, -odds, odds)


def _margin(prediction: Prediction, truth: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Log-odds of each pixel's right answer, without a gradient."""
    odds = prediction.log_odds.detach()
    return torch.where(truth, odds, -odds)


def _weighted(prediction: Prediction, aim: Aim, weight: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """The value of `balanced`; the gradient of its pixels times `weight`."""
    loss = _pixelwise(prediction, aim.truth)
    anomalous, normal = _apart(loss.detach() + weight * (loss - loss.detach()), aim.apart)
    return anomalous + normal


def _apart(
    values: Float[Tensor, "b ..."], apart: Bool[Tensor, "b ..."]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Means over each image's pixels in `apart` and over its others; 0 for a kind that it has none of."""
    weight = apart.float()
    anomalous = (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
    normal = (values * (1 - weight)).flatten(1).sum(1) / (1 - weight).flatten(1).sum(1).clamp_min(1)
    return anomalous, normal


def _pixelwise(prediction: Prediction, truth: Bool[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Cross-entropy of each pixel, as softplus of the log-odds of the wrong answer.

    The usual form differentiates to sigmoid - 1, which is exactly 0 in float32 from log-odds of 17 on: a detector that
    is merely sure of its anomalies would look robust.
    """
    return F.softplus(_wrong(prediction, truth))


OBJECTIVES: dict[str, Objective] = {
    "balanced": balanced,
    "cospgd": cospgd,
    "cross_entropy": cross_entropy,
    "image_score": image_score,
    "joint": joint,
    "linear": linear,
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
