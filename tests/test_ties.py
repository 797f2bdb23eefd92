"""Shares of pixels at an end of the scores' range, worked by hand."""

import pytest
import torch

from omnial_bench.evaluation.attempt import saturated

TRUTH = torch.tensor([[[False, False, False, True]], [[False, False, True, True]]])
"""Five normal pixels and three anomalous ones."""


def share(*rows: list[float], attacked: list[list[float]] | None = None) -> float | None:
    maps = torch.tensor([[row] for row in rows])
    return saturated(maps, maps if attacked is None else torch.tensor([[row] for row in attacked]), TRUTH)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (([0.0, 2, 0, 9], [3.0, 0, 5, 8]), 3 / 5),
        (([1.0, 2, 3, 7], [3.0, 4, 7, 6]), 2 / 3),
        # One image alone has the lowest score, and one the highest.
        (([0.0, 2, 0, 9], [3.0, 4, 5, 8]), 0.0),
        # At the other end each kind lies where an attack wants it.
        (([9.0, 8, 9, 0], [8.0, 9, 0, 1]), 0.0),
        # A value that resizing has moved by its last bit, and one that is not the same.
        (([1000.0, 1001, 1003, 1004], [1000 + 2e-4, 1002, 1005, 1006]), 2 / 5),
        (([1000.0, 1001, 1003, 1004], [1000 + 2e-3, 1002, 1005, 1006]), 0.0),
    ],
)
def test_what_lies_where_an_attack_cannot_move_it(rows: tuple[list[float], list[float]], expected: float) -> None:
    assert share(*rows) == pytest.approx(expected)


def test_a_place_that_never_moves_says_nothing() -> None:
    """The first two hold 0 in both images, and the second moves under the attack, in one of the images."""
    rows = [0.0, 0, 3, 9], [0.0, 0, 5, 8]
    assert share(*rows) == 0
    assert share(*rows, attacked=[[0.0, 1, 3, 9], [0.0, 0, 5, 8]]) == 0
    assert share([1.0] * 4, [1.0] * 4) is None


def test_what_has_left_its_end_was_not_held_there() -> None:
    """Two of five normal pixels stay at 0, and a third leaves it."""
    rows = [0.0, 2, 0, 9], [3.0, 0, 5, 8]
    assert share(*rows, attacked=[[0.0, 2, 1, 9], [3.0, 0, 5, 8]]) == pytest.approx(2 / 5)


def test_what_is_driven_to_an_end_is_held_there() -> None:
    """A sigmoid that rounds to 1 under the attack alone: two of three anomalous pixels, with most normal ones."""
    rows = [0.1, 0.2, 0.1, 0.9], [0.3, 0.1, 0.8, 0.7]
    assert share(*rows, attacked=[[1.0, 1, 0.4, 1], [1.0, 1, 1, 0.9]]) == pytest.approx(2 / 3)


def test_a_lowest_score_that_the_attack_goes_below_was_no_end() -> None:
    """As of a flat background: every pixel of it has one score, and is free to move."""
    rows = [0.0, 2, 0, 9], [3.0, 0, 5, 8]
    assert share(*rows, attacked=[[0.0, 2, 0, 9], [3.0, 0, -1, 8]]) == 0


def test_one_kind_alone() -> None:
    maps = torch.tensor([[[0.0, 7, 2, 3]], [[1.0, 0, 4, 5]]])
    assert saturated(maps, maps, torch.zeros_like(TRUTH)) == pytest.approx(2 / 8)
