"""Any torch module that localises anomalies, as a Detector."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError, line_of
from omnial_bench.models.outside import foreign
from omnial_bench.models.outside.calibration import LEAST, Scale, scale_of, to_log_odds
from omnial_bench.models.outside.gradients import named
from omnial_bench.trust import drawing_from, guarded
from omnial_bench.types import RGB, Detector, Prediction, Untrained

log = logging.getLogger(__name__)

UNSTEADY = 1e-2
"""Of a map's standard deviation: by more no value may move when the same images are shown again. Sums that a GPU
takes in another order move less."""
OFF = 2.0**-20
"""How far off 0 and 1 black and white pixels are held: a 4,000th of a grey level, and sixteen roundings of float32 at
1, for what scales images before it cuts them off."""
NEEDS = "; it is to take any number of them: convert them in its forward, and give the size that it needs (--size)"
"""Of a module that failed on its images: what most often mends it."""

Output = Prediction | tuple[Tensor, Tensor | None]
"""What a module says of images: a Prediction, or a map (b, h, w) of the images' size with a score (b) or None."""


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
    def known_as(self) -> str:
        return named(self.module)

    @property
    def is_scaled(self) -> bool:
        """Whether a scale was taken; a module that returns a Prediction has none."""
        return bool((self.temperature != 1).any() or (self.threshold != 0).any())

    def forward(self, images: RGB) -> Prediction:
        """UserError where the module fails, or returns something else than it may."""
        shown = held_off(images) if images.requires_grad and torch.is_grad_enabled() else images
        output = read(_tried(self.module, shown), images)
        if isinstance(output, Prediction):
            return output
        return to_log_odds(*output, self.threshold, self.temperature)


def held_off(images: RGB) -> RGB:
    """The images with black and white a hair inside, for a gradient at all of their pixels.

    A module may cut its input off at 0 and 1. At the ends themselves `clamp` passes the gradient, `minimum` half of it,
    and `hardtanh` and `relu6` none, so that of a part on a white background most pixels would stay where they are.
    """
    with torch.no_grad():
        off = OFF * (images == 0).to(images.dtype) - OFF * (images == 1).to(images.dtype)
    return images + off


def adapt(module: nn.Module, normals: Iterable[RGB]) -> Detector:
    """`module` as a Detector in eval mode, its scale taken from what it says of `normals`, normal images in batches
    that it was not fitted on.

    A Detector is returned as it is. UserError for outputs of another kind or shape, for NaN or infinity, for a map or
    score that says the same of everything, for a module that writes into the images or has parameters without values,
    and for fewer than 8 images. A module that says something else when it is asked again, or of an image alone, is a
    warning.
    """
    if isinstance(module, Detector):
        return module
    with guarded(module, "go to eval mode"):
        module.eval()
    maps: list[Tensor] = []
    scores: list[Tensor] = []
    with torch.no_grad():
        for images in normals:
            shown = images.clone()
            output = read(_tried(module, shown), shown)
            if not maps:
                _check_first(module, output, shown, images)
            if isinstance(output, Prediction):
                return Adapted(module)
            maps.append(output[0])
            if output[1] is not None:
                scores.append(output[1])
    if (count := sum(map(len, maps))) < LEAST:
        raise UserError(
            f"expected at least {LEAST} normal images to take a scale from, got {count}; "
            "add training images, or give normal images of their own as held_out"
        )
    scale = scale_of(scores, "image score") if scores else Scale()
    return Adapted(module, maps=scale_of(maps, "anomaly map"), scores=scale)


def check_detector(detector: Detector, size: tuple[int, int], device: torch.device | str = "cpu") -> None:
    """UserError for a Detector that fails on an image of that size, or says of it what is no Prediction; it is in eval
    mode afterwards."""
    images = torch.zeros(1, 3, *size, device=device)
    with torch.no_grad():
        output = _tried(detector.eval(), images)
    if not isinstance(output, Prediction):
        raise UserError(f"expected a Prediction from {named(detector)}, for it is a Detector, got {_shape(output)}")
    _check_prediction(output, images)


def _tried(module: nn.Module, images: Tensor) -> object:
    """What the module says of images; a failure is one line, with its cause behind it. What torch says of a forward
    that cannot be differentiated, or of a full GPU, is for whoever asked."""
    try:
        return module(images)
    except (UserError, KeyboardInterrupt, torch.OutOfMemoryError):
        raise
    # Somebody else's code may fail in any way, with an assertion or an exit for one.
    except BaseException as error:
        if isinstance(error, RuntimeError) and images.requires_grad and "requires grad" in line_of(error):
            raise
        raise UserError(
            f"{named(module)} failed on {_shown(images)}: {type(error).__name__}: {line_of(error)}"[:300] + NEEDS
        ) from error


def _check_first(module: nn.Module, output: Output, shown: Tensor, images: Tensor) -> None:
    """UserError for what would go wrong later, with what a module said of the first images that it was `shown`."""
    if not torch.equal(shown, images):
        raise UserError(f"{named(module)} writes into the images that it is given; have it work on a copy")
    with guarded(module, "name its parameters and buffers"):
        state = [*module.named_parameters(), *module.named_buffers()]
    if empty := [name for name, tensor in state if is_lazy(tensor)]:
        raise UserError(
            f"{named(module)} has parameters that no image gave a value, such as {empty[0]}; take them out of it"
        )
    first, again = _map_of(output), _map_of(read(_tried(module, shown), shown))
    if float((first - again).abs().max()) > UNSTEADY * float(first.std()):
        log.warning(
            "%s says something else of the same images when it is asked again; every figure is that of one draw, "
            "and attacks chase what moves: take dropout, noise and what it remembers out of its forward", named(module),
        )  # fmt: skip
        return
    alone = _map_of(read(_tried(module, images[:1].clone()), images[:1]))
    if float((first[:1] - alone).abs().max()) > UNSTEADY * float(first.std()):
        log.warning(
            "%s says something else of an image when others lie beside it; its figures depend on what it is shown "
            "with, and attacks see the other images: take what a batch shares, such as its largest value, out of its "
            "forward", named(module),
        )  # fmt: skip


def _map_of(output: Output) -> Tensor:
    return output.log_odds if isinstance(output, Prediction) else output[0]


def is_adapted(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state is that of an adapted module."""
    own = {"threshold", "temperature"}
    return own <= set(tensors) and all(name.startswith("module.") for name in set(tensors) - own)


def restored(
    recipe: Recipe, categories: tuple[str, ...], tensors: Mapping[str, Tensor], *, trusted: Collection[str], where: str
) -> Adapted:
    """The adapted module of a recipe with a place for each tensor of its state, of whatever shape.

    Its factory is called as it was at first, but fits on noise where it asks for normal images: all that it learnt
    is in the tensors. UserError as of `foreign.make`.
    """
    offers: dict[str, Callable[[], Any]] = {
        "normals": lambda: torch.rand(LEAST, 3, *recipe.size, generator=torch.Generator().manual_seed(0)),
        "size": lambda: recipe.size, "categories": lambda: categories,
    }  # fmt: skip
    if len(categories) == 1:
        offers["category"] = lambda: categories[0]
    with drawing_from(torch.Generator().manual_seed(0)):
        module = foreign.make(recipe.detector, recipe.options, trusted=trusted, where=where, offers=offers)
    adapted = Adapted(module)
    make_room(adapted, tensors)
    return adapted


def make_room(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Have the parameters and buffers of a module that tensors are named after be these, of whatever shape; other
    names are left alone."""
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        try:
            owner = module.get_submodule(path)
        except AttributeError:
            continue
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(tensor.clone(), requires_grad=False)
        elif leaf in owner._buffers:
            owner._buffers[leaf] = tensor.clone()


def read(output: object, images: RGB) -> Output:
    """A module's output, on the images' device and of their precision."""
    if isinstance(output, Prediction):
        _check_prediction(output, images)
        return output
    maps, score = output if isinstance(output, tuple | list) and len(output) == 2 else (output, None)
    count, _, *size = images.shape
    if not _is_float(maps) or maps.ndim not in (3, 4) or len(maps) != count or not maps.numel():
        raise _unlike(maps, count)
    if maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps[:, 0]
    if maps.ndim != 3 or (maps[0].numel() == 1 and size != [1, 1]):
        raise _unlike(maps, count)
    if score is not None:
        if not _is_float(score) or score.numel() != count:
            raise UserError(
                f"expected one float image score for each of {count} images, got {_shape(score)}; return the map "
                "first, and a tensor of one number an image after it"
            )
        score = score.flatten().to(images)
    if list(maps.shape[1:]) != size:
        maps = F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return maps.to(images), score


def _check_prediction(prediction: Prediction, images: RGB) -> None:
    """UserError for a Prediction that is none of these images."""
    count, _, *size = images.shape
    shape, logits, scores = tuple(images.shape), prediction.logits, prediction.score
    if not (_is_float(logits) and logits.ndim == 4 and logits.shape[1] > 1) or (
        [len(logits), *logits.shape[2:]] != [count, *size]
    ):
        wanted, got = f"logits of shape ({count}, k, {size[0]}, {size[1]}), k at least 2", _shape(logits)
    elif prediction.reconstruction is not None and not (
        _is_float(prediction.reconstruction) and tuple(prediction.reconstruction.shape) == shape
    ):
        wanted, got = f"a reconstruction of shape {shape}", _shape(prediction.reconstruction)
    elif scores is not None and not (_is_float(scores) and tuple(scores.shape) == (count,)):
        wanted, got = f"an image score of shape ({count},)", _shape(scores)
    elif any(side < 1 or side % 2 == 0 for side in (prediction.smoothing, prediction.pooling)):
        wanted, got = "an odd smoothing and pooling", f"{prediction.smoothing} and {prediction.pooling}"
    else:
        return
    raise UserError(f"expected a Prediction with {wanted}, got {got}; mend the module")


def _is_float(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor of numbers that attacks can follow: a dense one of floats, with values."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type != "meta"
    )


def _unlike(output: object, count: int) -> UserError:
    return UserError(
        f"expected an anomaly map of floats, ({count}, h, w) or ({count}, 1, h, w), a map with an image score, or a "
        f"Prediction, got {_shape(output)}; wrap the module so that it returns one of these, the map first and of more "
        "than one value an image"
    )


def _shown(images: Tensor) -> str:
    height, width = images.shape[-2:]
    some = f"{len(images)} {str(images.dtype).removeprefix('torch.')} image{'s' if len(images) > 1 else ''}"
    return f"{some} of {height}x{width} in [0, 1]"


def _shape(output: object) -> str:
    if not isinstance(output, Tensor):
        return type(output).__name__
    odd = [] if output.is_floating_point() else [str(output.dtype)]
    odd += [] if output.layout == torch.strided else [str(output.layout)]
    odd += ["without values"] if output.device.type == "meta" else []
    return f"a tensor of shape {tuple(output.shape)}" + "".join(f", {word}" for word in odd)
