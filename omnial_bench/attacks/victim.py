"""The side that is attacked: one or several detectors, frozen for as long as they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from omnial_bench.attacks.objectives import Aim, Objective
from omnial_bench.errors import UserError
from omnial_bench.nouns import Detector, Prediction

PRECISIONS = (None, torch.bfloat16)


class Victim(nn.Module):
    """Detectors behind the face that torchattacks expects: images to logits (b, 2, h, w), labels (b, h, w) of 0 and 1.

    Made by `victim`, which freezes the detectors and puts them back as they were.
    """

    def __init__(self, detectors: Sequence[Detector], *, precision: torch.dtype | None = None) -> None:
        super().__init__()
        self.detectors = nn.ModuleList(detectors)
        self.precision = precision

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 h w"]:
        """Logits 0 for normal and the mean log-odds over the detectors for anomalous."""
        odds = torch.stack([prediction.log_odds for prediction in self.predictions(images)]).mean(0)
        return torch.stack((torch.zeros_like(odds), odds), dim=1)

    def predictions(self, images: Float[Tensor, "b 3 h w"]) -> Iterator[Prediction]:
        """Each detector's prediction in turn, in float32; one at a time, so that one graph at a time need be held.

        Raises UserError where a detector's map has another size than the images.
        """
        for detector in self.detectors:
            with torch.autocast(images.device.type, dtype=self.precision, enabled=self.precision is not None):
                prediction: Prediction = detector(images)
            if prediction.logits.shape[-2:] != images.shape[-2:]:
                got, want = _size(prediction.logits), _size(images)
                raise UserError(
                    f"{type(detector).__name__} gives a {got} map for {want} pictures; "
                    "attack detectors of one network size together"
                )
            yield replace(
                prediction,
                logits=prediction.logits.float(),
                reconstruction=None if prediction.reconstruction is None else prediction.reconstruction.float(),
            )

    def gradient(
        self,
        images: Float[Tensor, "b 3 h w"],
        truth: Bool[Tensor, "b h w"],
        objective: Objective,
        *,
        towards: bool = False,
        progress: float = 0.0,
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, "b 3 h w"]]:
        """The mean of `objective` over the detectors, an image at a time, and its gradient to the images.

        `towards` and `progress` are what an Aim says. The images of a batch do not mix: an image's gradient is that of its own loss. No weight gets a gradient.
        """
        images = images.detach().requires_grad_(True)
        aim = Aim(truth, images, towards, progress)
        loss, gradient = torch.zeros(len(images), device=images.device), torch.zeros_like(images)
        with torch.enable_grad():
            for prediction in self.predictions(images):
                one = objective(prediction, aim)
                gradient += torch.autograd.grad(one.sum(), images)[0]
                loss += one.detach()
        return loss / len(self.detectors), gradient / len(self.detectors)


@contextmanager
def victim(detectors: Sequence[Detector], *, precision: torch.dtype | None = None) -> Iterator[Victim]:
    """The detectors, frozen and in evaluation mode; modes and `requires_grad` are restored after, also after an error.

    `precision` is for the networks alone: None for float32, or bfloat16. float16 is refused, for a gradient of a mean
    over pixels vanishes in it.
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
        yield Victim(detectors, precision=precision).eval()
    finally:
        # One module at a time: `train()` on the whole would thaw batch norms that were frozen before.
        for module, mode in modes:
            module.training = mode
        for weight, required in frozen:
            weight.requires_grad_(required)


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-2]}x{maps.shape[-1]}"
