"""The search over radii, told by rules in place of a network which radius crosses along which gradient."""

import math

import pytest
import torch

from omnial_bench.attacks.radii import DOUBT, FLOOR, Radii

STEPS, WITHIN, PATIENCE = 40, 1.1, 4


def radii_of(count: int = 1, steps: int = STEPS) -> Radii:
    return Radii(1.0, steps, WITHIN, PATIENCE, torch.ones(count, dtype=torch.bool))


def found(needs: torch.Tensor) -> torch.Tensor:
    """Of images by what they need along the first gradient and along the other, which one step tells."""
    radii = radii_of(len(needs), 200)
    for step in range(200):
        rows = radii.active.nonzero()[:, 0]
        need = torch.where(radii.leading, needs[:, 0], needs[:, 1])[rows]
        radii.take(rows, radii.now[rows] >= need, radii.now[rows], 200 - step)
        radii.tries[radii.active] += 1
    assert not radii.active.any()
    return radii.above


def test_it_finds_what_the_better_gradient_needs_and_infinity_where_neither_crosses() -> None:
    needs = 10 ** (-2.5 * torch.rand(200, 2, generator=torch.Generator().manual_seed(0)))
    least = needs.amin(1)
    sizes = found(needs)
    assert (sizes >= least).all() and (sizes <= least * WITHIN / DOUBT).all()
    assert (found(needs + 1) == math.inf).all()
    one = torch.stack([needs[:, 0], torch.full((200,), math.inf)], 1)
    for needed in (one, one.flip(1)):
        assert (found(needed) >= needs[:, 0]).all() and (found(needed) <= needs[:, 0] * WITHIN).all()


def test_what_is_there_already_is_of_size_0() -> None:
    radii, row = radii_of(), torch.tensor([0])
    radii.take(row, torch.tensor([True]), torch.zeros(1), STEPS)
    assert radii.above.item() == 0 and not radii.active.item()


@pytest.mark.parametrize(("tries", "may"), [(2, 4), (6, 12), (12, 16)])
@pytest.mark.parametrize("left", [30, 9, 8, 7, 6, 3, 2, 1])
def test_a_quarter_is_tried_only_where_half_of_the_steps_that_it_may_take_are_left(
    left: int, tries: int, may: int
) -> None:
    radii, row = radii_of(), torch.tensor([0])
    radii.tries += tries
    radii.take(row, torch.tensor([True]), torch.ones(1), left)
    if 2 * left > may:
        assert (radii.now.item(), radii.patience.item()) == (0.25, may)
    else:
        assert (radii.now.item(), radii.patience.item()) == (pytest.approx(FLOOR**0.5), PATIENCE)


def test_the_second_gradient_has_as_many_steps_as_the_first_and_then_the_image_is_done() -> None:
    radii, row, no = radii_of(), torch.tensor([0]), torch.tensor([False])
    anew = []
    for step in range(STEPS):
        began, _ = radii.take(row, no, torch.ones(1), STEPS - step)
        anew += [step] * len(began)
        radii.tries += not len(began)
        if not radii.active.item():
            break
    assert anew == [16] and step == 33 and radii.above.item() == math.inf
