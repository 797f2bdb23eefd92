"""What a run says of the time that is left."""

import pytest

from omnial_bench.progress import Clock

MINUTE = 60.0


def test_time_left_is_that_of_tasks_alike() -> None:
    clock = Clock(["train", "train", "score", "evaluate quick", "score", "evaluate quick"], now=100.0)
    assert clock.ended(0, 2 * MINUTE, 220.0) == "2:00, more than about 2 min left"
    assert clock.ended(1, 2 * MINUTE, 340.0) == "4:00"
    assert clock.ended(2, 10.0, 350.0) == "4:10, more than about 10 s left"
    assert clock.ended(3, MINUTE, 410.0) == "5:10, about 70 s left"
    assert clock.ended(4, 30.0, 440.0) == "5:40, about 60 s left"
    assert clock.ended(5, MINUTE, 500.0) == "6:40" and clock.done == 6


@pytest.mark.parametrize("jobs", [2, None])
def test_two_at_once_take_half_the_time_and_one_under_way_is_half_done(jobs: int | None) -> None:
    clock = Clock(["train"] * 6, jobs, now=0.0)
    # Both begin at once: where the number is not known, the first end tells of one alone.
    assert clock.ended(0, 10 * MINUTE, 600.0) == f"10:00, about {22 if jobs else 50} min left"
    assert clock.ended(1, 10 * MINUTE, 601.0) == "10:01, about 18 min left"
    assert clock.ended(2, 10 * MINUTE, 1200.0) == "20:00, about 12 min left"
    clock.ended(3, 10 * MINUTE, 1201.0), clock.ended(4, 10 * MINUTE, 1800.0)
    assert clock.ended(5, 10 * MINUTE, 1801.0) == "30:01"


def test_what_had_been_done_before_tells_nothing_of_what_is_left() -> None:
    clock = Clock(["train"] * 4, now=0.0)
    assert clock.ended(0, None, 1.0) == "0:01" and clock.ended(1, None, 2.0) == "0:02"
    assert clock.ended(2, 10 * MINUTE, 602.0) == "10:02, about 10 min left"
