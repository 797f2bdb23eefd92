"""Shares of pixels at an end of the scores' range, worked by hand."""

import pytest
import torch

from omnial_bench.evaluation.attempt import saturated

TRUTH = torch.tensor([[[False, False, False, True]], [[False, False, True, True]]])
"""Five normal pixels and three anomalous ones."""


ROWS = [0.0, 2, 0, 9], [3.0, 0, 5, 8]
STILL = [0.0, 0, 3, 9], [0.0, 0, 5, 8]
"""The first two pixels hold 0 in both images."""


@pytest.mark.parametrize(
    ("rows", "attacked", "expected"),
    [
        (ROWS, None, 3 / 5),
        (([1.0, 2, 3, 7], [3.0, 4, 7, 6]), None, 2 / 3),
        # One image alone has the lowest score, and one the highest.
        (([0.0, 2, 0, 9], [3.0, 4, 5, 8]), None, 0),
        # At the other end each kind lies where an attack wants it.
        (([9.0, 8, 9, 0], [8.0, 9, 0, 1]), None, 0),
        # A value that resizing has moved by its last bit, and one that is not the same.
        (([1000.0, 1001, 1003, 1004], [1000 + 2e-4, 1002, 1005, 1006]), None, 2 / 5),
        (([1000.0, 1001, 1003, 1004], [1000 + 2e-3, 1002, 1005, 1006]), None, 0),
        # A place that never moves says nothing, nor one that the attack moves in one of the images.
        (STILL, None, 0),
        (STILL, ([0.0, 1, 3, 9], [0.0, 0, 5, 8]), 0),
        (([1.0] * 4, [1.0] * 4), None, None),
        # What has left its end was not held there: two of five normal pixels stay at 0, and a third leaves it.
        (ROWS, ([0.0, 2, 1, 9], [3.0, 0, 5, 8]), 2 / 5),
        # A sigmoid that rounds to 1 under the attack alone: two of three anomalous pixels, with most normal ones.
        (([0.1, 0.2, 0.1, 0.9], [0.3, 0.1, 0.8, 0.7]), ([1.0, 1, 0.4, 1], [1.0, 1, 1, 0.9]), 2 / 3),
        # A lowest score that the attack goes below was no end, as of a flat background, which is free to move.
        (ROWS, ([0.0, 2, 0, 9], [3.0, 0, -1, 8]), 0),
    ],
)
def test_what_lies_where_an_attack_cannot_move_it(rows, attacked, expected: float | None) -> None:
    maps, moved = (torch.tensor(each)[:, None] for each in (rows, attacked or rows))
    assert saturated(maps, moved, TRUTH) == (expected if expected is None else pytest.approx(expected))


def test_one_kind_alone() -> None:
    maps = torch.tensor([[[0.0, 7, 2, 3]], [[1.0, 0, 4, 5]]])
    assert saturated(maps, maps, torch.zeros_like(TRUTH)) == pytest.approx(2 / 8)
