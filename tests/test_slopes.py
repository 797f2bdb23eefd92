"""Slopes that the gradient tells against slopes that forward passes measure."""

import pytest
import torch
from masked import MASKED, Cut, Honest, toy_images
from torch import Tensor

from omnial_bench.attacks.aim import Objective
from omnial_bench.attacks.conduct import WHOLE
from omnial_bench.attacks.objectives import balanced, linear
from omnial_bench.attacks.slopes import NEAR, agreement
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import read_recipe
from omnial_bench.data.images import to_float
from omnial_bench.models.registry import build
from omnial_bench.types import Detector, Prediction


def agreed(detector: Detector, side: int = 32, seed: int = 0, objective: Objective = balanced) -> float | None:
    clean_images = toy_images()
    images = to_float(clean_images.images, torch.device("cpu"))
    images, masks = images.repeat(1, 1, side // 32, side // 32), clean_images.masks.repeat(1, side // 32, side // 32)
    with victim([detector]) as target:
        return agreement(target, images, masks, objective, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_gradient_agrees_and_a_masked_one_does_not(seed: int) -> None:
    found = agreed(Honest(), seed=seed)
    assert found is not None and found > 0.99
    for masked in (Cut, MASKED["detached"], MASKED["quantised"]):
        found = agreed(masked(), seed=seed)
        assert found is not None and found < 0.7, masked


def settled(name: str) -> Detector:
    """A detector whose map sees the image, as after training: its batch norms know its features, its head is loud."""
    detector = build(read_recipe(name, "tiny"), torch.Generator().manual_seed(0)).train()
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        # In training mode no norm looks at its statistics, so this is what forty passes of one batch leave.
        for norm in (part for part in detector.modules() if isinstance(part, torch.nn.BatchNorm2d)):
            norm.momentum = 1 - (1 - norm.momentum) ** 40
        detector(images)
        detector.localisation.out.weight *= 300
    return detector.eval()


@pytest.mark.parametrize("name", ["draem", "jnld"])
def test_the_detectors_of_this_project_hide_nothing(name: str) -> None:
    found = agreed(settled(name), side=64)
    assert found is not None and found > 0.98


class Rescaled(Detector):
    """Another detector, its log-odds on another scale."""

    def __init__(self, inner: Detector, scale: float, offset: float) -> None:
        super().__init__()
        self.inner, self.scale, self.offset = inner, scale, offset

    def forward(self, images: Tensor) -> Prediction:
        odds = self.scale * self.inner(images).log_odds + self.offset
        return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), pooling=5)


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (1e4, 0.0), (1 / 30, 10.0), (1.0, 100.0)])
def test_the_scale_of_log_odds_hides_nothing(scale: float, offset: float) -> None:
    """Of a module that returns a Prediction they are its own."""
    honest, cut = (agreed(Rescaled(inner, scale, offset), objective=linear) for inner in (Honest(), Cut()))
    assert honest is not None and honest > 0.99
    assert cut is not None and cut < 0.7


class Kinked(Honest):
    """Its map goes up and down 1,500 times on the way from black to white."""

    def forward(self, images: Tensor) -> Prediction:
        odds = super().forward(images).log_odds + 0.1 * (1500 * images.mean(1) % 1.01 - 0.505).abs()
        return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), pooling=5)


def test_a_map_with_kinks_is_told_by_a_shorter_step() -> None:
    found = agreed(Kinked())
    assert found is not None and found > WHOLE


class Creased(Honest):
    """Its map goes up and down a million times on the way from black to white: too close for float32."""

    def forward(self, images: Tensor) -> Prediction:
        odds = super().forward(images).log_odds + 3e-6 * (1e6 * images.mean(1) % 1.01 - 0.505).abs()
        return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), pooling=5)


class CreasedHalf(Creased):
    """The same, and the gradient misses what the creases are laid over."""

    def forward(self, images: Tensor) -> Prediction:
        plain = Honest.forward(self, images).log_odds
        odds = super().forward(images).log_odds - plain + plain.detach()
        return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), pooling=5)


def test_a_map_creased_too_closely_for_float32_is_told_in_float64() -> None:
    found, half = agreed(Creased()), agreed(CreasedHalf())
    assert found is not None and found > WHOLE
    assert half is not None and half < WHOLE


class InFloat32(Creased):
    """A module that computes in its own precision whatever it is given: float64 tells nothing of it, and no error."""

    def forward(self, images: Tensor) -> Prediction:
        return super().forward(images.float())


class HalfInFloat32(Honest):
    """A small branch is detached, and stands still along steps that float32 cannot tell."""

    def forward(self, images: Tensor) -> Prediction:
        signs = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
        odds = super().forward(images).log_odds + 0.2 * (signs * images.detach().float()).mean(1)
        return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), pooling=5)


@pytest.mark.parametrize("detector", [InFloat32(), HalfInFloat32()])
def test_what_is_not_fit_for_float64_is_told_by_float32(detector: Detector) -> None:
    found = agreed(detector)
    assert found is not None and NEAR < found < WHOLE


class Constant(Honest):
    """Says the same of every image, by way of it."""

    def forward(self, images: Tensor) -> Prediction:
        odds = 0 * images.mean(1, keepdim=True)
        return Prediction(torch.cat((odds, odds), 1), pooling=5)


def test_where_nothing_slopes_nothing_is_told() -> None:
    assert agreed(Constant()) is None
