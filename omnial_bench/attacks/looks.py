"""What detectors say of all images of a category before an attack, for objectives that look beyond one image."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from jaxtyping import UInt8
from torch import Tensor

from omnial_bench.attacks.rivals import Pixels, Rivals
from omnial_bench.attacks.sets.compose import generator_for
from omnial_bench.attacks.specs import HELD_AGAINST_RIVALS
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Threat
from omnial_bench.data.images import Images
from omnial_bench.types import Detector, ThreatModel, located

SAMPLED = 2**22
"""Pixels of a category that are looked at, about, spread evenly: the memory of a category of any size."""
STIRRED = 0.0625
"""Size of the noise that units are measured by, as a share of the ball: with four times as much, many of the pixels
that an attack has raised over a kink of the scores fall back over it."""
LARGEST = Fraction(16, 255)
"""The L-infinity ball that a larger one counts as, so that the noise stays one: a patch may change values at will."""


class Looks:
    """Forward passes over the images that attacks begin from, made when an objective first asks and kept for the next
    threat of the same ball."""

    def __init__(
        self,
        models: Sequence[Detector],
        originals: Images,
        *,
        seed: int,
        device: torch.device | str,
        batch: int = 8,
        precision: torch.dtype | None = None,
    ) -> None:
        self.models, self.originals = models, originals
        self.seed, self.device, self.batch, self.precision = seed, device, batch, precision
        self._before: dict[str, list[Pixels]] = {}
        self._rivals: dict[tuple[str, str, Fraction], list[Rivals]] = {}

    def rivals(self, threat: Threat, category: str, begin: UInt8[Tensor, "n 3 h w"] | None = None) -> list[Rivals]:
        """Of each model, where `threat` begins: at the originals, or at `begin`, which are theirs in the ball; none
        where its objective does not look at them."""
        if threat.objective not in HELD_AGAINST_RIVALS or not threat.eps:
            return []
        eps = min(threat.eps, LARGEST) if threat.norm == "linf" else threat.eps
        ball = ThreatModel(eps=eps, norm=threat.norm)
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
