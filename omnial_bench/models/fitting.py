"""How a Fitted learns: one fit on normal images, a scale on others, and the proof that its state is all there."""

import time
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from omnial_bench.config.schema import Recipe
from omnial_bench.data.images import to_float
from omnial_bench.errors import UserError
from omnial_bench.models.fitted import Fitted, Normals
from omnial_bench.models.outside.adapter import check_detector, make_room
from omnial_bench.models.outside.calibration import CALIBRATION, LEAST, Scale, floats_on, normal_scores, scale_of
from omnial_bench.models.registry import build
from omnial_bench.models.schedule import Row, iterations_of, split_normals
from omnial_bench.progress import Progress
from omnial_bench.trust import guarded
from omnial_bench.types import RGB

TOLERANCE = 1e-3
"""In log-odds, between a detector and one with its state: sums may be taken in another order."""


def fit_detector(
    detector: Fitted,
    recipe: Recipe,
    images: UInt8[Tensor, "n 3 h w"],
    generator: torch.Generator,
    *,
    device: torch.device,
    categories: Sequence[str] = (),
    trusted: Collection[str] = (),
    progress: Progress | None = None,
) -> list[Row]:
    """Fit a detector to normal images and give it a scale, on `device`; it ends on the CPU. The rows of its log, of
    which the last says what it was fitted to.

    `generator` decides which images are held out for the scale, `training.validation` how many: eight at the least, of
    which 64 at the most are looked at. `categories` are those of all images. UserError for fewer than 16 images, for
    those of a category that are all equal, for a fit or a forward of a detector from elsewhere that fails, for a map
    that gives no scale, and for a state that does not come back by its names.
    """
    _check_differ(images, categories)
    if len(images) < 2 * LEAST:
        raise UserError(
            f"expected at least {2 * LEAST} normal training images, half to fit on and half to take the scale from, "
            f"got {len(images)}; add some, or fit one model to several categories"
        )
    share = max(recipe.training.validation, LEAST / len(images))
    chosen, held_out = split_normals(len(images), share, generator)
    calibration, began = images[held_out[:CALIBRATION]], time.monotonic()
    steps = iterations_of(recipe.training, len(images))
    normals = Normals(images[chosen], recipe.training, steps=steps, device=device, progress=progress)
    learn(detector.to(device), normals, calibration, generator)
    seconds = time.monotonic() - began
    own = [categories[at] if categories else "" for at in held_out]
    detector.normal_scores = normal_scores(detector, images[held_out], own, device)
    # As a checkpoint holds it, for work on another layout is rounded otherwise.
    make_room(detector, {name: value.cpu().contiguous() for name, value in detector.state_dict().items()})
    detector.to("cpu")
    _check_restored(detector, recipe, to_float(calibration[:LEAST]), trusted)
    (threshold, _), (temperature, _) = detector.odds_threshold.tolist(), detector.odds_temperature.tolist()
    fitted: Row = {"iteration": 0, "loss": None, "images_per_second": round(len(chosen) / max(seconds, 1e-9), 2)}
    *rows, last = normals.rows or [fitted]
    facts = {"normals": len(chosen), "held_out": len(calibration), "threshold": threshold, "temperature": temperature}
    return [*rows, last | facts]


def _check_differ(images: UInt8[Tensor, "n 3 h w"], categories: Sequence[str]) -> None:
    places: dict[str, list[int]] = {"": [*range(len(images))]}
    for place, category in enumerate(categories):
        places.setdefault(category, []).append(place)
    for category, own in places.items():
        if len(own) > 1 and all(torch.equal(images[own[0]], images[other]) for other in own[1:]):
            raise UserError(
                f"expected normal images{category and f' of {category}'} that differ, got {len(own)} that are all "
                "equal; look at their files"
            )


def learn(
    detector: Fitted,
    normals: Normals,
    held_out: UInt8[Tensor, "m 3 h w"] | Float[Tensor, "m 3 h w"],
    generator: torch.Generator,
) -> None:
    """Fit a detector where it lies and take its scale from images that are held out; it is in evaluation mode
    afterwards."""
    device = detector.odds_threshold.device
    detector.eval().requires_grad_(False)
    with torch.no_grad():
        with guarded(detector, "fit"):
            detector.fit(normals, generator)
        # What the fit has made may lie elsewhere.
        detector.to(device)
        check_detector(detector, normals.size, device)
        _calibrate(detector, held_out, normals.training.batch, device)
    if normals.progress is not None:
        normals.progress(len(normals), len(normals), f"fitted to {len(normals)} images")


def _calibrate(detector: Fitted, held_out: Tensor, batch: int, device: torch.device) -> None:
    """Lay what the detector says of normal images onto log-odds, map and image score each by a scale of its own."""
    detector.odds_threshold.zero_()
    detector.odds_temperature.fill_(1)
    maps, scores = [], []
    for part in torch.split(held_out, batch):
        images = floats_on(part, device)
        with guarded(detector, "localise anomalies"):
            prediction = detector(images)
        maps.append(prediction.log_odds)
        scores += [] if prediction.score is None else [prediction.score]
    scales = scale_of(maps, "anomaly map"), scale_of(scores, "image score") if scores else Scale()
    detector.odds_threshold.copy_(torch.tensor([scale.threshold for scale in scales]))
    detector.odds_temperature.copy_(torch.tensor([scale.temperature for scale in scales]))


def _check_restored(detector: Fitted, recipe: Recipe, images: RGB, trusted: Collection[str]) -> None:
    """UserError where one that is built anew says something else with the state of `detector`: what was learnt is no
    parameter and no buffer of the constructor, and a checkpoint would lose it."""
    again, state = build(recipe, trusted=trusted).eval(), detector.state_dict()
    make_room(again, state)
    lost = sorted(state.keys() ^ again.state_dict().keys())
    if not lost:
        again.load_state_dict(state)
    try:
        with torch.no_grad(), guarded(detector, "localise anomalies"):
            odds = detector(images).log_odds
            same = not lost and torch.allclose(odds, again(images).log_odds, rtol=TOLERANCE, atol=TOLERANCE)
    except UserError:
        same = False
    if not same:
        which = f" ({lost[0]})" if lost else ""
        raise UserError(
            f"{type(detector).__name__} does not come back the same from its parameters and buffers{which}; register "
            "all that fit learns in __init__, as register_buffer(name, None)"
        )
