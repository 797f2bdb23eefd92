"""One threat on one category's test images of one model: the images as the bytes of files, and how it went."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from omnial_bench.attacks.attacking import Part, ball_of
from omnial_bench.attacks.levels import keeps, largest_change
from omnial_bench.attacks.objectives import image_score, linear
from omnial_bench.attacks.plateaus import unfelt
from omnial_bench.attacks.sets.compose import Composed, generator_for
from omnial_bench.attacks.slopes import agreement
from omnial_bench.attacks.threats import aim_of, eps_text, kind_of, threat_model
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.catalog import foreground_rule
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import Labels, labels_under
from omnial_bench.metrics.alarms import NAMES
from omnial_bench.metrics.intervals import wilson
from omnial_bench.models.checkpoint import model_name
from omnial_bench.results import Attempt, Result
from omnial_bench.synthesis.foreground import foreground
from omnial_bench.types import Detector

BATCH = 8
"""Images attacked at once; fixed, for it decides which random numbers an image gets."""
HELD = 2
"""Images whose gradient is held against forward passes: each costs as much as some ten steps of an attack."""
LEVELS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Grey levels at which what crosses the threshold is counted."""
ROUNDED = 2.0**-22
"""Of the end of a range: so far apart resizing leaves values that were equal."""


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
        spec=str(kind_of(threat).spec), title=kind_of(threat).title,
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
    threat of goal `any` that takes one, and what pixels without a gradient do to it in that threat's ball; that of an
    image score which is none of the map's beside the first that goes for it.
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
            if objective is linear:
                ball, generator = ball_of(suite.threats[at]), generator_for(seed, "plateaus", category)
                share = unfelt(target, part.images, part.masks, ball, generator)
                attempts[at] = replace(attempts[at], unfelt=share)


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


def crossed(threat: Threat, attempt: Attempt, labels: Labels) -> Iterator[Result]:
    """A row a size within eps: of the defects those hidden, of the normal images those that raise an alarm; none where
    the attack does not look for the smallest change. `labels` are the model's own."""
    sizes = [float(size) for size in attempt.sizes.split()]
    metric = NAMES[0] if threat.goal == "hide" else NAMES[1]
    for level in LEVELS if sizes else ():
        if level <= 255 * threat.eps:
            smaller = threat.model_copy(update={"name": f"{threat.name}-{level}", "eps": Fraction(level, 255)})
            hits, n = sum(size <= level for size in sizes), len(sizes)
            low, high = wilson(hits, n)
            yield Result(
                **vars(labels_under(labels, smaller, source="self", aim="image")),
                category=attempt.category, metric=metric, value=hits / n, n=n, low=low, high=high,
            )  # fmt: skip


def saturated(
    maps: Float[Tensor, "n h w"], attacked: Float[Tensor, "n h w"], truth: Bool[Tensor, "n h w"]
) -> float | None:
    """Of the pixels that an attack has to win, the share whose score in `attacked` is the end of the range that it
    pushes them away from: the lowest of all for normal pixels, the highest for anomalous ones, the larger share of the
    two.

    A normal pixel at the floor cannot be raised by a gradient, nor an anomalous one at the ceiling lowered, whether it
    lay there in `maps`, before the attack, or has been driven there along with others. One that has left its end, as a
    distance of zero does, was not held there. Places that hold one value in all of these maps and in all of `attacked`,
    such as an empty border, say nothing and are left out. So is an end that one image alone reaches: a block of one
    value in a map that was enlarged. None where no other place is left.
    """
    alive = torch.maximum(maps.amax(0), attacked.amax(0)) > torch.minimum(maps.amin(0), attacked.amin(0))
    shown, after, kinds = maps[:, alive], attacked[:, alive], truth[:, alive]
    if not shown.numel():
        return None
    # Where the attack goes beyond what was lowest or highest before, that was no end.
    low, high = torch.minimum(shown.min(), after.min()), torch.maximum(shown.max(), after.max())
    low, high = low + ROUNDED * low.abs(), high - ROUNDED * high.abs()
    floor, ceiling = after <= low, after >= high
    return max(_share(floor, ~kinds), _share(ceiling, kinds))


def _share(end: Bool[Tensor, "n p"], kind: Bool[Tensor, "n p"]) -> float:
    shared = end.any(1).sum() > 1
    return float(end[kind].float().mean()) if shared and kind.any() else 0.0
