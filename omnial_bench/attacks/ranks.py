"""Objectives that go for the order of pixels: within an image, and over all images of a category."""

from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Aim, PerImage, Rivals, log_odds_of_wrong, means_apart
from omnial_bench.errors import UserError
from omnial_bench.types import Prediction

PARTNERS = 2
"""Pixels of the other kind that each pixel is held against."""
STRIDE = 7919
"""A prime, so that neighbouring pixels meet partners far apart."""
STRAIGHT = 0.15
"""Share of the straightened scores in those that `ranking` compares."""
WIDTH = 0.5
"""Of a pair: by how many standard deviations it is won."""
KNOTS, REACH, BEYOND = 64, (2.4, 3.2), 32
"""Of a bend: the least value, the largest, and between them normal quantiles, evenly to the one beyond which so many
scores lie, within this range: the few at the corners of a coarse map may be even but for rounding, and are not to be
set far apart."""


def ranking(prediction: Prediction, aim: Aim) -> PerImage:
    """How far an image's normal pixels rank above its anomalous ones: the mean of -log(1 + softplus((a - n) / t)) over
    pairs of a normal pixel's score n and an anomalous one's a, t `WIDTH`.

    A score is what ranks pixels (log-odds, smoothed where the detector smooths its map). It is read in three ways, each
    in standard deviations of the map: to the share `STRAIGHT` as it is when `straightened`, which is the same after any
    strictly increasing change of the scores; of the rest, half in the unit of `aim.rivals`, where they are known, which
    no such change touches either, beyond the scores that an image has as well; and half as it is, which favours those
    pixels that move most, where others cannot be won. So no bend, be it an exponential or a sigmoid that has not
    rounded to 1, takes the attack's hold. A pair that is won loses its weight, one far from being won keeps a little
    (one over its distance), so that the ranks decide and not a few extreme pixels. Every pixel meets `PARTNERS` of the
    other kind, in a fixed order and in memory of the map's size. Towards a target it is lowered, with the pairs turned
    about. An image with pixels of one kind has the value of `linear`, for the mean of scores in the map's own units
    stays 0, and the gradient of that mean; towards a target it is weighted by sigmoid((wrong - mean) / t), which bears
    on those that lie furthest out. Any positive affine change of the scores leaves the value of pairs and the direction
    of the gradient as they are; the deviation, the bend and the weights have no gradient.
    """
    ranked = prediction.score_map
    odds = _read(ranked, aim.rivals)
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
        paired = paired + means_apart(cost, first) / (2 * PARTNERS)
    both = (anomalous > 0) & (anomalous < pixels)
    return torch.where(both.squeeze(1), paired, _alone(ranked, odds, aim))


def peak(ranked: Float[Tensor, "b h w"], rivals: Rivals | None = None) -> PerImage:
    """A soft maximum of what ranks an image's pixels, read as `ranking` reads it: log-sum-exp at one standard deviation
    of the map, in which every place that is high has a share."""
    return torch.logsumexp(_read(ranked, rivals).flatten(1), 1)


def _read(ranked: Float[Tensor, "b h w"], rivals: Rivals | None) -> Float[Tensor, "b h w"]:
    """What ranks pixels in standard deviations of its map: straightened, in the unit of the rivals, and as it is."""
    plain = _standard(ranked)
    if rivals is not None:
        plain = (plain + _standard(rivals.unit(ranked))) / 2
    return STRAIGHT * straightened(ranked) + (1 - STRAIGHT) * plain


def _standard(scores: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """In standard deviations of each map, from its mean; neither has a gradient."""
    spread, middle = torch.std_mean(scores.detach().flatten(1), 1)
    # A map of one value keeps its slope; divided by next to nothing it would overflow.
    spread = torch.where(spread > 0, spread, 1.0)
    return (scores - middle[:, None, None]) / spread[:, None, None]


def _alone(ranked: Float[Tensor, "b h w"], odds: Float[Tensor, "b h w"], aim: Aim) -> PerImage:
    """The value of `linear` of what ranks pixels, with the gradient that the mean of the scores `odds` has; towards a
    target that of each pixel times the share of the way that it lies out."""
    value = means_apart(log_odds_of_wrong(ranked, aim.truth).detach(), aim.apart)
    wrong = log_odds_of_wrong(odds, aim.truth)
    if aim.towards:
        flat = wrong.detach().flatten(1)
        out = torch.sigmoid((flat - flat.mean(1, keepdim=True)) / WIDTH).view_as(wrong)
        wrong = out * wrong
    return value + means_apart(wrong - wrong.detach(), aim.apart)


def pooled(prediction: Prediction, aim: Aim) -> PerImage:
    """How far the pixels of an image overtake the scores that the pixels of all images have where the attack begins:
    what the AUROC over all pixels of a category counts.

    An anomalous pixel of score s that falls below a normal one's, n, and a normal pixel that rises above an anomalous
    one's, have won: the mean of -softplus((s - n) / t), t `WIDTH`, over anomalous pixels, the same turned about over
    normal ones, each pixel held against `PARTNERS` quantiles of the other kind. Both kinds count alike over the whole
    category, so that an image counts by its pixels as in the pooled figure. Towards a target it is lowered, and a pixel
    is held against the kind that it is to look like. A score's unit is what a small noise moves it by at its level
    (`Stabiliser`), so that no bend of a detector's scores is seen; scores are in standard deviations of it over all
    images, whose scores stay as they were: images of a batch do not mix. UserError without `aim.rivals`.
    """
    if (rivals := aim.rivals) is None:
        raise UserError(
            "objective pooled: expected what the detector says of all images at first, got none; "
            "make the victim with rivals, or try objective ranking"
        )
    scores, truth = rivals.scores(prediction.score_map), aim.truth
    place = torch.arange(truth[0].numel(), device=scores.device).view_as(truth[0])
    against, over = (rivals.anomalous, rivals.normal) if aim.towards else (rivals.normal, rivals.anomalous)
    cost = torch.zeros_like(scores)
    for turn in range(PARTNERS):
        at = (STRIDE * place + turn * len(against) // PARTNERS) % len(against)
        lead = torch.where(truth, scores - against[at], over[at] - scores) / WIDTH
        cost = cost + (F.softplus(-lead) if aim.towards else -F.softplus(lead)) / PARTNERS
    weight = torch.where(aim.apart, 1 / rivals.share, 1 / (1 - rivals.share))
    return (cost * weight).flatten(1).mean(1) / 2


def straightened(odds: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """The log-odds of each image, brought by a strictly increasing, piecewise linear bend to the normal quantiles of
    their ranks; beyond the ends as between the two knots there.

    The bend has no gradient of its own, so that what is differentiated does not depend on how a detector bends its
    scores. A map of one value keeps its slope.
    """
    scores = odds.flatten(1)
    fixed = scores.detach().contiguous()
    ordered, last = fixed.sort(1).values, fixed.shape[1] - 1
    least, most = REACH
    reach = min(most, max(least, -NormalDist().inv_cdf(BEYOND / (last + 1 + BEYOND))))
    shares = torch.special.ndtr(torch.linspace(-reach, reach, KNOTS - 2, dtype=torch.float64, device=scores.device))
    places = F.pad(F.pad((shares * last).round().long(), (1, 0)), (0, 1), value=last)
    heights = torch.special.ndtri((places + 0.5) / (last + 1)).to(scores.dtype)
    knots = ordered[:, places].contiguous()
    # A value that several knots share belongs to the piece above them, the largest to the one below.
    before_largest = torch.searchsorted(knots, knots[:, -1:].contiguous())
    # NaN sorts behind every knot; it is not for a bend to fail on it.
    piece = torch.searchsorted(knots, fixed, right=True).minimum(before_largest).clamp(1, KNOTS - 1) - 1
    low, width = knots.gather(1, piece), knots.diff(dim=1).gather(1, piece)
    slope = torch.where(width > 0, heights.diff()[piece] / width, 1.0)
    bent: Tensor = heights[piece] + slope * (scores - low)
    return bent.view_as(odds)
