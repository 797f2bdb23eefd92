"""PatchCore: centres as one at a time would pick them, the exact nearest, and the paper's image score."""

import pytest
import torch
from torch import Tensor

from omnial_bench.config.load import read_recipe
from omnial_bench.errors import UserError
from omnial_bench.models import coreset
from omnial_bench.models.patchcore import PatchCore
from omnial_bench.models.registry import build

pytestmark = pytest.mark.usefixtures("one_thread")


def points(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def one_at_a_time(vectors: Tensor, first: int, count: int) -> list[int]:
    chosen, nearest = [first], torch.full((len(vectors),), torch.inf)
    while len(chosen) < count:
        nearest = torch.minimum(nearest, (vectors - vectors[chosen[-1]]).square().sum(1))
        chosen.append(int(nearest.argmax()))
    return chosen


@pytest.mark.parametrize(("count", "candidates", "rows"), [(300, 256, 4096), (300, 7, 50), (40, 256, 4096)])
def test_centres_are_those_that_are_picked_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch, count: int, candidates: int, rows: int
) -> None:
    monkeypatch.setattr(coreset, "CANDIDATES", candidates)
    monkeypatch.setattr(coreset, "ROWS", rows)
    vectors = points(count, 5).double()
    centres = coreset.k_centres(vectors, 40, torch.Generator().manual_seed(3)).tolist()
    assert centres == one_at_a_time(vectors, centres[0], 40)


def test_equal_vectors_are_picked_once() -> None:
    centres = coreset.k_centres(points(6, 4).repeat(5, 1), 20, torch.Generator())
    assert sorted(place % 6 for place in centres.tolist()) == list(range(6))


def test_a_projection_keeps_distances_on_the_whole() -> None:
    vectors = points(60, 2000)
    projected = coreset.project(vectors, torch.Generator().manual_seed(0))
    ratios = (torch.pdist(projected) / torch.pdist(vectors)).sort().values
    # The standard deviation of a ratio is about sqrt(1 / (2 * 128)), a sixteenth.
    assert projected.shape == (60, 128) and abs(float(ratios.mean()) - 1) < 0.02 and float(ratios[0]) > 0.7
    assert coreset.project(vectors[:, :128], torch.Generator()).shape == (60, 128)


def detector(count: int, **options: int) -> PatchCore:
    tiny = read_recipe("patchcore", "tiny")
    made = build(tiny.model_copy(update={"options": {**tiny.options, **options}})).eval()
    assert isinstance(made, PatchCore)
    with torch.no_grad():
        made.fit(torch.rand(count, 3, 48, 48, generator=torch.Generator().manual_seed(1)).split(4), torch.Generator())
    return made


@pytest.mark.parametrize("tile", [8, 512])
def test_distances_are_to_the_nearest_and_the_score_is_the_papers(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreset, "AT_ONCE", 100)
    monkeypatch.setattr(coreset, "TILE", tile)
    made = detector(6, neighbours=3)
    assert made.memory.shape == (round(0.1 * 6 * 36), 152)
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        vectors = made._features(images).flatten(2).mT - made.centre
        nearest = coreset.nearest(vectors.flatten(0, 1), made.memory).reshape(2, -1)
        every = torch.cdist(vectors.double(), made.memory.double())
        assert torch.equal(nearest, every.argmin(2))
        score = made(images).image_score
        for image in range(2):
            largest, place = every[image].min(1).values.max(0)
            reference = made.memory[nearest[image, place]]
            around = (made.memory - reference).norm(dim=1).topk(3, largest=False).indices
            apart = every[image, place, around]
            expected = (1 - apart[0].exp() / apart.exp().sum()) * largest
            assert float(score[image]) == pytest.approx(float(expected), rel=1e-4)


def test_no_product_is_kept_for_a_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place has no gradient; the least of each tile would keep all products with a memory for one."""
    monkeypatch.setattr(coreset, "TILE", 8)
    kept: list[torch.Tensor] = []
    vectors, memory = torch.randn(20, 4, requires_grad=True), torch.randn(30, 4)
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part) or part, lambda part: part):
        coreset.nearest(vectors, memory)
    assert not kept


def test_features_are_means_over_neighbours_at_the_finest_stride() -> None:
    made, images = detector(3), torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        fine, coarse = made.backbone(images)
        features = made._features(images)
    assert features.shape == (1, 152, 6, 6)
    torch.testing.assert_close(features[0, :40, 2, 3], fine[0, :, 1:4, 2:5].mean((1, 2)))
    # A corner of the coarse grid, zeros beyond the frame counted.
    torch.testing.assert_close(features[0, 40:, 0, 0], coarse[0, :, :2, :2].sum((1, 2)) / 9)


def test_features_larger_than_memory_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnial_bench.models.room._available", lambda _: 10_000)
    with pytest.raises(UserError, match=r"features of 4 normal images take .* room for 0 of them; take fewer"):
        detector(4)
