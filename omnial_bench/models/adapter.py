"""Any torch module that localises anomalies, as a Detector."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.models import foreign
from omnial_bench.models.calibration import LEAST, Scale, scale_of
from omnial_bench.nouns import Detector, Prediction, Untrained
from omnial_bench.records import Recipe


class Adapted(Untrained):
    """A module that returns an anomaly map (b, h, w) or (b, 1, h, w), a pair of map and image score (b), or a
    Prediction.

    Higher is more anomalous, on any scale. A map of another size than the images is resized (bilinear). `maps` and
    `scores` bring map and score to log-odds and are part of the state; a Prediction has log-odds of its own.
    """

    threshold: Tensor
    temperature: Tensor

    def __init__(self, module: nn.Module, *, maps: Scale = Scale(), scores: Scale = Scale()) -> None:  # noqa: B008
        super().__init__(module)
        self.register_buffer("threshold", torch.tensor([maps.threshold, scores.threshold]))
        self.register_buffer("temperature", torch.tensor([maps.temperature, scores.temperature]))

    @property
    def is_scaled(self) -> bool:
        """Whether a scale was taken; a module that returns a Prediction has none."""
        return bool((self.temperature != 1).any() or (self.threshold != 0).any())

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        """UserError where the module returns something else than it may."""
        found = read(self.module(images), images)
        if isinstance(found, Prediction):
            return found
        maps, score = found
        odds = (maps - self.threshold[0]) / self.temperature[0]
        if score is not None:
            score = (score - self.threshold[1]) / self.temperature[1]
        return Prediction(torch.stack((torch.zeros_like(odds), odds), dim=1), pooling=1, score=score)


def adapt(module: nn.Module, normals: Iterable[Float[Tensor, "b 3 h w"]]) -> Detector:
    """`module` as a Detector in eval mode, its scale taken from what it says of `normals`, normal pictures in batches
    that it was not fitted on.

    A Detector is returned as it is. UserError for outputs of another kind or shape, for NaN or infinity, for a map or
    score that says the same of everything, and for fewer than 8 pictures.
    """
    if isinstance(module, Detector):
        return module
    module = module.eval()
    maps: list[Tensor] = []
    scores: list[Tensor] = []
    with torch.no_grad():
        for images in normals:
            found = read(_tried(module, images), images)
            if isinstance(found, Prediction):
                return Adapted(module)
            maps.append(found[0])
            if found[1] is not None:
                scores.append(found[1])
    if (count := sum(map(len, maps))) < LEAST:
        raise UserError(
            f"expected at least {LEAST} normal pictures to take a scale from, got {count}; "
            "add training pictures, or give normal pictures of their own as held_out"
        )
    scale = scale_of(scores, "image score") if scores else Scale()
    return Adapted(module, maps=scale_of(maps, "anomaly map"), scores=scale)


def _tried(module: nn.Module, images: Tensor) -> object:
    """What the module says of the first pictures that it is shown; a failure is one line, with its cause behind it."""
    try:
        return module(images)
    except UserError:
        raise
    # Somebody else's code may fail in any way, with an assertion for one.
    except Exception as error:
        raise UserError(
            f"{type(module).__name__} failed on pictures of shape {tuple(images.shape)}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"[:300]
        ) from error


def is_adapted(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state is that of an adapted module."""
    return {"threshold", "temperature"} <= set(tensors)


def restored(
    recipe: Recipe, categories: tuple[str, ...], tensors: Mapping[str, Tensor], *, trusted: Collection[str], where: str
) -> Adapted:
    """The adapted module of a recipe with a place for each tensor of its state, of whatever shape.

    Its factory is called as it was at first, but fits on noise where it asks for normal pictures: all that it learnt
    is in the tensors. UserError as of `foreign.make`.
    """
    offers: dict[str, Callable[[], Any]] = {
        "normals": lambda: torch.rand(LEAST, 3, *recipe.size, generator=torch.Generator().manual_seed(0)),
        "size": lambda: recipe.size, "categories": lambda: categories,
    }  # fmt: skip
    if len(categories) == 1:
        offers["category"] = lambda: categories[0]
    with foreign.drawing_from(torch.Generator().manual_seed(0)):
        module = foreign.make(recipe.detector, recipe.options, trusted=trusted, where=where, offers=offers)
    adapted = Adapted(module)
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        try:
            owner = adapted.get_submodule(path)
        except AttributeError:
            continue
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(tensor.clone(), requires_grad=False)
        elif leaf in owner._buffers:
            owner._buffers[leaf] = tensor.clone()
    return adapted


def read(output: object, images: Float[Tensor, "b 3 h w"]) -> Prediction | tuple[Tensor, Tensor | None]:
    """A module's output as a Prediction, or as a map (b, h, w) of the images' size with a score (b) or None."""
    if isinstance(output, Prediction):
        return output
    maps, score = output if isinstance(output, tuple | list) and len(output) == 2 else (output, None)
    count, _, *size = images.shape
    if not isinstance(maps, Tensor) or not maps.is_floating_point() or len(maps) != count:
        raise _unlike(maps, count)
    if maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    if maps.ndim != 3:
        raise _unlike(maps, count)
    if score is not None:
        if not isinstance(score, Tensor) or score.numel() != count:
            raise UserError(f"expected one image score for each of {count} images, got {_shape(score)}")
        score = score.flatten().float()
    if list(maps.shape[1:]) != size:
        maps = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return maps.float(), score


def _unlike(output: object, count: int) -> UserError:
    return UserError(
        f"expected an anomaly map of shape ({count}, h, w) or ({count}, 1, h, w), a map with an image score, or a "
        f"Prediction, got {_shape(output)}; wrap the module so that it returns one of these"
    )


def _shape(output: object) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
