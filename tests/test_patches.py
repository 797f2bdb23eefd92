"""Features of patches: the means, and the two poolings of the published code written out in torch's own words."""

import warnings

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.config.load import read_recipe
from omnial_bench.models.patches import patches
from omnial_bench.models.registry import build


def pooled_as_published(levels: list[Tensor], width: int) -> Tensor:
    """Each patch laid out as a vector, resized with its channels, pooled twice."""

    def means(rows: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(rows.flatten(2).mT.contiguous(), width).mT.reshape(2, width, *rows.shape[2:])

    size = levels[0].shape[2:]
    windows = [F.unfold(level, 3, padding=1).reshape(2, -1, *level.shape[2:]) for level in levels]
    resized = [F.interpolate(each, size=size, mode="bilinear") for each in windows]
    return means(torch.cat([means(each) for each in resized], 1))


@pytest.mark.parametrize(
    ("channels", "width"), [((8, 16), 16), ((8, 16), 24), ((5, 14), 12), ((5, 14), 3), ((4, 6), 100), ((7,), 1)]
)
def test_patches_are_pooled_as_published(channels: tuple[int, ...], width: int) -> None:
    """The first two as WideResNet-50-2's 512 and 1,024 channels to PatchCore's 1,024 values and SimpleNet's 1,536."""
    generator = torch.Generator().manual_seed(0)
    levels = [
        torch.randn(2, count, 8 // 2**place, 6 // 2**place, generator=generator, dtype=torch.float64)
        for place, count in enumerate(channels)
    ]
    torch.testing.assert_close(patches(levels, width), pooled_as_published(levels, width))


def test_patches_are_pooled_in_full_and_traced() -> None:
    levels = torch.rand(2, 8, 8, 6), torch.rand(2, 16, 4, 3)
    halves = tuple(level.bfloat16() for level in levels)
    expected = pooled_as_published([level.float() for level in halves], 24)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(patches(levels, 24), pooled_as_published([*levels], 24))
        got = patches(halves, 24)
    # As near as one rounding after each pooling, one between them, lets it be, and to neither side.
    assert got.dtype == torch.bfloat16 and abs(float((got.float() / expected).mean()) - 1) < 3e-4
    torch.testing.assert_close(got.float(), expected, rtol=1e-2, atol=0)

    class Pooled(torch.nn.Module):
        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return patches([fine, coarse], 24)

    with warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(Pooled(), levels)  # type: ignore[no-untyped-call]
    assert torch.equal(traced(*levels), patches(levels, 24))


def test_patches_are_means_of_each_channel_where_nothing_is_pooled() -> None:
    fine, coarse = torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)
    got = patches([fine, coarse])
    assert got.shape == (2, 8, 4, 4)
    torch.testing.assert_close(got[:, :3, 1, 2], fine[:, :, :3, 1:].mean((2, 3)))
    torch.testing.assert_close(got[:, :3, 0, 0], fine[:, :, :2, :2].sum((2, 3)) / 9)
    torch.testing.assert_close(got[:, 3:, 0, 0], coarse.sum((2, 3)) / 9)


@pytest.mark.parametrize(("name", "width"), [("patchcore", 1024), ("simplenet", 1536)])
def test_patches_are_pooled_at_paper_and_not_elsewhere(name: str, width: int) -> None:
    assert read_recipe(name, "paper").options["pooled"] == width
    assert all("pooled" not in read_recipe(name, preset).options for preset in ("small", "tiny"))


@pytest.mark.parametrize("name", ["patchcore", "simplenet"])
def test_a_detector_of_pooled_patches_has_its_whole_gradient(name: str) -> None:
    recipe = read_recipe(name, "tiny")
    recipe = recipe.model_copy(update={"options": {**recipe.options, "pooled": 20}})
    generator = torch.Generator().manual_seed(0)
    detector = build(recipe, generator).eval().double()
    if name == "patchcore":
        detector.fit([torch.rand(4, 3, 64, 64, generator=generator).double()], generator)  # type: ignore[operator]
        assert detector.memory.shape[1] == 20
    images = torch.rand(1, 3, 64, 64, generator=generator).double().requires_grad_()
    (slope,) = torch.autograd.grad(detector(images).log_odds.sum(), images)
    step = 1e-5 * slope / slope.norm()
    with torch.no_grad():
        rise = detector(images + step).log_odds.sum() - detector(images - step).log_odds.sum()
    assert rise / 2e-5 == pytest.approx(slope.norm().item(), rel=1e-3)
