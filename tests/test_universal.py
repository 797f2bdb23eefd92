"""One perturbation for many images: what it reaches, and that it is one."""

from itertools import pairwise

import pytest
import torch
from linear_detector import EPS, Linear, blocks, clean_images, run_attack, share, worst

from omnial_bench.attacks.objectives import cross_entropy


def universal(detector, images, labels, where=None, batch=3, **settings):
    settings = {"objective": "cross_entropy", "options": {"batch": batch}, **settings}
    return run_attack("universal", detector, images, labels, where, **settings)


def middling(n: int = 8):
    """Images that no change of eps drives out of [0, 1], with one mask for all."""
    images, masks = clean_images(n)
    return images / 2 + 0.25, masks[:1].expand(n, -1, -1)


@pytest.mark.parametrize("goal", ["any", "hide"])
@pytest.mark.parametrize("start", [False, True])
def test_is_each_image_s_own_optimum_where_all_want_the_same(goal, start) -> None:
    """Of a linear detector the worst change is the same sign pattern for all images with one mask."""
    detector, (images, labels) = Linear(), middling()
    attacked, attack = universal(detector, images, labels, goal=goal, random_start=start)
    assert (share(cross_entropy, detector, images, attacked, labels, goal) >= 0.99).all()
    assert len(attack.losses) == 10
    sign = 1 if goal == "any" else -1
    assert all(sign * (later - earlier) > -1e-5 for earlier, later in pairwise(attack.losses))
    assert sign * (attack.losses[-1] - attack.losses[0]) > 0.01


def test_l2_goes_along_the_weights() -> None:
    """Near log-odds of 0 cross-entropy is a line, so the best change has the direction of the weights."""
    detector, (images, _) = Linear(scale=1e-3), middling()
    labels = torch.zeros(len(images), 8, 8, dtype=torch.bool)
    attacked, _ = universal(detector, images, labels, norm="l2", eps=0.5, random_start=False)
    gained = ((attacked - images) * detector.weight).flatten(1).sum(1)
    assert (gained >= 0.99 * 0.5 * detector.weight.norm()).all()


def test_the_majority_decides() -> None:
    """Slopes are all alike near log-odds of 0: the change serves the three images and not the fourth."""
    detector, (images, _) = Linear(scale=1e-3), middling(4)
    labels = torch.zeros(4, 8, 8, dtype=torch.bool)
    labels[3] = True
    attacked, _ = universal(detector, images, labels, batch=4)
    assert torch.allclose(attacked, worst(images, torch.zeros_like(labels), detector.weight), atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_change_for_all_before_clamping(norm) -> None:
    images, labels = clean_images(9)
    images[4] = 0.5
    attacked, _ = universal(Linear(), images, labels, norm=norm, batch=2)
    change = attacked[4] - images[4]
    assert change.abs().max() > EPS / 4 if norm == "linf" else change.norm() > EPS / 4
    assert torch.allclose(attacked, (images + change).clamp(0, 1), atol=1e-6)
    assert (change.abs().max() if norm == "linf" else change.norm()) <= EPS + 1e-6


def test_a_white_ground_does_not_hold_the_change() -> None:
    """Half of the random start brightens white, which does nothing and has no gradient; it comes back all the same."""
    detector, images = Linear(), torch.ones(4, 3, 8, 8)
    labels = torch.zeros(4, 8, 8, dtype=torch.bool)
    attacked, _ = universal(detector, images, labels)
    dark = detector.weight < 0
    assert torch.allclose(attacked[:, dark], torch.tensor(1 - EPS), atol=1e-6)
    assert (attacked[:, ~dark] == 1).all()


def test_white_that_would_be_whiter_has_no_say() -> None:
    """Two white images want more light, which does nothing; a grey one wants less. Below 0 the white ones would lose,
    so 0 is best for all; were they asked above 0 too, the change would end at the bound, against the grey one."""
    detector = Linear(scale=1e-3)
    with torch.no_grad():
        detector.weight.abs_()
    images, labels = torch.ones(3, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.bool)
    images[2], labels[2] = 0.5, True
    attacked, _ = universal(detector, images, labels, steps=50)
    assert (attacked[2] - images[2]).abs().max() <= EPS / 20 + 1e-6


def test_region_is_each_image_s_own() -> None:
    """What one image may not change does not move, is never shown moved, and has no say in what others may."""
    seen = []

    class Recorder(Linear):
        def forward(self, images):
            seen.append(images.detach())
            return super().forward(images)

    detector, (images, labels) = Recorder(scale=1e-3), middling(6)
    where = blocks(labels)
    attacked, _ = universal(detector, images, labels, where)
    same = (torch.cat(seen)[:, None] == images).all(2) | where
    assert same.flatten(2).all(2).any(1).all()
    change = attacked - images
    assert not change.any(1)[~where].any()
    shared = worst(images, labels, detector.weight) - images
    assert torch.allclose(change, shared * where[:, None], atol=1e-6)


def test_counts_images_without_a_gradient() -> None:
    detector, (images, labels) = Linear(), middling(5)
    assert universal(detector, images, labels)[1].flat == 0
    with torch.no_grad():
        detector.weight.zero_()
    assert universal(detector, images, labels)[1].flat == 5


def test_a_pass_moves_by_the_step_whatever_the_batch() -> None:
    """So a record's step means the same in small and in large batches."""
    detector, (images, labels) = Linear(), middling()
    for batch in (1, 3, 8, 100):
        attacked, _ = universal(detector, images, labels, batch=batch, steps=1, step_size="2/255", random_start=False)
        assert torch.allclose((attacked - images).abs(), torch.tensor(2 / 255), atol=1e-6)
