"""Images under one threat, a category and a batch at a time: attacked, and rounded to bytes inside the bound."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from omnial_bench.attacks.aim import ANOMALOUS, HIDDEN, Masks, Pixels, Rivals
from omnial_bench.attacks.levels import quantise
from omnial_bench.attacks.sets.compose import Composed, generator_for
from omnial_bench.attacks.specs import HELD_AGAINST_RIVALS
from omnial_bench.attacks.threats import kind_of, threat_model
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Threat
from omnial_bench.data.images import Images, to_float
from omnial_bench.types import Detector, Goal, ThreatModel, located

SAMPLED = 2**22
"""Pixels of a category that are looked at, about, spread evenly: the memory of a category of any size."""
STIRRED = 0.0625
"""Size of the noise that units are measured by, as a share of the ball: with four times as much, many of the pixels
that an attack has raised over a kink of the scores fall back over it."""
LARGEST = Fraction(16, 255)
"""The L-infinity ball that a larger one counts as, so that the noise stays one: a patch may change values at will."""


@dataclass
class Looks:
    """Detectors that are attacked at images: forward passes over these, made when an objective first asks and kept for
    the next threat of the same ball."""

    models: Sequence[Detector]
    originals: Images
    _: KW_ONLY
    seed: int
    device: torch.device | str
    batch: int = 8
    precision: torch.dtype | None = None
    _before: dict[str, list[Pixels]] = field(default_factory=dict, init=False)
    _rivals: dict[tuple[str, str, Fraction], list[Rivals]] = field(default_factory=dict, init=False)

    def rivals(self, threat: Threat, category: str, begin: UInt8[Tensor, "n 3 h w"] | None = None) -> list[Rivals]:
        """Of each model, where `threat` begins: at the originals, or at `begin`, which are theirs in the ball; none
        where its objective does not look at them."""
        if threat.objective not in HELD_AGAINST_RIVALS or not threat.eps:
            return []
        ball = ball_of(threat)
        key = category, ball.norm, ball.eps
        if begin is None and key in self._rivals:
            return self._rivals[key]
        if category not in self._before:
            # Those of one category at a time: they are as large as its maps.
            self._before = {category: self._pixels(self.originals, category)}
        before, begun = self._before[category], self.originals
        if begin is not None:
            begun = replace(begun, images=begin)
        sides = before, before if begin is None else self._pixels(begun, category), self._pixels(begun, category, ball)
        rivals = [Rivals.of(*parts) for parts in zip(*sides, strict=True)]
        if begin is None:
            self._rivals[key] = rivals
        return rivals

    def _pixels(self, images: Images, category: str, stirred_in: ThreatModel | None = None) -> list[Pixels]:
        """Of each model the scores of a category's pixels, with a small noise in a ball where one is given. Of images
        that pixel figures leave out only where there are no others."""
        rows = [row for row, name in enumerate(images.categories) if name == category]
        anomalous = torch.tensor([images.defects[row] != "good" for row in rows])
        known = located(images.masks[rows], anomalous).tolist()
        rows = [row for row, is_known in zip(rows, known, strict=True) if is_known] or rows
        every = max(1, len(rows) * images.masks[0].numel() // SAMPLED)
        generator = generator_for(self.seed, "stirred", str(stirred_in), category)
        parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.models]
        with victim(self.models, precision=self.precision) as target, torch.no_grad():
            for start in range(0, len(rows), self.batch):
                part = images.batch(rows[start : start + self.batch], self.device)
                shown, truth = part.images, part.masks.flatten()[::every]
                if stirred_in is not None:
                    noise = STIRRED * stirred_in.draw(tuple(shown.shape), generator).to(shown)
                    shown = (shown + noise).clamp(0, 1)
                for pairs, prediction in zip(parts, target.predictions(shown), strict=True):
                    pairs.append((prediction.score_map.flatten()[::every], truth))
        return [*parts]


class Part(NamedTuple):
    """A batch after its attack; `rows` are its images' places among all."""

    rows: list[int]
    images: UInt8[Tensor, "b 3 h w"]
    losses: list[float]
    """Mean objective before each step over the `weight` images that were attacked."""
    weight: int
    flat: int | None = None
    """Attacked images whose gradient was zero everywhere from the start on; None without a gradient."""
    masks: Masks | None = None
    """The truth where the images have moved in their frame; None: it is as it was."""
    sizes: tuple[float, ...] = ()
    """Of each attacked image the smallest change across the threshold, where the attack looks for it."""


def ball_of(threat: Threat) -> ThreatModel:
    """Where noise is drawn that a threat's images are stirred by."""
    eps = min(threat.eps, LARGEST) if threat.norm == "linf" else threat.eps
    return ThreatModel(eps=eps, norm=threat.norm)


def attack_images(
    looks: Looks,
    composed: Composed,
    threat: Threat,
    *,
    begin: UInt8[Tensor, "n 3 h w"] | None = None,
    threshold: float = math.inf,
) -> Iterator[Part]:
    """Attack the mean over the models of `looks` on every image that the threat's goal attacks; the others come as they
    were.

    With `begin`, images in the ball, the attack starts from these; `threshold` is that of the image score. Each
    category has random numbers of its own, the same for every model. UserError for a threat that does not fit.
    """
    # Imported here, for it brings torchattacks along: half a second that a check or a clean test does not need.
    from omnial_bench.attacks.building import build_attack

    originals, device = composed.images, looks.device
    kind = kind_of(threat)
    for category in dict.fromkeys(originals.categories):
        every = [index for index, name in enumerate(originals.categories) if name == category]
        generator = generator_for(looks.seed, "attack", threat.name, category)
        size = len(every) if kind.whole else looks.batch
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
            # Which side of the threshold an image is on is a question of scores, and these are float32.
            precision = None if kind.sized else looks.precision
            with victim(looks.models, precision=precision, rivals=rivals, threshold=threshold) as target:
                attack = build_attack(target, threat, generator)
                if begin is not None:
                    # Of PGD's family, as `check_suite` asks.
                    attack.begin = to_float(begin[rows], device)[chosen]  # type: ignore[attr-defined]
                images = attack(part.images[chosen], labels[chosen], where)
            saved, moved = before.clone(), chosen.cpu()
            saved[moved] = quantise(images, before[moved], threat_model(threat))
            masks = None
            if kind.moves:
                # The labels of an anomalous image without a mask are not its truth.
                marked = originals.masks[rows].flatten(1).any(1)[:, None, None]
                masks = attack.truth.cpu() & marked  # type: ignore[attr-defined]
            sizes = tuple(attack.sizes) if kind.sized else ()  # type: ignore[attr-defined]
            yield Part(rows, saved, attack.losses, count, attack.flat, masks, sizes)


def aims(
    goal: Goal, masks: Masks, regions: Masks, anomalous: Bool[Tensor, " b"]
) -> tuple[Masks | UInt8[Tensor, "b h w"], Bool[Tensor, " b"]]:
    """The labels to attack with, and which images are attacked at all.

    `any`: every image, against its true mask. `target`: anomalous images towards an all-normal map, their defects
    HIDDEN, normal images towards their region of `regions`. `hide` attacks the anomalous images alone, `fabricate` the
    normal ones alone. An anomalous image without a mark counts as one whole defect.
    """
    # Where a defect is not marked, any pixel of its image may be the one: it is to be low everywhere.
    masks = masks | (anomalous & ~masks.flatten(1).any(1))[:, None, None]
    if goal == "any":
        return masks, torch.ones_like(anomalous)
    whole = anomalous[:, None, None]
    targets = ANOMALOUS * (regions & ~whole).byte() + HIDDEN * (masks & whole).byte()
    chosen = {"target": torch.ones_like(anomalous), "hide": anomalous, "fabricate": ~anomalous}[goal]
    return targets, chosen
