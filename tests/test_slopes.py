"""Slopes that the gradient tells against slopes that forward passes measure."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from masked import Cut, Detached, Honest, Quantised, bent, toy_images
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.aim import Objective
from omnial_bench.attacks.conduct import WHOLE
from omnial_bench.attacks.objectives import balanced, linear
from omnial_bench.attacks.slopes import NEAR, agreement
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import read_recipe
from omnial_bench.data.images import to_float
from omnial_bench.models.registry import build
from omnial_bench.types import Detector, Prediction


def agreed(detector: Detector, side: int = 32, seed: int = 0, objective: Objective = balanced) -> Any:
    clean_images = toy_images()
    images = to_float(clean_images.images, torch.device("cpu"))
    images, masks = images.repeat(1, 1, side // 32, side // 32), clean_images.masks.repeat(1, side // 32, side // 32)
    with victim([detector]) as target:
        return agreement(target, images, masks, objective, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_gradient_agrees_and_a_masked_one_does_not(seed: int) -> None:
    assert agreed(Honest(), seed=seed) > 0.99
    for masked in (Cut, Detached, Quantised):
        assert agreed(masked(), seed=seed) < 0.7, masked


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
    assert agreed(settled(name), side=64) > 0.98


class Other(Detector):
    """One whose log-odds are made of those of another, and of its images."""

    def __init__(self, inner: Detector, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, images: Tensor) -> Prediction:
        return bent(self.inner(images), lambda odds: self.change(odds, images))


def coarse(shown: Tensor) -> Tensor:
    return F.avg_pool2d(shown, 5, 1, 2)


class Before(Detector):
    """One that is shown its images changed."""

    def __init__(self, inner: Detector, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, images: Tensor) -> Prediction:
        return self.inner(self.change(images))


@pytest.mark.parametrize(
    ("change", "whole"),
    [
        (lambda shown: shown.clamp(0, 1), True),
        (lambda shown: shown.sqrt(), True),
        (lambda shown: coarse(shown.sqrt()) + (shown.sqrt() - coarse(shown.sqrt())).detach(), False),
    ],
)
def test_black_and_white_pixels_are_told_inside_of_their_range(change: Callable[[Tensor], Tensor], whole: bool) -> None:
    """Beyond it there is nothing to measure: a detector that cuts off stands still, and a root is NaN."""
    clean_images = toy_images()
    images = (4 * to_float(clean_images.images, torch.device("cpu")) - 1.5).clamp(0, 1)
    assert ((images == 0) | (images == 1)).float().mean() > 0.2
    with victim([Before(Honest(), change)]) as target:
        found = agreement(target, images, clean_images.masks, balanced, torch.Generator().manual_seed(0))
    assert found is not None and (found > 0.99) == whole


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (1e4, 0.0), (1 / 30, 10.0), (1.0, 100.0)])
def test_the_scale_of_log_odds_hides_nothing(scale: float, offset: float) -> None:
    """Of a module that returns a Prediction they are its own."""
    honest, cut = (
        agreed(Other(inner, lambda odds, _: scale * odds + offset), objective=linear) for inner in (Honest(), Cut())
    )
    assert honest > 0.99 and cut < 0.7


def test_a_map_that_is_standardised_image_by_image_is_told() -> None:
    """Of a normal image its mean is the same whatever its pixels do, but for rounding."""
    mean = Other(Honest(), lambda odds, _: (odds - odds.mean((1, 2), keepdim=True)) / odds.std((1, 2), keepdim=True))
    assert agreed(mean, objective=linear) > 0.99


def test_a_map_with_kinks_is_told_by_a_shorter_step() -> None:
    """It goes up and down 1,500 times on the way from black to white."""
    kinked = Other(Honest(), lambda odds, images: odds + 0.1 * (1500 * images.mean(1) % 1.01 - 0.505).abs())
    assert agreed(kinked) > WHOLE


def creased(odds: Tensor, images: Tensor) -> Tensor:
    """Up and down a million times on the way from black to white: too close for float32."""
    return odds + 3e-6 * (1e6 * images.mean(1) % 1.01 - 0.505).abs()


def test_a_map_creased_too_closely_for_float32_is_told_in_float64() -> None:
    """Also where the gradient misses what the creases are laid over."""
    whole = agreed(Other(Honest(), creased))
    missed = agreed(Other(Honest(), lambda odds, images: creased(odds.detach(), images)))
    assert whole > WHOLE > missed


class InFloat32(Detector):
    """A module that computes in its own precision whatever it is given: float64 tells nothing of it, and no error."""

    def forward(self, images: Tensor) -> Prediction:
        return Other(Honest(), creased)(images.float())


def branched(odds: Tensor, images: Tensor) -> Tensor:
    """A small branch is detached, and stands still along steps that float32 cannot tell."""
    signs = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
    return odds + 0.2 * (signs * images.detach().float()).mean(1)


@pytest.mark.parametrize("detector", [InFloat32(), Other(Honest(), branched)])
def test_what_is_not_fit_for_float64_is_told_by_float32(detector: Detector) -> None:
    assert NEAR < agreed(detector) < WHOLE


def test_where_nothing_slopes_nothing_is_told() -> None:
    assert agreed(Other(Honest(), lambda _, images: 0 * images.mean(1))) is None
