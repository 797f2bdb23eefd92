"""Any torch module that localises anomalies, as a Detector."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.nouns import Detector, Prediction, Untrained

QUANTILE = 0.995
"""Of the values on normal pictures: where log-odds of 0 come to lie."""


class Adapted(Untrained):
    """A module that returns an anomaly map (b, h, w) or (b, 1, h, w), a pair of map and image score (b), or a
    Prediction.

    Higher is more anomalous, on any scale. A map of another size than the images is resized (bilinear). `centre` and
    `scale` bring map and score to the order of log-odds, each as (map, score): no ranking changes by that, but attacks
    differentiate through a softplus, which must be neither flat nor straight there.
    """

    def __init__(
        self, module: nn.Module, *, centre: tuple[float, float] = (0.0, 0.0), scale: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        super().__init__(module)
        self.centre, self.scale = centre, scale

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        """UserError where the module returns something else than it may."""
        found = read(self.module(images), images)
        if isinstance(found, Prediction):
            return found
        maps, score = found
        odds = (maps - self.centre[0]) / self.scale[0]
        if score is not None:
            score = (score - self.centre[1]) / self.scale[1]
        return Prediction(torch.stack((torch.zeros_like(odds), odds), dim=1), pooling=1, score=score)


def adapt(module: nn.Module, normals: Iterable[Float[Tensor, "b 3 h w"]]) -> Detector:
    """`module` as a Detector in eval mode, its scale taken from what it says of normal training pictures.

    A Detector is returned as it is. UserError for outputs of another kind or shape, and for NaN or infinity.
    """
    if isinstance(module, Detector):
        return module
    module = module.eval()
    maps: list[Tensor] = []
    scores: list[Tensor] = []
    with torch.no_grad():
        for images in normals:
            found = read(module(images), images)
            if isinstance(found, Prediction):
                return Adapted(module)
            maps.append(found[0].flatten())
            if found[1] is not None:
                scores.append(found[1])
    (map_centre, map_scale), (score_centre, score_scale) = _spread(maps), _spread(scores)
    return Adapted(module, centre=(map_centre, score_centre), scale=(map_scale, score_scale))


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


def _spread(values: list[Tensor]) -> tuple[float, float]:
    """A high quantile and the standard deviation; 0 and 1 where there is nothing, or nothing spreads."""
    if not values:
        return 0.0, 1.0
    every = torch.cat(values).double().flatten()
    if not torch.isfinite(every).all():
        raise UserError("expected finite anomaly maps and scores, got NaN or infinity; mend the detector")
    rank = min(len(every) - 1, int(QUANTILE * len(every)))
    spread = float(every.std(unbiased=False))
    return float(every.sort().values[rank]), spread if spread > 0 else 1.0


def _unlike(output: object, count: int) -> UserError:
    return UserError(
        f"expected an anomaly map of shape ({count}, h, w) or ({count}, 1, h, w), a map with an image score, or a "
        f"Prediction, got {_shape(output)}; wrap the module so that it returns one of these"
    )


def _shape(output: object) -> str:
    return f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
