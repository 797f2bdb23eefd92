"""Whether a detector's gradient is that of its output: held against differences of forward passes."""

import copy
import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Aim, Masks, Objective, PerImage
from omnial_bench.attacks.objectives import linear
from omnial_bench.attacks.victim import Victim
from omnial_bench.types import RGB, Prediction

log = logging.getLogger(__name__)

SCALES = (1, 4, 16, 64)
"""Sides, in pixels, of the squares of one sign that a direction is made of: what reaches the map through a branch that
is detached may be fine or coarse, and fine noise averages out of a coarse branch."""
DIRECTIONS = 4
"""At each scale."""
SEEN = 0.05
"""Of the steepest scale's slope: what is flatter says little of the gradient."""
ROUNDING = 2.0**-17
"""Of the objective, or of what it says of all pixels as one kind: sums over a network leave differences of some 2^-20
between equal images."""
STEPS = (1 / 32640, 1 / 130560, 1 / 8160, 1 / 2040, 1 / 510)
"""Pixel units to each side. A network is far from linear along half a grey level, so that the first is a 128th. Where
its kinks lie closer than that, as in a student of few layers, a shorter one may tell; where that is lost in rounding,
as in group norms in channels-last order, or flat, a longer one."""
EXACT = 2.0**-26, 2.0**-46
"""Step and rounding in float64, for features whose kinks lie closer still than float32 can tell."""
NEAR = 0.75
"""The least cosine in float32 that float64 may mend: ImageNet features gave 0.88 and more. A branch that rounds to
float32 by itself, or to bytes, stands still along such steps, and if it is detached that looks whole."""
ENOUGH = 0.99
"""No further step is tried beyond this cosine."""


def agreement(
    victim: Victim, images: RGB, truth: Masks, objective: Objective, generator: torch.Generator
) -> float | None:
    """The cosine of the slopes of the objective that the gradient tells and those that forward passes measure.

    Along `DIRECTIONS` random directions at each of `SCALES`; a mean over the images, and the least over the scales:
    near 1 where the gradient is whole, 0 where it is nothing; of the step that suits best. None where no slope stands
    out of rounding. The victim is to compute in float32, for a slope is a difference of almost equal numbers; where
    that does not tell, a copy of it does so in float64, if it can.
    """
    # Both sides of a difference are images: beyond 0 and 1 a detector may cut off, or take a root of less than nothing.
    images = images.clamp(STEPS[-1], 1 - STEPS[-1])
    directions = [_direction(images, scale, generator) for scale in SCALES for _ in range(DIRECTIONS)]
    found = _best_cosine(victim, images, truth, objective, directions, STEPS, ROUNDING)
    if found is None or not NEAR < found <= ENOUGH:
        return found
    try:
        exact = copy.deepcopy(victim).double()
        step, rounding = EXACT
        # Off the grid of float32, where a branch that rounds to it is seen to move.
        moved = images.double() + step * (4 * torch.rand(images.shape, generator=generator) - 2).to(images.device)
        more = _best_cosine(exact, moved, truth, objective, [each.double() for each in directions], (step,), rounding)
    except Exception as error:  # noqa: BLE001
        # Somebody else's code need not be fit for another precision, or for a copy.
        log.debug("no slopes in float64: %s", error)
        return found
    return found if more is None else max(found, more)


def _best_cosine(
    victim: Victim,
    images: RGB,
    truth: Masks,
    objective: Objective,
    directions: Sequence[RGB],
    steps: Sequence[float],
    rounding: float,
) -> float | None:
    """The largest cosine over the steps, up to one that is enough."""
    loss, gradient = victim.gradient(images, truth, objective)
    # What is rounding follows the scores, of whatever scale: where kinds of pixels are compared their offset cancels,
    # and in a plain mean over a map that is standardised, all.
    told_of_all = _loudness if objective is linear else objective
    offset = victim.value(images, torch.zeros_like(truth), told_of_all)
    size = torch.maximum(loss.abs(), offset.abs()).double()
    told = torch.stack([(gradient * direction).flatten(1).double().sum(1) for direction in directions])
    found: list[float] = []
    for step in steps:
        measured = []
        for direction in directions:
            # Both sides in one pass: half as many, and where sums depend on the batch they depend on it alike.
            sides = torch.cat((images + step * direction, images - step * direction))
            ahead, behind = victim.value(sides, truth.repeat(2, 1, 1), objective).double().chunk(2)
            measured.append((ahead - behind) / (2 * step))
        cosine = _least_cosine(told, torch.stack(measured), rounding / step * size)
        found += [] if cosine is None else [cosine]
        if found and found[-1] > ENOUGH:
            break
    return max(found, default=None)


def _loudness(prediction: Prediction, _: Aim) -> PerImage:
    return prediction.log_odds.abs().flatten(1).mean(1)


def _least_cosine(told: Float[Tensor, "d b"], measured: Float[Tensor, "d b"], rounding: PerImage) -> float | None:
    told, measured = (slopes.view(len(SCALES), DIRECTIONS, -1) for slopes in (told, measured))
    lengths = told.norm(dim=1), measured.norm(dim=1)
    steepest = torch.maximum(*lengths)
    seen = steepest > torch.maximum(SEEN * steepest.amax(0), rounding)
    cosines = (told * measured).sum(1) / (lengths[0] * lengths[1]).clamp_min(torch.finfo(torch.float64).tiny)
    means = [float(scale[which].mean()) for scale, which in zip(cosines, seen, strict=True) if which.any()]
    return min(means, default=None)


def _direction(images: RGB, scale: int, generator: torch.Generator) -> RGB:
    """Random signs in squares of `scale` pixels."""
    height, width = images.shape[-2:]
    cells = (len(images), 3, -(-height // scale), -(-width // scale))
    signs = 2.0 * torch.randint(0, 2, cells, generator=generator) - 1
    return F.interpolate(signs, scale_factor=scale, mode="nearest")[..., :height, :width].to(images.device)
