"""AUPRO against brute force over all thresholds, by hand, and in parts."""

import numpy as np
import pytest
import torch
from skimage.measure import label
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.metrics.regions import Regions


def brute_force(scores: Tensor, masks: Tensor, limit: float) -> float:
    """Every threshold, every region, one at a time; NumPy's interpolation at the limit."""
    maps, truth = scores.double().numpy(), masks.numpy()
    regions = []
    for values, mask in zip(maps, truth, strict=True):
        parts = label(mask, connectivity=2)
        regions += [values[parts == part] for part in range(1, parts.max() + 1)]
    normal = maps[~truth]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        rates.append(float((normal >= threshold).mean()))
        overlaps.append(float(np.mean([(values >= threshold).mean() for values in regions])))
    x = np.array(rates)
    inside = x <= limit
    # Of several overlaps at the limit itself the highest is the curve's; interpolation is only between two rates.
    last = int(np.flatnonzero(inside)[-1])
    x_cut, y_cut = x[inside], np.array(overlaps)[inside]
    if x_cut[-1] < limit:
        share = (limit - x[last]) / (x[last + 1] - x[last])
        x_cut = np.append(x_cut, limit)
        y_cut = np.append(y_cut, overlaps[last] + share * (overlaps[last + 1] - overlaps[last]))
    return float(np.trapezoid(y_cut, x_cut) / limit)


def area(scores: Tensor, masks: Tensor, **settings: float) -> float | None:
    regions = Regions(**settings)
    regions.update(scores, masks)
    return regions.compute()


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(6, 24, 24, dtype=torch.bool)
    masks[0, 2:5, 2:5] = True
    masks[0, 5:20, 5:9] = True  # Touches the first at a corner: one region.
    masks[2, 10:12, 10:20] = True
    masks[2, 0, 0] = True
    masks[3, :, 3] = True
    masks[4, 3:9, 3:9] = True  # Lies at the place of column 3 in the image before: not connected with it.
    return torch.randn(masks.shape, generator=generator) + 1.5 * masks, masks


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("ties", ["none", "some", "saturated"])
def test_equals_brute_force(limit: float, ties: str) -> None:
    scores, masks = drawn(1)
    scores = {"none": scores, "some": scores.round(decimals=1), "saturated": torch.sigmoid(30 * scores)}[ties]
    regions = Regions(limit=limit)
    regions.update(scores, masks)
    assert regions.compute() == pytest.approx(brute_force(scores, masks, limit), abs=1e-9)
    assert regions.regions == 5


def test_by_hand_on_four_by_four() -> None:
    masks = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()[None]
    scores = torch.tensor([[9, 8, 0, 0], [0, 7, 6, 0], [5, 0, 0, 0], [0, 0, 0, 4]]).float()[None]
    regions = Regions(limit=4 / 13)
    regions.update(scores, masks)
    # Two regions: two pixels that touch at a corner, found at 9 and 7, and one found at 4. Of 13 normal pixels, one is
    # above 7 and two more above 4; ten are level at 0. So the overlap is 1/4, 1/2, 1/2 and 1 for a thirteenth each.
    assert regions.compute() == pytest.approx((1 / 4 + 1 / 2 + 1 / 2 + 1) / 4)
    assert regions.regions == 2


def test_perfect_constant_and_reversed_maps() -> None:
    _, masks = drawn(0)
    for scores, expected in ((masks.float(), 1.0), (torch.zeros(masks.shape), 0.15), (-masks.float(), 0.0)):
        assert area(scores, masks) == pytest.approx(expected, abs=1e-12)


def test_small_regions_count_as_much_as_large_ones() -> None:
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, :8] = True
    masks[0, 15, 15] = True
    found = torch.zeros(1, 16, 16)
    found[0, :8] = 1.0
    missed = -found
    missed[0, 15, 15] = 1.0
    # The other region is level with all that is normal (1/2 + 1/4), or below it (1/2).
    assert [area(scores, masks, limit=1.0) for scores in (found, missed)] == pytest.approx([0.75, 0.5])


def test_chunks_and_merges_change_nothing() -> None:
    scores, masks = drawn(2)
    whole, parts = Regions(), [Regions(), Regions()]
    whole.update(scores, masks)
    for index in range(len(scores)):
        parts[index % 2].update(scores[index : index + 1], masks[index : index + 1])
    parts[0].merge(parts[1])
    assert parts[0].compute() == pytest.approx(whole.compute(), abs=1e-12)
    assert parts[0].ranking.compute() == whole.ranking.compute()


def test_beyond_capacity_the_stated_bound_holds() -> None:
    generator = torch.Generator().manual_seed(5)
    masks = torch.zeros(40, 32, 32, dtype=torch.bool)
    masks[::2, 4:20, 4:20] = True
    masks[::4, 25:28, 3:30] = True
    scores = torch.randn(masks.shape, generator=generator) + masks
    exact, bounded = Regions(exact=True), Regions(capacity=2_000, resolution=400)
    for index in range(len(scores)):
        for regions in (exact, bounded):
            regions.update(scores[index : index + 1], masks[index : index + 1])
    difference = abs((bounded.compute() or 0) - (exact.compute() or 1))
    assert 0 < difference <= 2 * 3 / 400


def test_undefined_without_regions_or_without_normal_pixels() -> None:
    for masks in (torch.zeros(2, 4, 4).bool(), torch.ones(2, 4, 4).bool()):
        assert area(torch.rand(2, 4, 4), masks) is None
    assert Regions().compute() is None


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(0, 1\]"):
        Regions(limit=30)
    with pytest.raises(UserError, match="shape"):
        Regions().update(torch.zeros(4, 4), torch.zeros(4, 4).bool())
    with pytest.raises(UserError, match="one shape"):
        Regions().update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5).bool())
    with pytest.raises(UserError, match="NaN"):
        Regions().update(torch.full((1, 4, 4), torch.nan), torch.zeros(1, 4, 4).bool())
    with pytest.raises(UserError, match="limit"):
        Regions().merge(Regions(limit=0.1))
