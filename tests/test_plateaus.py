"""Pixels without a gradient, and what they do to a map."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from masked import Honest, toy_images
from test_slopes import Before
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks.objectives import linear
from omnial_bench.attacks.plateaus import unfelt
from omnial_bench.attacks.victim import victim
from omnial_bench.data.images import to_float
from omnial_bench.types import ThreatModel


def of(change: Callable[[Tensor], Tensor], eps: Fraction = Fraction(8, 255)) -> float | None:
    """Of a toy detector that is shown its images changed; a third of their pixels are white, and some black."""
    toy = toy_images()
    images = (4 * to_float(toy.images, torch.device("cpu")) - 1).clamp(0, 1)
    with victim([Before(Honest(), change)]) as target:
        return unfelt(target, images, toy.masks, linear, ThreatModel(eps=eps), torch.Generator().manual_seed(0))


def blanked(images: Tensor) -> Tensor:
    white = (images.detach() > 0.98).to(images)
    return images * (1 - white) + white


def cropped(images: Tensor) -> Tensor:
    return F.pad(images[..., 4:-4, 4:-4], (4, 4, 4, 4))


@pytest.mark.parametrize("change", [lambda shown: shown, lambda shown: shown.clamp(0, 1), cropped])
def test_what_is_felt_or_has_no_effect_counts_nothing(change: Callable[[Tensor], Tensor]) -> None:
    assert of(change) == 0


@pytest.mark.parametrize("change", [blanked, lambda shown: shown.clamp(2 / 255, 253 / 255), F.hardtanh])
def test_what_is_flat_at_an_image_and_not_about_it_counts(change: Callable[[Tensor], Tensor]) -> None:
    assert of(change) > 0.1  # type: ignore[operator]


def test_what_is_flat_in_all_of_the_ball_counts_nothing() -> None:
    """At a grey level no white pixel leaves the mask."""
    assert of(blanked, Fraction(1, 255)) == 0


def test_where_noise_moves_nothing_nothing_is_told() -> None:
    assert of(lambda shown: 0 * shown) is None
