"""Patches: their area and place, and the worst that they can look like."""

import pytest
import torch
from linear_detector import Linear, blocks, clean_images, run_attack, threat, worst

from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.building import build_attack
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.square import box_of
from omnial_bench.attacks.victim import victim


def patched(detector, images, labels, where=None, area=0.25, **settings):
    settings = {"eps": 1, **settings}
    return run_attack("patch", detector, images, labels, where, options={"area": area}, **settings)


@pytest.mark.parametrize("goal", ["any", "hide"])
@pytest.mark.parametrize("eps", [1, "8/255"])
def test_is_the_worst_patch_of_a_linear_detector(goal, eps) -> None:
    detector, (images, labels) = Linear(), clean_images()
    attacked, attack = patched(detector, images, labels, goal=goal, eps=eps)
    moved = (attacked != images).any(1)
    best = worst(images, labels if goal == "any" else ~labels, detector.weight, float(attack.threat.eps))
    assert torch.allclose(attacked, torch.where(moved[:, None], best, images), atol=1e-6)
    assert len(attack.losses) == 10 and attack.flat == 0


@pytest.mark.parametrize(("side", "area", "sides"), [(8, 0.25, (4, 4)), (16, 0.05, (4, 3)), (8, 1.0, (8, 8))])
def test_is_one_rectangle_of_the_area(side, area, sides) -> None:
    images, labels = clean_images(8, side)
    moved = (patched(Linear(side), images, labels, area=area)[0] != images).any(1)
    box = box_of(moved)
    assert box.height.tolist() == [sides[0]] * 8
    assert box.width.tolist() == [sides[1]] * 8
    assert moved.sum((1, 2)).tolist() == [sides[0] * sides[1]] * 8
    assert len({(int(top), int(left)) for top, left in zip(box.top, box.left, strict=True)}) > (area < 1)


@pytest.mark.parametrize(("frame", "area"), [((256, 256), 0.05), ((256, 32), 0.5), ((32, 256), 0.5), ((64, 64), 0.01)])
def test_area_in_frames_of_any_shape(frame, area) -> None:
    with victim([Linear()]) as target:
        attack = build_attack(target, threat("patch", eps=1, options={"area": area}), torch.Generator().manual_seed(0))
    pixels = attack.place(torch.ones(3, *frame, dtype=torch.bool)).sum((1, 2))
    assert (pixels == pixels[0]).all()
    assert float(pixels[0]) / (frame[0] * frame[1]) == pytest.approx(area, rel=0.05)


def test_lies_in_the_region_and_is_cut_to_it() -> None:
    images, labels = clean_images(6)
    where = blocks(labels)
    moved = (patched(Linear(), images, labels, where, area=4 / 64)[0] != images).any(1)
    assert not moved[~where].any()
    # Each region is a rectangle that has room for it, so nothing of the patch is lost.
    assert moved.sum((1, 2)).tolist() == [4] * 6
    holes = where.clone()
    holes[:, ::2] = False
    moved = (patched(Linear(), images, labels, holes, area=0.25)[0] != images).any(1)
    assert not moved[~holes].any()
    assert moved.flatten(1).any(1).all()


def test_the_best_step_is_kept() -> None:
    """Steps as long as the whole range leap to and fro where another pixel's colour decides which way is worse."""

    class Turning(Linear):
        def forward(self, images):
            return super().forward(torch.sin(9 * images))

    detector, (images, labels) = Turning(scale=0.5), clean_images()
    attacked, attack = patched(detector, images, labels, step_size=1, steps=8)
    harm = balanced(detector(attacked), Aim(labels, attacked)).detach()
    assert harm.mean() > max(attack.losses)
    shorter = [patched(detector, images, labels, step_size=1, steps=steps)[0] for steps in range(1, 8)]
    assert all((harm >= balanced(detector(x), Aim(labels, x)).detach() - 1e-6).all() for x in shorter)
