"""Images under one threat, a category and a batch at a time: attacked, and rounded to bytes inside the bound."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from omnial_bench.attacks.levels import quantise
from omnial_bench.attacks.looks import Looks
from omnial_bench.attacks.sets.compose import Composed, generator_for
from omnial_bench.attacks.threats import aims, build_attack, kind_of, threat_model
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Threat
from omnial_bench.data.images import to_float
from omnial_bench.types import Detector


class Part(NamedTuple):
    """A batch after its attack; `rows` are its images' places among all."""

    rows: list[int]
    images: UInt8[Tensor, "b 3 h w"]
    losses: list[float]
    """Mean objective before each step over the `weight` images that were attacked."""
    weight: int
    flat: int | None = None
    """Attacked images whose gradient was zero everywhere at the start; None without a gradient."""
    masks: Bool[Tensor, "b h w"] | None = None
    """The truth where the images have moved in their frame; None: it is as it was."""
    sizes: tuple[float, ...] = ()
    """Of each attacked image the smallest change across the threshold, where the attack looks for it."""


def attack_images(
    models: Sequence[Detector],
    composed: Composed,
    threat: Threat,
    *,
    seed: int,
    device: torch.device | str,
    batch: int = 8,
    precision: torch.dtype | None = None,
    begin: UInt8[Tensor, "n 3 h w"] | None = None,
    threshold: float = math.inf,
    looks: Looks | None = None,
) -> Iterator[Part]:
    """Attack the mean over `models` on every image that the threat's goal attacks; the others come as they were.

    With `begin`, images in the ball, the attack starts from these; `threshold` is that of the image score; `looks` are
    those of these models at these images, where several threats share them.

    Each category has random numbers of its own, the same for every model. UserError for a threat that does not fit.
    """
    originals, ball = composed.images, threat_model(threat)
    if looks is None:
        looks = Looks(models, originals, seed=seed, device=device, batch=batch, precision=precision)
    for category in dict.fromkeys(originals.categories):
        every = [index for index, name in enumerate(originals.categories) if name == category]
        generator = generator_for(seed, "attack", threat.name, category)
        size = len(every) if kind_of(threat).whole else batch
        rivals = looks.rivals(threat, category, begin)
        for start in range(0, len(every), size):
            rows = every[start : start + size]
            part, before = originals.batch(rows, device), originals.images[rows]
            labels, chosen = aims(threat.goal, part.masks, composed.regions[rows].to(device), part.anomalous.to(device))
            count = int(chosen.sum()) if threat.eps > 0 else 0
            if not count:
                yield Part(rows, before, [], 0)
                continue
            where = composed.objects[rows].to(device)[chosen] if threat.where == "foreground" else None
            with victim(models, precision=precision, rivals=rivals, threshold=threshold) as target:
                attack = build_attack(target, threat, generator)
                if begin is not None:
                    # Of PGD's family, as `check_suite` asks.
                    attack.begin = to_float(begin[rows], device)[chosen]  # type: ignore[attr-defined]
                images = attack(part.images[chosen], labels[chosen], where)
            saved, moved = before.clone(), chosen.cpu()
            saved[moved] = quantise(images, before[moved], ball)
            masks = None
            if kind_of(threat).moves:
                # The labels of an anomalous image without a mask are not its truth.
                marked = originals.masks[rows].flatten(1).any(1)[:, None, None]
                masks = attack.truth.cpu() & marked  # type: ignore[attr-defined]
            sizes = tuple(attack.sizes) if kind_of(threat).sized else ()  # type: ignore[attr-defined]
            yield Part(rows, saved, attack.losses, count, attack.flat, masks, sizes)
