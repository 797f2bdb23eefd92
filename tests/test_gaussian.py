"""Gaussians of fixed filters: worked cases, the reference by NumPy, and a gradient through all of it."""

from typing import Any

import numpy as np
import pytest
import torch
from learning import check_whole
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.models.gaussian import EDGE, RIDGE, FilterGaussian, Options
from omnial_bench.models.levels import ROUND

pytestmark = pytest.mark.usefixtures("one_thread")


def normals(count: int = 24, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    base = torch.rand(3, side, side, generator=generator)
    return (base + 0.05 * torch.randn(count, 3, side, side, generator=generator)).clamp(0, 1)


def fitted(images: Tensor, batch: int = 7, **options: Any) -> FilterGaussian:
    detector = FilterGaussian(Options(**options)).eval()
    with torch.no_grad():
        detector.fit(torch.split(images, batch), torch.Generator())
    return detector


def test_features_of_a_step_are_worked_by_hand() -> None:
    """A vertical step of 0.5 between the columns 7 and 8; the places beside it see it in half of their columns."""
    images = torch.zeros(1, 3, 16, 16)
    images[..., 8:] = 0.5
    found = FilterGaussian(Options(stride=4, scales=1))._features(images)
    assert found.shape == (1, 7, 4, 4)
    assert found[0, 0, 0].tolist() == pytest.approx([0, 1 / 6, 1 / 3, 0.5])
    # Of four columns of a place the one at the step changes; the mean over three places by three comes behind it.
    edge, flat = (np.hypot(0.5, EDGE) + 3 * EDGE) / 4, EDGE
    right = [(edge + flat) / 2, (2 * edge + flat) / 3, (2 * edge + flat) / 3, (edge + flat) / 2]
    assert found[0, 3, 1].tolist() == pytest.approx(right)
    assert found[0, 4, 1].tolist() == pytest.approx([flat] * 4)


@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_distances_are_those_of_numpy_in_double_precision(shrinkage: float) -> None:
    images, shown = normals(), normals(40)[30:]
    detector = fitted(images, shrinkage=shrinkage)
    features, other = (detector._features(some).double().numpy() for some in (images, shown))
    kinds, high, wide = features.shape[1:]
    each = np.stack([np.cov(features[..., y, x].T, bias=True) for y in range(high) for x in range(wide)])
    shrunk = (1 - shrinkage) * each + shrinkage * each.mean(0) + RIDGE * np.eye(kinds)
    apart = (other - features.mean(0)).transpose(2, 3, 0, 1).reshape(high * wide, -1, kinds)
    squares = np.einsum("pnd,pde,pne->pn", apart, np.linalg.inv(shrunk), apart) / kinds
    with torch.no_grad():
        odds = detector(shown).log_odds
    expected = torch.from_numpy(np.sqrt(squares + ROUND).reshape(high, wide, -1).transpose(2, 0, 1)).float()
    expected = torch.nn.functional.interpolate(expected[:, None], size=(16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(odds, expected, rtol=1e-3, atol=1e-4)


def test_normals_of_one_colour_have_a_scale_still() -> None:
    detector = fitted(torch.full((16, 3, 16, 16), 0.25))
    with torch.no_grad():
        same, other = (detector(torch.full((1, 3, 16, 16), value)).log_odds.amax() for value in (0.25, 0.3))
    assert torch.isfinite(detector.factor).all() and same < 1e-2 < other


def test_the_whole_gradient_reaches_every_pixel() -> None:
    detector = fitted(normals()).double()
    image = normals(30)[29:].double()
    check_whole(lambda shown: detector(shown).log_odds.sum(), image, 1e-5)


def test_a_size_that_its_places_do_not_divide_is_one_line() -> None:
    with pytest.raises(UserError, match="that 4 divides, got 16x18"):
        fitted(torch.rand(16, 3, 16, 18))
