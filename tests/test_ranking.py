"""Ranking metrics against scikit-learn, by hand, and in parts."""

from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.metrics.image_ranking import ImageRanking
from omnial_bench.metrics.ranking import Ranking, RankingScores, auroc, average_precision, f1max


def reference(scores: Tensor, labels: Tensor) -> tuple[float, float, float]:
    truth, values = labels.numpy(), scores.double().numpy()
    precision, recall, _ = precision_recall_curve(truth, values)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    return float(roc_auc_score(truth, values)), float(average_precision_score(truth, values)), float(best)


def streamed(scores: Tensor, labels: Tensor, *, step: int = 1000, **settings: int) -> RankingScores:
    ranking = Ranking(**settings)
    for some, truth in zip(scores.split(step), labels.split(step), strict=True):
        ranking.update(some, truth)
    return ranking.compute()


def figures(scores: RankingScores) -> tuple[float | None, ...]:
    return astuple(scores)[:3]


def drawn(count: int, *, prevalence: float = 0.03, shift: float = 5.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Log-odds as a confident detector gives them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, generator=generator) < prevalence
    return torch.randn(count, generator=generator) * 3 - 9 + shift * labels, labels


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "log-odds": lambda odds: odds,
    "probabilities": torch.sigmoid,
    "saturated at both ends": lambda odds: torch.sigmoid(8 * odds + 50),
    "heavy ties": lambda odds: odds.round(),
    "negative zero": lambda odds: torch.where(odds > -9, -0.0, 0.0) + odds.clamp_min(-6).add(6).round(),
    "subnormal": lambda odds: odds * 1e-40,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [5.0, -4.0])
def test_stream_equals_scikit_learn(shape: str, shift: float) -> None:
    odds, labels = drawn(20_000, shift=shift)
    scores = SHAPES[shape](odds)
    assert figures(streamed(scores, labels)) == pytest.approx(reference(scores, labels), abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_image_scores_have_the_figures_of_pixels(shape: str) -> None:
    odds, labels = drawn(90, prevalence=0.4)
    ranking, scores = ImageRanking(), SHAPES[shape](odds)
    assert figures(ranking.compute()) == (None, None, None)
    for some, truth in zip(scores.split(16), labels.split(16), strict=True):
        ranking.update(some, truth)
    assert astuple(ranking.compute()) == pytest.approx(astuple(streamed(scores, labels)), abs=1e-12)
    normal = ImageRanking()
    normal.update(scores[~labels], labels[~labels])
    assert astuple(normal.compute()) == (None, None, None, 0.0, 0, int((~labels).sum()))
    with pytest.raises(UserError, match="got NaN in 1 of 2"):
        normal.update(torch.tensor([0.0, torch.nan]), torch.tensor([True, False]))


def test_exact_functions_equal_scikit_learn_in_double_precision() -> None:
    odds, labels = drawn(500)
    scores = 1 + odds.double() * 1e-12
    expected = reference(scores, labels)
    assert (auroc(scores, labels), average_precision(scores, labels), f1max(scores, labels)) == pytest.approx(expected)


def test_by_hand_on_four_by_four() -> None:
    scores = torch.tensor([[9, 8, 8, 7], [6, 5, 5, 5], [4, 3, 2, 1], [0, 0, 0, 0]]).float()
    labels = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()
    ranking = Ranking()
    ranking.update(scores, labels)
    # Of 11 negatives each positive beats 11, 10 + 1/2, 9, 7 + 2/2 and 0 + 3/2; precisions 1, 2/3, 3/5, 4/8 and 5/16.
    wins, precisions = 11 + 10.5 + 9 + 8 + 1.5, 1 + 2 / 3 + 3 / 5 + 4 / 8 + 5 / 16
    best = 2 * 3 / (5 + 5)
    best = max(best, 2 * 4 / (8 + 5))
    assert figures(ranking.compute()) == pytest.approx((wins / 55, precisions / 5, best))
    assert astuple(ranking.compute())[3:] == (5 / 16, 5, 11)


def test_a_reversed_ranking_is_not_flipped() -> None:
    labels = torch.tensor([True, True, False, False])
    assert auroc(torch.tensor([0.1, 0.2, 0.8, 0.9]), labels) == 0.0
    assert auroc(torch.full((4,), 0.5), labels) == 0.5
    assert average_precision(torch.full((4,), 0.5), labels) == 0.5


def test_infinite_scores_are_the_extremes() -> None:
    scores = torch.tensor([torch.inf, torch.inf, 3, 3, -torch.inf, -torch.inf, -torch.inf])
    labels = torch.tensor([True, False, True, False, True, False, False])
    finite = scores.clamp(-9, 9)
    assert figures(streamed(scores, labels)) == pytest.approx(reference(finite, labels))


@pytest.mark.parametrize("labels", [[False] * 3, [True] * 3, []])
def test_undefined_without_both_classes(labels: list[bool]) -> None:
    truth = torch.tensor(labels, dtype=torch.bool)
    scores = torch.arange(len(labels)).float()
    result = streamed(scores, truth)
    assert figures(result) == (None, None, None)
    assert (result.positives, result.negatives) == (sum(labels), len(labels) - sum(labels))
    assert (auroc(scores, truth), average_precision(scores, truth), f1max(scores, truth)) == (None, None, None)


def test_chunks_merges_and_repeated_computing_change_nothing() -> None:
    scores, labels = drawn(9_000)
    whole = streamed(scores, labels, step=9_000)
    assert streamed(scores, labels, step=7) == whole
    written = Ranking()
    for some, truth in zip(scores.split(3_000), labels.split(3_000), strict=True):
        written.update(given := some.clone(), true := truth.clone())
        given.zero_()
        true.fill_(False)
    assert written.compute() == whole
    parts = [Ranking() for _ in range(3)]
    for index, ranking in enumerate(parts):
        ranking.update(scores[index::3], labels[index::3])
        ranking.compute()
    before = parts[1].compute()
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    assert parts[0].compute() == parts[0].compute() == whole
    assert parts[1].compute() == before


CAPACITY, RESOLUTION, LEVELS = 2_000, 100, 4
"""Small ones, so that most pixels are binned; a score is at most four splits deep."""


def assert_within(result: RankingScores, expected: tuple[float, float, float], *, levels: int = LEVELS) -> None:
    """The bounds that the docstring of Ranking states for any scores."""
    area, precision, best = expected
    half = levels / (2 * RESOLUTION)
    assert result.auroc is not None and result.ap is not None and result.f1max is not None
    assert abs(result.auroc - area) <= half * (1 + result.positives / result.negatives)
    assert abs(result.ap - precision) <= half
    assert -2 * half <= result.f1max - best <= 1e-12


@pytest.mark.parametrize("order", ["drawn", "rising", "falling"])
@pytest.mark.parametrize("shape", SHAPES)
def test_beyond_capacity_the_stated_bound_holds(shape: str, order: str) -> None:
    odds, labels = drawn(30_000, prevalence=0.01)
    if order != "drawn":
        place = odds.argsort(descending=order == "falling")
        odds, labels = odds[place], labels[place]
    scores = SHAPES[shape](odds)
    result = streamed(scores, labels, capacity=CAPACITY, resolution=RESOLUTION)
    expected = reference(scores, labels)
    assert_within(result, expected)
    # What is usual is far from the bound, for errors of thousands of scores cancel out.
    assert figures(result) == pytest.approx(expected, abs=2e-4)


def test_beyond_capacity_a_positive_hidden_among_its_likes() -> None:
    """The worst there is for bins: all positives at one end of a cluster that falls in one bin, time and again."""
    generator = torch.Generator().manual_seed(1)
    clusters = torch.randint(40, (30_000,), generator=generator)
    steps = torch.randint(3, (30_000,), generator=generator)
    labels = (steps == 2) & (torch.rand(30_000, generator=generator) < 0.1)
    # Neighbouring float32: 1 + k/8 and the next two above.
    scores = (1 + clusters / 8).view(torch.int32).add(steps.int()).view(torch.float32)
    for place in (slice(None), scores.argsort(), scores.argsort(descending=True)):
        result = streamed(scores[place], labels[place], capacity=CAPACITY, resolution=RESOLUTION)
        assert_within(result, reference(scores, labels))


def test_beyond_capacity_memory_is_bounded_and_merging_keeps_the_bound() -> None:
    scores, labels = drawn(60_000, prevalence=0.01)
    parts = [Ranking(capacity=CAPACITY, resolution=RESOLUTION) for _ in range(4)]
    for index, ranking in enumerate(parts):
        for some, truth in zip(scores[index::4].split(500), labels[index::4].split(500), strict=True):
            ranking.update(some, truth)
    before = parts[1].compute()
    for ranking in parts[1:]:
        parts[0].merge(ranking)
    assert parts[1].compute() == before
    assert sum(len(pixels.keys) for pixels in parts[0]._pending) <= CAPACITY
    assert parts[0]._bins is not None and len(parts[0]._bins.lowest) < 2**16 + 20_000
    merged = parts[0].compute()
    assert_within(merged, reference(scores, labels), levels=2 * LEVELS)
    assert figures(merged) == pytest.approx(reference(scores, labels), abs=2e-4)
    assert parts[0].compute() == merged


def test_a_small_accumulator_takes_a_large_one() -> None:
    scores, labels = drawn(20_000, prevalence=0.05)
    few, many = (Ranking(capacity=CAPACITY, resolution=RESOLUTION) for _ in range(2))
    few.update(scores[:700], labels[:700])
    many.update(scores[700:], labels[700:])
    few.merge(many)
    assert_within(few.compute(), reference(scores, labels), levels=2 * LEVELS)


def test_exact_mode_keeps_everything() -> None:
    scores, labels = drawn(20_000)
    ranking = Ranking(exact=True, capacity=100, resolution=10)
    ranking.update(scores, labels)
    assert figures(ranking.compute()) == pytest.approx(reference(scores, labels), abs=1e-12)
    with pytest.raises(UserError, match="same settings"):
        ranking.merge(Ranking())


def test_one_positive_among_very_many() -> None:
    """The hard case at the default settings, past the capacity: 1 in 17 million, and its rank is known."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(2**24 + 2**19, generator=generator)
    labels = torch.zeros(scores.shape, dtype=torch.bool)
    labels[123] = True
    for value in (0.99999, 0.5):
        scores[123] = value
        result = streamed(scores, labels, step=2**22)
        above, level = int((scores > value).sum()), int((scores == value).sum()) - 1
        negatives = len(scores) - 1
        assert result.auroc == pytest.approx(1 - (above + level / 2) / negatives, abs=1e-6)
        assert result.ap == pytest.approx(1 / (above + level + 1), abs=1e-6)


def test_what_cannot_be_ranked_is_refused() -> None:
    labels = torch.tensor([True, False])
    with pytest.raises(UserError, match="NaN in 1 of 2"):
        Ranking().update(torch.tensor([torch.nan, 1.0]), labels)
    with pytest.raises(UserError, match="NaN"):
        auroc(torch.tensor([torch.nan, 1.0]), labels)
    with pytest.raises(UserError, match="one shape"):
        Ranking().update(torch.zeros(3), labels)
    with pytest.raises(UserError, match="bool"):
        average_precision(torch.zeros(2), torch.tensor([1, 0]))


@pytest.mark.parametrize("added_in", [True, False])
@pytest.mark.parametrize("asked_in", [True, False])
def test_pixels_are_added_and_asked_for_in_or_out_of_inference_mode(added_in: bool, asked_in: bool) -> None:
    scores, labels = drawn(60_000, prevalence=0.1)
    found, other = (Ranking(capacity=5000, resolution=1024) for _ in range(2))
    with torch.inference_mode(added_in):
        for some, truth in zip(scores.split(20_000), labels.split(20_000), strict=True):
            found.update(some, truth)
            other.update(some, truth)
    with torch.inference_mode(asked_in):
        found.merge(other)
        ranked = found.compute()
    assert ranked.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)
