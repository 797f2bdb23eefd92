"""PatchCore: the distance of each place's features to a memory of those of normals (Roth et al. 2022)."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.models.backbone import Backbone
from omnial_bench.models.coreset import k_centres, nearest, project
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.levels import in_full, to_pixels
from omnial_bench.models.options.features import PatchCoreOptions as Options
from omnial_bench.models.patches import patches
from omnial_bench.models.room import check_room
from omnial_bench.types import RGB, Prediction

ROUND = 1e-6
"""Of the mean squared length of the memory's features: added under the root, whose slope has no bound at 0."""


class PatchCore(Fitted):
    """Features of each place and its neighbours, their distance to the nearest in a memory of any size.

    Features are those of patches (`patches`). The nearest is looked for by products of matrices; its distance is then
    the difference itself, with its whole gradient.
    """

    centre: Float[Tensor, " d"]
    """Mean of the normals' features, which is taken off: lengths are short then, and products round less."""
    memory: Float[Tensor, "m d"]

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        self.register_buffer("centre", None)
        self.register_buffer("memory", None)

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """In two passes: images are counted first. UserError where their features do not fit into memory."""
        count, vectors, filled = sum(map(len, normals)), None, 0
        for images in normals:
            features = self._features(images)
            if vectors is None:
                places, width = features.shape[2] * features.shape[3], features.shape[1]
                # The features, their projection, and distances.
                check_room(
                    4 * count * places * (2 * width + 2), features.device, f"features of {count} normal images",
                    "take fewer or smaller images, or fit one model to fewer categories", count=count,
                )  # fmt: skip
                vectors = features.new_empty(count * places, width)
            rows = features.flatten(2).mT.reshape(-1, width)
            vectors[filled : filled + len(rows)] = rows
            filled += len(rows)
        if vectors is None:
            raise UserError("expected normal images to remember, got none; add some")
        self.centre = vectors.mean(0)
        vectors -= self.centre
        size = min(max(1, round(self.options.share * len(vectors))), self.options.most or len(vectors))
        self.memory = vectors[k_centres(project(vectors, generator), size, generator)]

    def forward(self, images: RGB) -> Prediction:
        features = self._features(images)
        with in_full(images):
            vectors = features.flatten(2).mT - self.centre
            squares = self.memory.square().sum(1)
            places = nearest(vectors.flatten(0, 1), self.memory, squares).reshape(vectors.shape[:2])
            least = ROUND * squares.mean()
            distances = _distances(vectors, self.memory[places], least)
            maps = distances.reshape(-1, *features.shape[2:])
            maps = to_pixels(maps, (images.shape[2], images.shape[3]), self.options.sigma)
            return self.prediction(images, maps, self._score(vectors, places, distances, least))

    def _features(self, images: RGB) -> Float[Tensor, "b d gh gw"]:
        return patches([level.to(images.dtype) for level in self.backbone(images)], self.options.pooled)

    def _score(
        self, vectors: Float[Tensor, "b p d"], places: Int64[Tensor, "b p"], distances: Float[Tensor, "b p"],
        least: Float[Tensor, ""],
    ) -> Float[Tensor, " b"]:  # fmt: skip
        """The largest distance of an image, less where the nearest feature lies apart from those around it in the
        memory (Roth et al. 2022, Eq. 7): they are as near to the image's then, which is rare and not strange."""
        largest, place = distances.max(1)
        each = torch.arange(len(place), device=place.device)
        worst, reference = vectors[each, place], self.memory[places[each, place]]
        count = min(self.options.neighbours, len(self.memory))
        if count == 1:
            return largest
        around = self.memory[torch.cdist(reference, self.memory).topk(count, largest=False).indices]
        apart = _distances(worst[:, None], around, least)
        return largest * (1 - torch.softmax(apart, 1)[:, 0])


def _distances(
    vectors: Float[Tensor, "*b d"], others: Float[Tensor, "*b d"], least: Float[Tensor, ""]
) -> Float[Tensor, "*b"]:
    return ((vectors - others).square().sum(-1) + least).sqrt()
