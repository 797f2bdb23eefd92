"""The side that is attacked: one or several detectors, frozen for as long as they are."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from textwrap import shorten

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from omnial_bench.attacks.aim import Aim, Masks, Objective, PerImage, Rivals
from omnial_bench.attacks.objectives import STEADY
from omnial_bench.errors import UserError, line_of
from omnial_bench.types import RGB, Detector, Prediction, Untrained

PRECISIONS = (None, torch.bfloat16)


class Victim(nn.Module):
    """Detectors behind the face that torchattacks expects: images to logits (b, 2, h, w), labels (b, h, w) of 0 and 1.

    Made by `victim`, which freezes the detectors and puts them back as they were.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        precision: torch.dtype | None = None,
        rivals: Sequence[Rivals | None] = (),
        threshold: float = math.inf,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        """The image score above which an image raises an alarm; infinite where none is known."""
        self.detectors = nn.ModuleList(detectors)
        self.precision = precision
        self.rivals = list(rivals) or [None] * len(detectors)

    def forward(self, images: RGB) -> Float[Tensor, "b 2 h w"]:
        """Logits 0 for normal and the mean log-odds over the detectors for anomalous."""
        odds = torch.stack([prediction.log_odds for prediction in self.predictions(images)]).mean(0)
        return torch.stack((torch.zeros_like(odds), odds), dim=1)

    def predictions(self, images: RGB) -> Iterator[Prediction]:
        """Each detector's prediction in turn, in the images' precision; one at a time, so that one graph at a time need
        be held.

        Raises UserError where a detector's map has another size than the images, or where its forward cannot be
        differentiated.
        """
        for detector in self.detectors:
            try:
                with torch.autocast(images.device.type, dtype=self.precision, enabled=self.precision is not None):
                    # A copy, for a detector that writes into its images must not write into the attack's.
                    prediction: Prediction = detector(images.clone())
            except RuntimeError as error:
                # What torch says of numpy() in a forward that is differentiated.
                if "requires grad" not in line_of(error):
                    raise
                raise _no_gradient(detector, line_of(error)) from error
            if prediction.logits.shape[-2:] != images.shape[-2:]:
                got, want = _size(prediction.logits), _size(images)
                raise UserError(
                    f"{_named(detector)} gives a {got} map for {want} images; "
                    "attack detectors of one network size together"
                )
            yield replace(
                prediction,
                logits=prediction.logits.to(images.dtype),
                reconstruction=None
                if prediction.reconstruction is None
                else prediction.reconstruction.to(images.dtype),
            )

    def gradient(
        self, images: RGB, truth: Masks, objective: Objective, *, towards: bool = False, progress: float = 0.0
    ) -> tuple[PerImage, RGB]:
        """The mean of `objective` over the detectors, an image at a time, and its gradient to the images.

        `truth` holds labels as of `objectives`, where False is NORMAL and True ANOMALOUS; `towards` and `progress` are
        what an Aim says. The images of a batch do not mix: an image's gradient is that of its own loss. No weight gets
        a gradient. Raises UserError for a detector that gives no gradient to its input; and, at progress 0 alone, for
        looking makes a GPU wait, for one whose logits or gradients are NaN or infinite.
        """
        images = images.detach().requires_grad_(True)
        aim = Aim.at(truth, images, towards, progress)
        loss, gradient = torch.zeros_like(images[:, 0, 0, 0]), torch.zeros_like(images)
        with torch.enable_grad():
            for detector, rivals, prediction in zip(self.detectors, self.rivals, self.predictions(images), strict=True):
                one = objective(prediction, replace(aim, rivals=rivals))
                found = _gradient(one, images, detector, prediction)
                if progress == 0:
                    _require_finite(detector, logits=prediction.logits, gradient=found, loss=one.detach())
                gradient += found
                loss += one.detach()
        return loss / len(self.detectors), gradient / len(self.detectors)

    @torch.no_grad()
    def value(
        self, images: RGB, truth: Masks, objective: Objective, *, towards: bool = False, progress: float = 0.0
    ) -> PerImage:
        """The mean of `objective` over the detectors, an image at a time, by forward passes alone."""
        aim = Aim.at(truth, images, towards, progress)
        loss = torch.zeros_like(images[:, 0, 0, 0])
        for rivals, prediction in zip(self.rivals, self.predictions(images), strict=True):
            loss += objective(prediction, replace(aim, rivals=rivals))
        return loss / len(self.detectors)


class Lookout:
    """Objective and gradient of a batch along the steps of an attack, asked for only where an image has moved.

    An image that lies where it was last looked at has the gradient that it had: once it is stuck, by a gradient of
    zero, a bound of zero or the corner of the ball that it is pushed into, it costs no pass and takes no place in the
    batch. Only for objectives in STEADY; with any other, every image is looked at in every step.
    """

    def __init__(self, target: Victim, truth: Masks, objective: Objective, *, towards: bool = False) -> None:
        self.target = target
        self.truth = truth
        self.objective = objective
        self.towards = towards
        self._seen: Tensor | None = None
        self._loss = self._slope = torch.zeros(())

    @property
    def recalls(self) -> bool:
        """Whether an image that is looked at again costs no pass."""
        return self.objective in STEADY

    def know(self, images: RGB, loss: PerImage, slope: RGB) -> None:
        """Takes what has been seen of these images for the last look."""
        self._seen, self._loss, self._slope = images, loss, slope

    def gradient(self, images: RGB, progress: float) -> tuple[PerImage, RGB]:
        """As `Victim.gradient`."""
        rows = self._moved(images)
        if rows is None:
            self._loss, self._slope = self.target.gradient(
                images, self.truth, self.objective, towards=self.towards, progress=progress
            )
        elif len(rows):
            loss, slope = self.target.gradient(
                images[rows], self.truth[rows], self.objective, towards=self.towards, progress=progress
            )
            self._loss, self._slope = self._loss.index_copy(0, rows, loss), self._slope.index_copy(0, rows, slope)
        self._seen = images
        return self._loss, self._slope

    def value(self, images: RGB) -> PerImage:
        """As `Victim.value`, at progress 0."""
        rows = self._moved(images)
        if rows is None:
            return self.target.value(images, self.truth, self.objective, towards=self.towards)
        if not len(rows):
            return self._loss
        loss = self.target.value(images[rows], self.truth[rows], self.objective, towards=self.towards)
        return self._loss.index_copy(0, rows, loss)

    def _moved(self, images: RGB) -> Int64[Tensor, " n"] | None:
        """The images that have moved since the last look; None for all of them."""
        if self._seen is None or not self.recalls:
            return None
        rows = (images != self._seen).flatten(1).any(1).nonzero()[:, 0]
        return None if len(rows) == len(images) else rows


class _Segmenter(Untrained):
    """A module as torchattacks knows them for dense labels: images in [0, 1] to logits of two classes (b, 2, h, w)."""

    def forward(self, images: RGB) -> Prediction:
        logits = self.module(images)
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[1] != 2:
            got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(f"expected logits of shape (b, 2, h, w) from {self.known_as}, got {got}")
        return Prediction(logits)


def as_victim(model: nn.Module) -> Victim:
    """A victim as it is; any other module as one of torchattacks' kind, images to logits (b, 2, h, w)."""
    if isinstance(model, Victim):
        return model
    found = Victim([_Segmenter(model)])
    # torchattacks puts its model back into the mode that it says it is in.
    found.training = model.training
    return found


def _gradient(loss: PerImage, images: RGB, detector: nn.Module, prediction: Prediction) -> RGB:
    """The gradient to the images; UserError where the detector, or what the objective takes of it, has none, and in
    place of what somebody else's hooks and backward passes fail with, which may be anything, as in a forward."""
    if not loss.requires_grad:
        raise _no_gradient(detector, f"its {_cut(prediction)} does not depend on it")
    try:
        (found,) = torch.autograd.grad(loss.sum(), images, allow_unused=True)
    except (UserError, KeyboardInterrupt, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        why = line_of(error)
        if isinstance(error, RuntimeError) and ("not require grad" in why or "derivative" in why):
            raise _no_gradient(detector, why) from error
        line = f"{_named(detector)} failed on the way back from its output to the images: {type(error).__name__}: {why}"
        line = shorten(line, 280, placeholder=" ...")
        raise UserError(f"{line}; mend it, or try the attack square, which needs no gradient") from error
    if found is None:
        raise _no_gradient(detector, f"its {_cut(prediction)} does not depend on it")
    gradient: Tensor = found
    return gradient


def _cut(prediction: Prediction) -> str:
    """What of it has no gradient."""
    if not prediction.score_map.requires_grad:
        return "map" if prediction.image_score.requires_grad else "output"
    return "output" if prediction.image_score.requires_grad else "image score"


def _no_gradient(detector: nn.Module, why: str) -> UserError:
    return UserError(
        f"expected a gradient from the output of {_named(detector)} to its input, got none "
        f"({why[:200].rstrip('.')}); take detach, no_grad and numpy out of its forward, "
        "or try the attack square, which needs no gradient"
    )


def _named(detector: nn.Module) -> str:
    return detector.known_as if isinstance(detector, Untrained) else type(detector).__name__


def _require_finite(detector: nn.Module, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            what = "NaN" if torch.isnan(tensor).any() else "infinite values"
            raise UserError(
                f"expected finite {name} from {_named(detector)}, got {what}; "
                "return logits, not logarithms of probabilities that can be 0, keep roots and divisions off 0 "
                "and exponentials small"
            )


@contextmanager
def victim(
    detectors: Sequence[Detector],
    *,
    precision: torch.dtype | None = None,
    rivals: Sequence[Rivals | None] = (),
    threshold: float = math.inf,
) -> Iterator[Victim]:
    """The detectors, frozen and in evaluation mode; modes and `requires_grad` are restored after, also after an error.

    `precision` is for the networks alone: None for float32, or bfloat16. float16 is refused, for a gradient of a mean
    over pixels vanishes in it. `rivals` are what each says of all images, for objectives that look at them.
    """
    if not detectors:
        raise UserError("expected at least one detector to attack, got none; name a source model")
    if precision not in PRECISIONS:
        raise UserError(f"expected precision float32 or bfloat16 for attacks, got {precision}; try bfloat16")
    modes = [(module, module.training) for detector in detectors for module in detector.modules()]
    frozen = [(weight, weight.requires_grad) for detector in detectors for weight in detector.parameters()]
    try:
        for weight, _ in frozen:
            weight.requires_grad_(False)
        yield Victim(detectors, precision=precision, rivals=rivals, threshold=threshold).eval()
    finally:
        # One module at a time: `train()` on the whole would thaw batch norms that were frozen before.
        for module, mode in modes:
            module.training = mode
        for weight, required in frozen:
            weight.requires_grad_(required)


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-2]}x{maps.shape[-1]}"
