"""What a run says of the time that is left."""

from omnial_bench.progress import Clock


def test_time_left_is_that_of_tasks_alike() -> None:
    clock = Clock(["train", "train", "score", "evaluate quick", "score", "evaluate quick"], 100.0)
    # Two minutes a training: as long for the other, and nothing is known of the rest.
    assert clock.ended(0, 220.0) == "2:00, at least 2 min left"
    assert clock.ended(1, 340.0) == "4:00"
    assert clock.ended(2, 350.0) == "4:10, at least 10 s left"
    assert clock.ended(3, 410.0) == "5:10, about 70 s left"
    assert clock.ended(4, 440.0) == "5:40, about 60 s left"
    assert clock.ended(5, 500.0) == "6:40" and clock.done == 6
