"""Detectors of the library anomalib (2.7 and later), in one line; it is not imported here."""

from pathlib import Path
from typing import Any

from torch import nn

from omnial_bench.errors import UserError, line_of
from omnial_bench.models.outside.gradients import ForwardOnly, Whole, Wrapper
from omnial_bench.types import RGB


class Unclamped(Wrapper):
    """A model of anomalib's from images (b, 3, h, w) in [0, 1] to its map and image score, before its post-processor
    clamps them to [0, 1], which has no gradient beyond."""

    def __init__(self, model: nn.Module, pre_processor: nn.Module | None) -> None:
        super().__init__(model)
        self.pre_processor = pre_processor

    def forward(self, images: RGB) -> Any:
        """A map, or a pair of map and score. UserError for a model that gives no map."""
        batch = self.module(images if self.pre_processor is None else self.pre_processor(images))
        try:
            maps, score = batch.anomaly_map, batch.pred_score
        except AttributeError as error:
            raise UserError(
                f"expected an InferenceBatch from {type(self.module).__name__}, got {type(batch).__name__}; "
                "give an anomalib model, or any module that returns a map to benchmark itself"
            ) from error
        if maps is None:
            raise UserError(f"{type(self.module).__name__} gives image scores and no anomaly map; try another model")
        return maps if score is None else (maps, score)


def from_anomalib(model: nn.Module | str | Path, kind: Any = None, *, gradient: bool = True) -> nn.Module:
    """A trained model of anomalib as a module for `benchmark`: `ob.from_anomalib(Padim.load_from_checkpoint(path))`.

    `model` is an AnomalibModule (its pre-processor is kept, its post-processor left out), its inner torch model, or the
    path of a checkpoint, of which `kind`, the model's class, loads weights and settings and no code. Where the library
    cuts the gradient, as around frozen feature extractors, it is restored; that it is whole is held against
    forward passes when the model is given its scale, and it is refused where it is not. Without `gradient` it is
    attacked by forward passes alone. Give `held_out` images to `benchmark`, or every image of a memory bank's fit is
    in its scale. UserError for what is no such model, and for one that crops its images.
    """
    if not isinstance(model, nn.Module | str | Path):
        raise UserError(f"expected a model of anomalib or the path of a checkpoint, got {type(model).__name__}")
    if not isinstance(model, nn.Module):
        model = _loaded(Path(model), kind)
    inner, pre_processor = getattr(model, "model", None), getattr(model, "pre_processor", None)
    if not isinstance(inner, nn.Module):
        inner, pre_processor = model, None
    pre_processor = pre_processor if isinstance(pre_processor, nn.Module) else None
    _check_frame(pre_processor)
    unclamped = Unclamped(inner, pre_processor)
    return (Whole(unclamped) if gradient else ForwardOnly(unclamped)).eval()


def _loaded(path: Path, kind: Any) -> nn.Module:
    if not path.is_file():
        raise UserError(f"no checkpoint of anomalib at {path}; check the path")
    if kind is None:
        raise UserError(f"expected the model's class beside the checkpoint {path}, such as kind=anomalib.models.Padim")
    try:
        model = kind.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {line_of(error)}"[:160]
        if type(error).__name__ == "UnpicklingError" or "Weights only load failed" in reason:
            raise UserError(
                f"{path} could not be loaded without running code from it ({reason}); if you trust it, load it with "
                "anomalib and give the model itself"
            ) from error
        raise UserError(
            f"{path} is no checkpoint of {getattr(kind, '__name__', kind)} as it is here ({reason}); give the class "
            "that it was saved from, and install the version of anomalib"
        ) from error
    if not isinstance(model, nn.Module):
        raise UserError(f"expected a torch.nn.Module from {path}, got {type(model).__name__}")
    return model


def _check_frame(pre_processor: nn.Module | None) -> None:
    """UserError for a crop: the map would lie on a part of the image and be held against the whole mask."""
    modules = [] if pre_processor is None else [type(module).__name__ for module in pre_processor.modules()]
    if crops := [name for name in modules if "Crop" in name]:
        raise UserError(
            f"the model's pre-processor crops its images ({crops[0]}), so its map does not lie on the whole image; "
            "train it with a pre-processor that resizes alone"
        )
