"""Models compared on the same images: the paired interval is right, narrower than two apart, and kept with the task."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import pandas as pd
import pytest
import torch

from omnial_bench.evaluation.differences import Drawn, differences, text_of, write_differences
from omnial_bench.metrics.intervals import Intervals, ends_of
from omnial_bench.results import DIFFERENCE_COLUMNS, Difference

EMPTY = Drawn(
    detector="a", paradigm="unified", preset="tiny", dataset="toy", category="cap", set="clean", source="none",
    metric="image_auroc", value=0.5, n=8, seed=0, images="i",
)  # fmt: skip


def image_draws(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The draws of the image AUROC of scores; no pixel is anomalous, so that there are none of pixels to be made."""
    tally = Intervals()
    tally.update(torch.zeros(len(scores), 1, 1), torch.zeros(len(scores), 1, 1, dtype=torch.bool), scores, labels)
    return tally.draws()["image_auroc"]


def drawn(name: str, draws: torch.Tensor) -> Drawn:
    return replace(EMPTY, detector=name, value=float(draws[0]), deviations=text_of(draws))


def one(*parts: Drawn) -> Difference:
    [found] = [row for row in differences(parts) if row.category != "mean"]
    return found


def noisy(generator: torch.Generator, labels: torch.Tensor) -> torch.Tensor:
    """The draws of a detector that finds the anomalous images by one spread of its noise."""
    return image_draws(torch.randn(len(labels), generator=generator) + labels, labels)


def test_a_model_against_itself_is_nothing_to_the_last_digit() -> None:
    mine = drawn("a", noisy(torch.Generator().manual_seed(0), torch.arange(30) % 2 == 0))
    row = one(mine, replace(mine, detector="b"))
    assert (row.difference, row.low, row.high) == (0.0, 0.0, 0.0)


def test_of_a_hundred_paired_intervals_some_ninety_five_hold_the_truth() -> None:
    """Two detectors whose scores are normal and share most of their noise: their AUROC is known in closed form."""
    generator = torch.Generator().manual_seed(1)
    shifts, labels = (1.3, 0.9), torch.arange(80) % 2 == 0
    first, second = (NormalDist().cdf(shift / math.sqrt(2)) for shift in shifts)
    held, ratios, repeats = 0, [], 150
    for _ in range(repeats):
        shared = torch.randn(80, generator=generator)
        scores = [
            math.sqrt(0.8) * shared + math.sqrt(0.2) * torch.randn(80, generator=generator) + shift * labels
            for shift in shifts
        ]
        draws = [image_draws(each, labels) for each in scores]
        row = one(*(drawn(name, each) for name, each in zip("ab", draws, strict=True)))
        held += row.low <= first - second <= row.high
        apart = math.hypot(*(high - low for low, high in map(ends_of, draws)))
        ratios.append((row.high - row.low) / apart)
    assert 0.90 * repeats <= held <= 0.985 * repeats
    # The variance of a difference is 2 (1 - correlation) of that of one: here 0.8, so less than half as wide.
    assert sum(ratios) / repeats < 0.6


def test_half_precision_moves_no_end_that_is_printed() -> None:
    generator, labels = torch.Generator().manual_seed(2), torch.arange(40) % 2 == 0
    first, second = (noisy(generator, labels) for _ in range(2))
    row = one(drawn("a", first), drawn("b", second))
    ends = [row.difference + end for end in ends_of(first - second)]
    assert [row.low, row.high] == pytest.approx(ends, abs=4e-4)


def test_distances_of_classes_add_as_squares_and_means_need_the_same_classes() -> None:
    generator, labels = torch.Generator().manual_seed(3), torch.arange(24) % 2 == 0
    parts = [
        replace(drawn(name, noisy(generator, labels)), category=category)
        for name in ("a", "b")
        for category in ("cap", "tile")
    ]
    cap, tile, mean = differences(parts)
    assert (cap.category, tile.category, mean.category, mean.n) == ("cap", "tile", "mean", 16)
    assert mean.difference == pytest.approx((cap.difference + tile.difference) / 2)
    below = math.hypot(cap.difference - cap.low, tile.difference - tile.low) / 2
    assert mean.difference - mean.low == pytest.approx(below)
    assert [row.category for row in differences(parts[:-1])] == ["cap"]
    no_draws = [replace(part, deviations="") if part.category == "tile" else part for part in parts]
    assert [row.low is None for row in differences(no_draws)] == [False, True, True]


def test_other_images_and_other_seeds_are_not_compared() -> None:
    for change in ({"images": "j"}, {"seed": 1}, {"set": "spot"}, {"metric": "pixel_ap"}, {"dataset": "other"}):
        assert differences([EMPTY, replace(EMPTY, detector="b", **change)]) == []
    names = [(row.detector, row.other_detector) for row in differences(replace(EMPTY, detector=d) for d in "abc")]
    assert names == [pair for pair in (("a", "b"), ("a", "c"), ("b", "c")) for _ in ("category", "mean")]


def test_a_file_that_is_out_of_date_does_not_stay(tmp_path: Path) -> None:
    write_differences(tmp_path, [EMPTY])
    assert not list(tmp_path.iterdir())
    write_differences(tmp_path, [EMPTY, replace(EMPTY, detector="b")])
    assert len(pd.read_csv(tmp_path / "differences.csv")) == 2
    write_differences(tmp_path, [EMPTY])
    assert list(pd.read_csv(tmp_path / "differences.csv").columns) == list(DIFFERENCE_COLUMNS)
    assert pd.read_csv(tmp_path / "differences.csv").empty
