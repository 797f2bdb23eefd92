"""What held-out normal images tell: the scale of a module that knows none, whose values are laid onto log-odds, and the
image scores that a decision threshold is set from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from omnial_bench.data.images import to_float
from omnial_bench.errors import UserError
from omnial_bench.trust import guarded
from omnial_bench.types import RGB, Detector, Prediction

QUANTILE = 0.995
"""Of the values on normal images: where log-odds of 0 come to lie."""
MEDIAN = -4.0
"""Log-odds of the median value on normal images, a probability of 0.018."""
LEAST = 8
"""Normal images that a scale is taken from, at the least."""
SHARE = 5
"""One training image in so many is held out."""
CALIBRATION = 64
"""Normal images that a scale is taken from at the most."""
MOST, BATCH = 100, 16
"""Images of a category that are scored, for of more the threshold at 5 % would be little steadier, and at once."""


@dataclass(frozen=True)
class Scale:
    """Values to log-odds, (value - threshold) / temperature: strictly increasing, so that no ranking changes."""

    threshold: float = 0.0
    temperature: float = 1.0


def scale_of(values: Iterable[Tensor], what: str) -> Scale:
    """The scale of `what`, anomaly maps or image scores, from its values on normal images, each counted alike.

    The threshold is their 99.5th percentile, and the temperature sets the median to log-odds of -4. Where more than
    half of the values are one and the same, their standard deviation stands in for the distance from the median. This
    rule is the benchmark's own choice. UserError for values that are not finite or all the same.
    """
    every = torch.cat([part.detach().flatten() for part in values]).double().cpu()
    if not torch.isfinite(every).all():
        raise UserError(f"expected finite {what}s on normal images, got NaN or infinity; mend the detector")
    ordered = every.sort().values
    threshold, median = _quantile(ordered, QUANTILE), _quantile(ordered, 0.5)
    spread = float(every.std(unbiased=False))
    if float(ordered[0]) == float(ordered[-1]) or not spread:
        raise UserError(
            f"expected {what}s that differ among normal images, got {float(ordered[0]):g} everywhere; they give no "
            "scale; return distances or logits, neither labels nor clamped values, and where it has memorised these "
            "very images, give others as held_out"
        )
    width = threshold - median
    return Scale(threshold, (width if width > 0 else spread) / -MEDIAN)


def to_log_odds(
    maps: Float[Tensor, "b h w"],
    score: Float[Tensor, " b"] | None,
    threshold: Float[Tensor, "2"],
    temperature: Float[Tensor, "2"],
) -> Prediction:
    """A map and an image score on the scales of their own as a Prediction; the first of each pair is the map's."""
    odds = (maps - threshold[0]) / temperature[0]
    if score is not None:
        score = (score - threshold[1]) / temperature[1]
    return Prediction(torch.stack((torch.zeros_like(odds), odds), dim=1), pooling=1, score=score)


def held_out(count: int) -> list[int]:
    """Of so many normal training images the places of those to hold out: every fifth, or more often where that would
    be fewer than `LEAST`. UserError where fewer would be left to fit on."""
    if count < 2 * LEAST:
        raise UserError(
            f"expected at least {2 * LEAST} normal training images, half to fit on and half to take the scale from, "
            f"got {count}; add some, or give normal images apart from them as held_out"
        )
    every = min(SHARE, count // LEAST)
    return list(range(every - 1, count, every))


def _quantile(ordered: Tensor, share: float) -> float:
    """By linear interpolation; `torch.quantile` takes 16 million values at the most."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (place - below) * (high - low)


@torch.no_grad()
def normal_scores(
    detector: Detector,
    images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"],
    categories: Sequence[str],
    device: torch.device | str,
) -> dict[str, tuple[float, ...]]:
    """Image scores by category, the lowest first, of at most `MOST` held-out normal images of each, by a detector that
    lies on `device` in eval mode: what a decision threshold is set from. `categories` are those of the images.
    UserError where one from elsewhere fails."""
    scores: dict[str, tuple[float, ...]] = {}
    for name in sorted(set(categories)):
        chosen = [at for at, own in enumerate(categories) if own == name][:MOST]
        batches = []
        for part in torch.split(images[chosen], BATCH):
            floats = floats_on(part, device).contiguous(memory_format=torch.channels_last)
            with guarded(detector, "localise anomalies"):
                batches.append(detector(floats).image_score)
        scores[name] = tuple(torch.cat(batches).sort().values.tolist())
    return scores


def floats_on(images: Tensor, device: torch.device | str) -> RGB:
    """Images on a device, bytes as floats in [0, 1]."""
    return images.to(device) if images.is_floating_point() else to_float(images, device)
