"""One threat on one category's test images of one model: the images as the bytes of files, and how it went."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from omnial_bench.attacks.attacking import Part
from omnial_bench.attacks.columns import eps_text
from omnial_bench.attacks.levels import keeps, largest_change
from omnial_bench.attacks.objectives import image_score, linear
from omnial_bench.attacks.sets.compose import Composed, generator_for
from omnial_bench.attacks.slopes import agreement
from omnial_bench.attacks.threats import aim_of, kind_of, spec_for, threat_model, title_of
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.catalog import foreground_rule
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import Labels
from omnial_bench.models.checkpoint import model_name
from omnial_bench.results import Attempt
from omnial_bench.synthesis.foreground import foreground
from omnial_bench.types import Detector

BATCH = 8
"""Images attacked at once; fixed, for it decides which random numbers an image gets."""
HELD = 2
"""Images whose gradient is held against forward passes: each costs as much as some ten steps of an attack."""


def compose_test(images: Images, where: str, dataset: str, category: str) -> Composed:
    """The images with the object of each, and the region where a defect is to be invented: all of the object."""
    frame = torch.ones_like(images.masks)
    objects = frame if where == "frame" else foreground(images.images, foreground_rule(dataset, category))
    return Composed(images, objects, frame)


def join_parts(
    parts: Iterable[Part], originals: Images, suite: Suite, threat: Threat, labels: Labels, category: str
) -> tuple[Images, Attempt]:
    """The images after one threat, as bytes, each measured to lie in its ball around the original, and how it went;
    references are those before it, or the images themselves where these have moved, and their masks with them.

    `parts` are all that `attack_images` made of the originals, `labels` the model's own. UserError for an image that
    leaves its ball.
    """
    images, masks = originals.images.clone(), originals.masks.clone()
    steps, weight, flat = torch.zeros(0, dtype=torch.float64), 0, 0
    takes_gradient, sizes = False, list[float]()
    for part in parts:
        images[part.rows] = part.images
        if part.masks is not None:
            masks[part.rows] = part.masks
        if part.losses:
            steps = (steps if len(steps) else 0) + part.weight * torch.tensor(part.losses, dtype=torch.float64)
        if part.flat is not None:
            takes_gradient, flat = True, flat + part.flat
        weight, sizes = weight + part.weight, sizes + list(part.sizes)
    origins = {"start": threat.start, "after": threat.after}
    settings = threat.options | {name: origin for name, origin in origins.items() if origin is not None}
    attempt = Attempt(
        suite=suite.name, set=threat.name, detector=labels.detector, paradigm=labels.paradigm, category=category,
        source="self" if suite.against == "self" else model_name(labels.detector, labels.paradigm),
        attack=threat.attack, objective=threat.objective, goal=threat.goal, norm=threat.norm, eps=eps_text(threat.eps),
        where=threat.where, steps=threat.steps, restarts=threat.restarts, n=len(originals), attacked=weight,
        flat=flat if takes_gradient else None, largest_change=_measure(threat, images, originals),
        direction="up" if threat.goal == "any" else "down",
        losses=" ".join(repr(loss) for loss in (steps / max(weight, 1)).tolist()), seed=labels.seed, run=labels.run,
        options=", ".join(name if value is True else f"{name} = {value}" for name, value in settings.items()),
        spec=str(spec_for(threat)), title=title_of(threat),
        sizes=" ".join(f"{255 * size:.6g}" for size in sizes),
    )  # fmt: skip
    references = images if kind_of(threat).moves else originals.images
    return replace(originals, images=images, masks=masks, references=references), attempt


def check_slopes(
    attempts: list[Attempt],
    model: Detector,
    suite: Suite,
    images: Images,
    category: str,
    *,
    seed: int,
    device: torch.device,
) -> None:
    """Hold the gradient of the model against forward passes, in float32.

    That of the map for `linear`, to which every pixel's log-odds counts alike, whatever attacks, beside the first
    threat of goal `any` that takes one; that of an image score which is none of the map's beside the first that goes
    for it.
    """
    part = images.batch(range(min(HELD, len(images))), device)
    places = (examined(attempts, suite), linear), (examined(attempts, suite, "image"), image_score)
    with victim([model]) as target, torch.no_grad():
        for at, objective in places:
            if at is None or (objective is image_score and next(target.predictions(part.images)).score is None):
                continue
            cosine = agreement(target, part.images, part.masks, objective, generator_for(seed, "slopes", category))
            known = [each for each in (attempts[at].agreement, cosine) if each is not None]
            attempts[at] = replace(attempts[at], agreement=min(known, default=None))


def examined(attempts: list[Attempt], suite: Suite, aim: str = "") -> int | None:
    """Which attempt is held against more than its rows: the first threat of goal `any` that takes a gradient, on the
    test images as they are, and goes for that kind of figure."""
    pairs = enumerate(zip(attempts, suite.threats, strict=True))
    fits = ((at, attempt) for at, (attempt, threat) in pairs if threat.goal == "any" and threat.after is None)
    return next((at for at, attempt in fits if attempt.flat is not None and aim in aim_of(suite.threats[at])), None)


def _measure(threat: Threat, images: UInt8[Tensor, "n 3 h w"], originals: Images) -> float:
    """The largest change on the bytes; UserError where an image has left its ball."""
    ball, largest = threat_model(threat), 0.0
    for saved, original, name in zip(images.numpy(), originals.images.numpy(), originals.ids, strict=True):
        if not keeps(ball, saved, original):
            raise UserError(
                f"threat {threat.name}: expected {name} within {threat.norm} {threat.eps} of its original, it is not; "
                "the attack does not keep its bound"
            )
        if threat.norm == "linf":
            largest = max(largest, float(largest_change(saved, original)))
        else:
            change = torch.from_numpy(saved).double() - torch.from_numpy(original)
            largest = max(largest, float(change.norm()))
    return largest
