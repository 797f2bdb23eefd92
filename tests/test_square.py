"""Square attack in both balls: what it reaches without a gradient, what it spends, and where it paints."""

import gc
import weakref
from functools import partial

import pytest
import torch
from linear_detector import EPS, Linear, blocks, clean_images, run_attack, share

from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.boxes import Box, box_of, filled, placed
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.square import _bumps, moved, tiled

square = partial(run_attack, "square")


@pytest.mark.parametrize(
    ("goal", "steps", "least"), [("any", 1600, 0.95), *((goal, 200, 0.5) for goal in ("hide", "fabricate"))]
)
def test_comes_near_the_optimum_of_a_linear_detector(goal, steps, least) -> None:
    """192 independent signs by trial: half of the optimum in 200 queries, nearly all of it in 1600."""
    detector, (images, labels) = Linear(), clean_images()
    attacked, attack = square(detector, images, labels, steps=steps, goal=goal)
    reached = share(balanced, detector, images, attacked, labels, goal)
    assert (reached >= least).all()
    assert (reached <= 1 + 1e-5).all()
    assert len(attack.losses) == steps
    assert attack.losses == sorted(attack.losses, reverse=goal != "any")


@pytest.mark.parametrize(("goal", "steps", "least"), [("any", 200, 0.25), ("hide", 800, 0.4)])
def test_l2_goes_far_on_a_linear_detector_inside_the_ball(goal, steps, least) -> None:
    """The best change of 192 independent values is PGD's; without a gradient bumps find half of it."""
    detector, (images, labels) = Linear(), clean_images()
    settings = {"norm": "l2", "eps": "1/4", "goal": goal}
    attacked, attack = square(detector, images, labels, steps=steps, **settings)
    best, _ = run_attack("pgd", detector, images, labels, steps=50, **settings)
    before, after, most = (balanced(detector(x), Aim(labels, x)).detach() for x in (images, attacked, best))
    reached = (after - before) / (most - before)
    assert (reached >= least).all() and (reached <= 1).all()
    assert attack.losses == sorted(attack.losses, reverse=goal != "any")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_image_keeps_what_did_it_harm(norm) -> None:
    """More queries never undo an earlier one, for any image of the batch."""
    detector, (images, labels) = Linear(), clean_images()
    harms = []
    for steps in (20, 40, 80):
        # One size of squares, so that the longer searches begin as the shorter ones did.
        attacked, _ = square(detector, images, labels, steps=steps, norm=norm, options={"area": 1e-9})
        harms.append(balanced(detector(attacked), Aim(labels, attacked)).detach())
    assert (harms[1] > harms[0]).all()
    assert (harms[2] > harms[1]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_budget_is_spent_on_forward_passes_without_a_gradient(norm) -> None:
    detector, (images, labels) = Linear(), clean_images()
    _, attack = square(detector, images, labels, steps=7, norm=norm)
    assert len(detector.shown) == 7 + 1
    assert detector.with_gradient == 0
    assert attack.flat is None


def test_first_query_is_stripes_at_the_corners_of_the_ball() -> None:
    images, labels = torch.full((64, 3, 8, 8), 0.5), torch.zeros(64, 8, 8, dtype=torch.bool)
    attacked, _ = square(Linear(), images, labels, steps=1)
    change = attacked - images
    kept = (change != 0).flatten(1).any(1)
    assert kept.any() and not kept.all()
    assert torch.equal(change[kept], change[kept][:, :, :1].expand(-1, -1, 8, -1))
    assert torch.allclose(change[kept].abs(), torch.tensor(EPS), atol=1e-6)
    assert change[kept][:, :, 0].unique(dim=0).shape[0] == int(kept.sum())


def test_squares_shrink_by_the_paper_s_schedule() -> None:
    """Of ten thousand queries the squares halve after 10 and after 50: of a hundred, the second has a quarter."""
    seen = []

    class Recorder(Linear):
        def forward(self, images):
            seen.append(images)
            return super().forward(torch.zeros_like(images))

    images, labels = torch.full((1, 3, 16, 16), 0.5), torch.zeros(1, 16, 16, dtype=torch.bool)
    square(Recorder(16), images, labels, steps=100, random_start=False)
    areas = [int((x != images).any(1).sum()) for x in seen[1:]]
    # The side is that of p / 2^k of 256 pixels, p = 0.8, to the nearest pixel.
    assert [areas[i] for i in (0, 1, 3, 6, 11, 21, 41, 61, 99)] == [196, 49, 25, 16, 9, 4, 1, 1, 1]


@pytest.mark.parametrize(("norm", "least"), [("linf", 0.95), ("l2", 0.5)])
@pytest.mark.parametrize("start", [False, True])
def test_region_bounds_the_change_and_takes_all_squares(start, norm, least) -> None:
    """In L2 a pixel whose length was taken may lie where it was."""
    detector, (images, labels) = Linear(), clean_images()
    where = blocks(labels)
    attacked, _ = square(detector, images, labels, where, steps=400, random_start=start, norm=norm)
    moved = (attacked != images).any(1)
    assert not moved[~where].any()
    assert moved[where].float().mean() > least


def test_neither_attack_nor_detector_outlives_its_last_use() -> None:
    """Also before garbage is collected."""
    detector = Linear()
    gc.collect()
    gc.disable()
    try:
        _, attack = square(detector, *clean_images(), steps=2, goal="hide")
        seen = weakref.ref(detector)
        del detector, attack
        assert seen() is None
    finally:
        gc.enable()


def test_bumps_by_hand() -> None:
    """Side 4: two halves of two columns, highest at row 2 and the second column of each, 1 + 1/4 + 1/9 there."""
    top, ring, rim = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    at, side = torch.arange(4)[None], torch.tensor([4])
    one = _bumps(at[:, :, None], at[:, None, :], side)[0]
    half = torch.tensor([[rim, rim], [ring, ring], [ring, top], [ring, ring]])
    assert torch.allclose(one, torch.cat((half, -half), 1))
    assert torch.allclose(_bumps(at[:, None, :], at[:, :, None], side)[0], one.T)


def test_first_query_in_l2_is_a_grid_of_bumps_of_full_length() -> None:
    region = torch.zeros(2, 20, 20, dtype=torch.bool)
    region[0], region[1, 4:9, 3:17] = True, True
    change = tiled(region, box_of(region), torch.Generator().manual_seed(0))
    assert change.flatten(1).norm(dim=1).tolist() == pytest.approx([1, 1])
    assert torch.equal((change != 0).any(1), region)
    tiles = change[0].unfold(1, 4, 4).unfold(2, 4, 4)
    # Five by five tiles of side 4, each of one shape or its transpose, up or down in each colour.
    shapes = (tiles / tiles.abs().amax()).abs().reshape(-1, 4, 4).unique(dim=0)
    assert tiles.shape[1:3] == (5, 5)
    assert len(shapes) == 2
    assert torch.allclose(shapes[0], shapes[1].T)
    assert torch.allclose(tiles.sum((3, 4)), torch.zeros(3, 5, 5), atol=1e-6)


def test_length_moves_from_one_square_to_another() -> None:
    """The ball is always used up; outside of the two squares nothing changes, and where length is taken nothing is
    left."""
    generator = torch.Generator().manual_seed(0)
    region = torch.ones(8, 12, 12, dtype=torch.bool)
    region[4:, :, :5] = False
    change = 0.05 * torch.randn(8, 3, 12, 12, generator=generator) * region[:, None]
    before, after = change, moved(change, region, box_of(region), torch.full((8,), 3), 3.0, generator)
    assert after.flatten(1).norm(dim=1).tolist() == pytest.approx([3.0] * 8, rel=1e-5)
    assert not after.abs().amax(1)[~region].any()
    touched = (before != after).any(1)
    assert (touched.sum((1, 2)) <= 18).all()
    emptied = touched & (after == 0).all(1)
    assert 0 < emptied.sum() <= 8 * 9
    again = moved(after, region, box_of(region), torch.full((8,), 3), 3.0, generator)
    assert again.flatten(1).norm(dim=1).tolist() == pytest.approx([3.0] * 8, rel=1e-5)


def test_a_box_smaller_than_a_bump_is_painted_whole() -> None:
    box = Box(*(torch.tensor([value]) for value in (1, 2, 1, 2)))
    region = filled(box, (4, 6))
    change = moved(torch.zeros(1, 3, 4, 6), region, box, torch.tensor([1]), 0.5, torch.Generator().manual_seed(0))
    assert change.isfinite().all()
    assert change.norm().item() == pytest.approx(0.5)


def test_box_and_places_by_hand() -> None:
    region = torch.zeros(3, 4, 6, dtype=torch.bool)
    region[0, 1, 2] = region[0, 3, 4] = True
    region[1, 0, 5] = True
    box = box_of(region)
    assert [x.tolist() for x in box] == [[1, 0, 0], [2, 5, 0], [3, 1, 4], [3, 1, 6]]
    two = torch.tensor([2, 2, 2])
    generator, places = torch.Generator().manual_seed(0), set()
    for _ in range(200):
        painted = filled(placed(box, two, two, (4, 6), generator), (4, 6))
        assert painted.sum((1, 2)).tolist() == [4, 4, 4]
        # A box of one pixel in the corner: the square covers it, inside the frame.
        assert painted[1, :2, 4:].all()
        places.add(tuple(painted[0].nonzero()[0].tolist()))
    assert places == {(1, 2), (1, 3), (2, 2), (2, 3)}
