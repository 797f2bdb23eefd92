"""Patch SVDD (Yi and Yoon, ACCV 2020): embeddings of patches, learnt from where they lie beside each other, and the
distance of each to the nearest of those of normals."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.models.coreset import k_centres, nearest
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import in_full, roots, rows_of
from omnial_bench.models.networks import draw
from omnial_bench.models.options.features import PATCH
from omnial_bench.models.options.features import PatchSVDDOptions as Options
from omnial_bench.models.room import check_room
from omnial_bench.synthesis.patch_pairs import DIRECTIONS, changed, coinciding, neighbouring_places, neighbours
from omnial_bench.types import RGB, Prediction

SMALL, LARGE = PATCH // 2, PATCH
"""Sides of the patches, in pixels."""
STEPS = {SMALL: 4, LARGE: 16}
"""Pixels from one patch of an image to the next, by their side."""
FINEST = 2
"""Pixels between patches whose embeddings a pass over an image gives, of the encoder's one stride."""
SLOPE = 0.1
DRAWN = 10
"""Times as many embeddings as a memory shall hold are drawn, of which its own are picked."""
LEAST = 1e-4
"""Added to both maps, whose product is taken as a sum of logarithms."""


class Encoder(nn.Module):
    """Patches of 32 pixels, and of 64 by their quarters, to embeddings; of whole images those of all patches at once.

    The convolutions have no padding, so that one pass over an image gives what passes over its patches give.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        widths = [3, *(width * factor for factor in (1, 2, 4, 4, 2, 1, 1)), size]
        self.small = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=2 if place == 0 else 1)
            for place, (inputs, outputs) in enumerate(pairwise(widths))
        )
        self.join, self.out = nn.Conv2d(size, 4 * width, 2), nn.Conv2d(4 * width, size, 1)

    def forward(self, images: RGB, *, every: bool = False) -> dict[int, Float[Tensor, "b d gh gw"]]:
        """Embeddings of all patches by their side, which lie as far apart as STEPS says, or FINEST with `every`."""
        places = self._small(images)
        small, large = (1 if every else STEPS[side] // FINEST for side in (SMALL, LARGE))
        return {SMALL: places[..., ::small, ::small], LARGE: self._joined(places, SMALL // FINEST, large)}

    def of_patches(self, patches: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """As `forward`, but only of what is needed."""
        if patches.shape[-1] == SMALL:
            return self._small(patches).flatten(1)
        quarters = patches.reshape(-1, 3, 2, SMALL, 2, SMALL).permute(0, 2, 4, 1, 3, 5)
        embedded = self._small(quarters.flatten(0, 2)).view(len(patches), 2, 2, -1)
        return self._joined(embedded.permute(0, 3, 1, 2), 1, 1).flatten(1)

    def _small(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d gh gw"]:
        for part in self.small[:-1]:
            features = F.leaky_relu(part(features), SLOPE)
        return torch.tanh(self.small[-1](features))

    def _joined(self, places: Float[Tensor, "b d gh gw"], apart: int, step: int) -> Float[Tensor, "b d _h _w"]:
        joined = F.conv2d(places, self.join.weight, self.join.bias, dilation=apart, stride=step)
        return torch.tanh(self.out(F.leaky_relu(joined, SLOPE)))


class Relation(nn.Module):
    """From the difference of two embeddings to which neighbour the second is. As in the published code, the last
    layer's weights are of length 1 by their outputs and do not learn."""

    weight: Float[Tensor, "k d"]

    def __init__(self, size: int) -> None:
        super().__init__()
        hidden = 128
        self.first, self.second = nn.Linear(size, hidden), nn.Linear(hidden, hidden)
        last = nn.Linear(hidden, len(DIRECTIONS))
        draw(self, "plain")
        draw(last, "plain")
        self.register_buffer("weight", F.normalize(last.requires_grad_(False).weight, dim=0))
        self.bias = nn.Parameter(torch.zeros(len(DIRECTIONS)))

    def forward(self, first: Float[Tensor, "b d"], second: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        hidden = F.leaky_relu(self.first(first - second), SLOPE)
        return F.linear(F.leaky_relu(self.second(hidden), SLOPE), self.weight, self.bias)


class PatchSVDD(Learned):
    """The map is the product of two, of small and of large patches, in logarithms: each pixel's mean over the patches
    that it lies in of their distance to the nearest one of normals. Sizes are multiples of 16, 64 at the least, where
    large patches have no neighbours and their relations teach nothing."""

    centre: Float[Tensor, "3 h w"]
    """The mean of the normals, which is taken off."""
    small: Float[Tensor, "n d"]
    large: Float[Tensor, "m d"]

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.encoder = Encoder(options.width, options.size)
        draw(self.encoder, "plain")
        self.relations = nn.ModuleDict({str(side): Relation(options.size) for side in STEPS})
        for name in ("centre", "small", "large"):
            self.register_buffer(name, None)

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """A memory holds all embeddings of its kind, or `options.most` of them that none of the others is far from.
        UserError where the embeddings of all normals do not fit into memory, before anything is learnt."""
        count, total = 0, torch.zeros(())
        for images in normals:
            count, total = count + len(images), total.to(images) + images.sum(0)
        self.centre = total / count
        # Of each batch, and joined.
        size = 2 * sum(part.nbytes for part in self.encoder(self.centre[None]).values())
        check_room(
            count * size, total.device, f"embeddings of {count} normal images", "take fewer or smaller images",
            count=count,
        )  # fmt: skip
        super().fit(normals, generator)
        every = [list(map(rows_of, self.encoder(images - self.centre).values())) for images in normals]
        self.small, self.large = (self._chosen(torch.cat(rows), generator) for rows in zip(*every, strict=True))

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.parameters(), lr)]

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        images, dense = images - self.centre, self.options.dense
        cut = images.repeat_interleave(self.options.patches, 0)
        if dense is not None:
            passes = [self.encoder(changed(images, generator), every=True) for _ in range(2)]
        terms = {}
        for side in STEPS:
            if dense is None:
                *pair, which = neighbours(cut, side, generator)
                first, second = map(self.encoder.of_patches, pair)
            else:
                *pair, which = neighbouring_places(dense * len(images), images.shape[2:], side, generator)
                first, second = (taken(by[side], at) for by, at in zip(passes, pair, strict=True))
                which = which.to(images.device)
            terms[f"position_{side}"] = F.cross_entropy(self.relations[str(side)](first, second), which)
            one, other = (self.encoder.of_patches(patches) for patches in coinciding(cut, side, generator))
            terms[f"svdd_{side}"] = self.options.weight * (one - other).norm(dim=1).mean()
        return terms

    def forward(self, images: RGB) -> Prediction:
        shown = images - self.centre
        maps = []
        for (side, found), memory in zip(self.encoder(shown).items(), (self.small, self.large), strict=True):
            embedded = found.to(images.dtype)
            with in_full(images):
                distances = _to_nearest(rows_of(embedded), memory)
                maps.append(spread(distances.view(len(images), 1, *embedded.shape[2:]), side))
        return self.prediction(images, torch.stack([(part + LEAST).log() for part in maps]).sum(0))

    def _chosen(self, rows: Float[Tensor, "m d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
        most = self.options.most
        if most is None or len(rows) <= most:
            return rows
        drawn = rows[torch.randperm(len(rows), generator=generator)[: DRAWN * most].to(rows.device)]
        return drawn[k_centres(drawn, most, generator)]


def spread(values: Float[Tensor, "b 1 gh gw"], side: int) -> Float[Tensor, "b 1 h w"]:
    """Each pixel's mean over the patches of a side that it lies in."""
    square = values.new_ones(1, 1, side, side)
    total, count = (F.conv_transpose2d(part, square, stride=STEPS[side]) for part in (values, torch.ones_like(values)))
    return total / count


def _to_nearest(rows: Float[Tensor, "n d"], memory: Float[Tensor, "m d"]) -> Float[Tensor, " n"]:
    """Which is nearest is found by products of matrices; the distance is the difference itself, with its gradient."""
    return roots((rows - memory[nearest(rows, memory)]).square().sum(1))


def taken(embedded: Float[Tensor, "b d gh gw"], places: Int64[Tensor, "n 2"]) -> Float[Tensor, "n d"]:
    """Embeddings of the patches at places of the images in their order, as many of each; or at a pixel beside."""
    down, right = (places // FINEST).to(embedded.device).unbind(1)
    image = torch.arange(len(embedded), device=embedded.device).repeat_interleave(len(places) // len(embedded))
    found: Tensor = embedded[image, :, down, right]
    return found
