"""What threats of one ball leave together of each image: who may do any harm may do what each of them does."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.threats import aim_of, kind_of, spec_for
from omnial_bench.config.schema import Threat
from omnial_bench.data.images import Images
from omnial_bench.evaluation.worst import Worst
from omnial_bench.types import Batch, Prediction


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
            if (part.goal, part.where, aim_of(part)) == ("any", threat.where, aim) and spec_for(part).bound
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
    other = ways[0] != ways[1] or (part.attack != whole.attack and spec_for(part).bound)
    return other and kind_of(part).aims
