"""Gaussians by the chain rule against full covariances in NumPy, and maps of places as maps of pixels."""

import warnings
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.models.chain import Moments, nest, squares, unnest
from omnial_bench.models.levels import smoothed, to_pixels
from omnial_bench.models.room import check_room

pytestmark = pytest.mark.usefixtures("one_thread")
RATIOS = [2, 1, 3]
SIDES = ((2, 3), (4, 6), (4, 6), (12, 18))


def maps(count: int, seed: int) -> list[Tensor]:
    """Of 3, 2, none and 4 channels, coarse to fine, which hang together."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(count, 1, 1, 1, generator=generator)
    return [
        common + torch.randn(count, width, *side, generator=generator)
        for width, side in zip((3, 2, 0, 4), SIDES, strict=True)
    ]


def nested(levels: list[Tensor]) -> list[Tensor]:
    return [nest(level, RATIOS[:place]) for place, level in enumerate(levels)]


def repeated(levels: list[Tensor]) -> np.ndarray:
    """All channels at the finest places, `h w b d`."""
    every = torch.cat([F.interpolate(level, SIDES[-1]) for level in levels if level.shape[1]], 1)
    return every.double().permute(2, 3, 0, 1).numpy()


@pytest.mark.parametrize("count", [40, 5])
def test_distances_are_those_of_a_full_covariance_at_each_place(count: int) -> None:
    """Also of fewer normals than channels, where the ridge alone makes a covariance invertible."""
    normals, shown = maps(count, 0), maps(3, 1)
    moments = Moments()
    for part in zip(*(torch.split(level, 3) for level in normals), strict=True):
        moments.add(nested(list(part)))
    apart = [part - mean[:, None].float() for part, mean in zip(nested(shown), moments.means(), strict=True)]
    found = unnest(squares(apart, moments.whitened(0.01)), SIDES[0], RATIOS)
    features, others = repeated(normals), repeated(shown)
    assert found.shape == (3, *SIDES[-1])
    for y, x in np.ndindex(SIDES[-1]):
        inverse = np.linalg.inv(np.cov(features[y, x].T) + 0.01 * np.eye(9))
        off = others[y, x] - features[y, x].mean(0)
        expected = np.einsum("bd,de,be->b", off, inverse, off)
        assert found[:, y, x].tolist() == pytest.approx(expected.tolist(), rel=2e-5)


def test_nesting_is_undone() -> None:
    values = torch.arange(2 * 12 * 18.0).reshape(2, 1, 12, 18)
    order = nest(values, RATIOS)[..., 0]
    torch.testing.assert_close(unnest(order, SIDES[0], RATIOS), values[:, 0], rtol=0, atol=0)
    # The places beneath the second of the coarsest follow those beneath the first.
    assert sorted(order[36:72, 0].tolist()) == sorted(values[0, 0, :6, 6:12].flatten().tolist())


def test_sums_larger_than_memory_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnial_bench.models.room._available", lambda _: 2**14)
    with pytest.raises(UserError, match=r"Gaussians take .* GiB are free; keep fewer channels"):
        Moments().add(nested(maps(3, 0)))


def test_what_is_free_is_asked_of_the_device_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"mem_get_info": (2**30, 2**35), "memory_reserved": 2**30, "memory_allocated": 0}.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    card = torch.device("cuda", 0)
    check_room(2**31, card, "rows", "keep fewer")
    with pytest.raises(UserError, match=r"^rows take 4 GiB, 2 GiB are free on cuda:0, room for 5 of them; keep"):
        check_room(2**32, card, "rows", "keep fewer", count=10)


@pytest.mark.parametrize(
    ("side", "sigma"), [((8, 6), 4.0), ((32, 48), 1.5), ((5, 7), 0.0), ((5, 7), 40.0), ((1, 7), 1.125)]
)
def test_pixels_are_those_of_torch_and_scipy(side: tuple[int, int], sigma: float) -> None:
    values = torch.rand(2, *side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wide = F.interpolate(values[:, None], (40, 48), mode="bilinear")
    modes: tuple[Literal["mirror", "reflect"], ...] = ("mirror", "reflect")
    mirrored, repeated = (
        [gaussian_filter(one, sigma, mode=mode, truncate=4) if sigma else one for one in wide[:, 0].numpy()]
        for mode in modes
    )
    for mode, expected in zip(modes, (mirrored, repeated), strict=True):
        np.testing.assert_allclose(to_pixels(values, (40, 48), sigma, mode).numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(to_pixels(values, (40, 48), sigma).numpy(), repeated, rtol=0, atol=1e-12)
    np.testing.assert_allclose(smoothed(wide, sigma)[:, 0].numpy(), repeated, rtol=0, atol=1e-12)


def test_what_maps_are_smoothed_by_is_bound_to_no_mode_that_it_was_made_in() -> None:
    maps = torch.rand(1, 1, 9, 11, dtype=torch.float64)
    with torch.inference_mode():
        smoothed(maps, 1.625)
    with torch.device("meta"):
        expected = smoothed(maps, 1.375)
    program = torch.export.export(Smoothing(), (maps,)).module()
    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(Smoothing(), (maps,))
    assert torch.equal(program(maps), Smoothing()(maps)) and torch.equal(traced(maps), Smoothing()(maps))
    assert torch.equal(smoothed(maps, 1.375), expected) and type(Smoothing()(maps)) is Tensor
    assert smoothed(maps.to("meta"), 1.625).is_meta
    assert torch.autograd.gradcheck(lambda shown: smoothed(shown, 1.625), maps.requires_grad_())


class Smoothing(torch.nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return smoothed(maps, 1.875)
