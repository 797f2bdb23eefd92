"""The worst of several attacks, image by image, for figures that are pooled over all images; and what threats of one
ball leave together of each image: who may do any harm may do what each of them does."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.attacks.threats import aim_of, kind_of
from omnial_bench.config.schema import Threat
from omnial_bench.data.images import Images
from omnial_bench.metrics.ranking import auroc
from omnial_bench.types import Batch, Prediction, located

SWEEPS = 20
"""Passes over all images at the most; a handful is enough."""


class Harm:
    """What an image's map costs the pooled pixel AUROC, held against reference maps of the same model.

    An anomalous pixel costs the share of normal reference pixels that score at least as high, a normal pixel the share
    of anomalous reference pixels that score at most as high; an image costs the mean of either kind, added: 0 to 2. It
    bounds what one strange pixel can weigh, which a cross-entropy does not.
    """

    def __init__(self, maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> None:
        self.normal, self.anomalous = maps[~masks].sort().values, maps[masks].sort().values

    def __call__(self, maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """The mean of either kind of pixel of each image, added."""
        above, below = self._costs(maps, masks)
        return above / masks.flatten(1).sum(1).clamp_min(1) + below / (~masks).flatten(1).sum(1).clamp_min(1)

    def pooled(self, maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """What each image takes from the AUROC of all pixels, in which every pixel of a kind weighs alike."""
        above, below = self._costs(maps, masks)
        return above / max(len(self.anomalous), 1) + below / max(len(self.normal), 1)

    def _costs(
        self, maps: Float[Tensor, "n h w"], masks: Bool[Tensor, "n h w"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        above = 1 - torch.searchsorted(self.normal, maps.contiguous()) / max(len(self.normal), 1)
        below = torch.searchsorted(self.anomalous, maps.contiguous(), right=True) / max(len(self.anomalous), 1)
        return (above * masks).flatten(1).sum(1), (below * ~masks).flatten(1).sum(1)


class Worst:
    """Versions of the same images, that before any attack the first, and the choice among them that harms most.

    For the image score it is the lowest of an anomalous and the highest of a normal image, which is the worst AUROC
    that can be chosen. For the maps the best single version is where it starts; each image then goes over to the
    version of most `Harm` against all that are chosen, as long as the pooled pixel AUROC falls. So no single attack
    takes it lower.
    """

    def __init__(
        self,
        maps: Float[Tensor, "n h w"],
        scores: Float[Tensor, " n"],
        masks: Bool[Tensor, "n h w"],
        anomalous: Bool[Tensor, " n"],
    ) -> None:
        self.versions, self.scores, self.masks, self.anomalous = [maps], scores, masks, anomalous
        self._known = located(masks, anomalous)
        """The images that pixel figures are made of; the others stay as the first choice has them."""
        self._harm = Harm(maps[self._known], masks[self._known])
        self._clean = self._harm(maps, masks)

    def update(self, maps: Float[Tensor, "n h w"], scores: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Take one attack; what it added to the harm of each image, held against the maps before any attack."""
        self.versions.append(maps)
        self.scores = torch.where(
            self.anomalous, torch.minimum(scores, self.scores), torch.maximum(scores, self.scores)
        )
        return self._harm(maps, self.masks) - self._clean

    def maps(self) -> Float[Tensor, "n h w"]:
        """The chosen version of each image's map."""
        return self._taken(self.choice())

    def choice(self) -> Int64[Tensor, " n"]:
        """The number of each image's version, 0 before any attack."""
        count = len(self.scores)
        chosen, lowest = torch.zeros(count, dtype=torch.long), math.inf
        for version in range(len(self.versions)):
            start = torch.full((count,), version)
            if (area := self._area(start)) < lowest:
                chosen, lowest = start, area
        for _ in range(SWEEPS):
            harm = Harm(self._taken(chosen)[self._known], self.masks[self._known])
            costs = torch.stack([harm.pooled(maps, self.masks) for maps in self.versions])
            # Who would not gain stays, or two equal versions would be swapped for ever.
            stays = (costs.gather(0, chosen[None])[0] >= costs.amax(0)) | ~self._known
            changed = torch.where(stays, chosen, costs.argmax(0))
            area = self._area(changed)
            if area >= lowest:
                break
            chosen, lowest = changed, area
        return chosen

    def _taken(self, chosen: Int64[Tensor, " n"]) -> Float[Tensor, "n h w"]:
        return torch.stack([self.versions[version][row] for row, version in enumerate(chosen.tolist())])

    def _area(self, chosen: Int64[Tensor, " n"]) -> float:
        """Pooled pixel AUROC of a choice; 0 where a class is missing, and no choice is better than another."""
        area = auroc(self._taken(chosen)[self._known].flatten(), self.masks[self._known].flatten())
        return 0.0 if area is None else area


class Seen:
    """A scoring's viewer that keeps maps and image scores, and all that was said of batches which begin at `wanted`."""

    def __init__(self, wanted: frozenset[int] = frozenset()) -> None:
        self._wanted, self._count = wanted, 0
        self._maps: list[Tensor] = []
        self._scores: list[Tensor] = []
        self.predictions: dict[int, Prediction] = {}

    def __call__(self, batch: Batch, prediction: Prediction) -> None:
        if self._count in self._wanted:
            self.predictions[self._count] = prediction
        self._count += len(batch.ids)
        self._maps.append(prediction.score_map.cpu())
        self._scores.append(prediction.image_score.cpu())

    @property
    def maps(self) -> Float[Tensor, "n h w"]:
        return torch.cat(self._maps)

    @property
    def scores(self) -> Float[Tensor, " n"]:
        return torch.cat(self._scores)


def with_parts(
    threat: Threat,
    threats: Iterable[Threat],
    attacked: Mapping[str, Images],
    views: Mapping[str, Seen],
    anomalous: Bool[Tensor, " n"],
) -> Images:
    """The images of a threat; of the first with goal `any` in its ball whose attack is after a bound, each as that
    threat or another left it, whichever harms the figure more that the first aims at: who may do any harm may hide
    alone, or change the foreground alone."""
    own, aim = attacked[threat.name], aim_of(threat)
    alike = [part for part in threats if (part.norm, part.eps, part.after) == (threat.norm, threat.eps, threat.after)]
    first_of = next(
        (
            part for part in alike
            if (part.goal, part.where, aim_of(part)) == ("any", threat.where, aim) and kind_of(part).spec.bound
        ),
        None,
    )  # fmt: skip
    parts = [part.name for part in alike if part.where in (threat.where, "foreground") and _is_part(part, threat)]
    if threat is not first_of or aim not in ("pixel", "image") or not parts:
        return own
    first, *others = [views[name] for name in (threat.name, *parts)]
    if aim == "pixel":
        worst = Worst(first.maps, first.scores, own.masks, anomalous)
        for other in others:
            worst.update(other.maps, other.scores)
        choice = worst.choice()
    else:
        scores = torch.stack([view.scores for view in (first, *others)])
        choice = torch.where(anomalous, -scores, scores).argmax(0)
    if not choice.any():
        return own
    images = own.images.clone()
    for index, version in enumerate(choice.tolist()):
        images[index] = attacked[(threat.name, *parts)[version]].images[index]
    return replace(own, images=images)


def _is_part(part: Threat, whole: Threat) -> bool:
    """Whether a threat in the ball of another looks for harm in a way of its own: not the same at another length, and
    not one step or a search without a gradient, which are there to be compared with it."""
    ways = [(threat.goal, threat.objective, threat.where) for threat in (part, whole)]
    other = ways[0] != ways[1] or (part.attack != whole.attack and kind_of(part).spec.bound)
    return other and kind_of(part).aims
