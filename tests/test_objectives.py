"""Losses that attacks raise, against values worked by hand."""

import math

import pytest
import torch

from omnial_bench.attacks.objectives import OBJECTIVES, Aim, balanced, cross_entropy, objective_named
from omnial_bench.errors import UserError
from omnial_bench.nouns import Prediction


def prediction(odds: torch.Tensor) -> Prediction:
    return Prediction(torch.stack((torch.zeros_like(odds), odds), dim=1))


def aim(truth: torch.Tensor) -> Aim:
    return Aim(truth, torch.zeros(len(truth), 3, *truth.shape[1:]))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


ODDS = torch.zeros(1, 4, 4).index_put((torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), torch.tensor(2.0))
TRUTH = torch.zeros(1, 4, 4, dtype=torch.bool)
TRUTH[0, 0, 0] = TRUTH[0, 1, 2] = True
"""Two anomalous pixels, of log-odds 0 and 2; fourteen normal ones of log-odds 0."""


def test_cross_entropy_is_the_mean_over_pixels() -> None:
    expected = (15 * math.log(2) + softplus(-2)) / 16
    assert cross_entropy(prediction(ODDS), aim(TRUTH)).tolist() == pytest.approx([expected])


def test_balanced_adds_the_means_of_the_two_kinds() -> None:
    expected = (math.log(2) + softplus(-2)) / 2 + math.log(2)
    assert balanced(prediction(ODDS), aim(TRUTH)).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("kind", [False, True])
def test_balanced_uses_the_one_kind_that_there_is(kind: bool) -> None:
    truth = torch.full_like(TRUTH, kind)
    assert torch.allclose(balanced(prediction(ODDS), aim(truth)), cross_entropy(prediction(ODDS), aim(truth)))


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_images_do_not_mix_and_worse_is_higher(objective) -> None:
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(3, 4, 4, generator=generator)
    truth = torch.rand(3, 4, 4, generator=generator) > 0.7
    together = objective(prediction(odds), aim(truth))
    apart = torch.cat([objective(prediction(odds[i : i + 1]), aim(truth[i : i + 1])) for i in range(3)])
    assert together.shape == (3,)
    assert torch.allclose(together, apart)
    right = torch.where(truth, 5.0, -5.0)
    assert (objective(prediction(right), aim(truth)) < 0.02).all()
    assert (objective(prediction(-right), aim(truth)) > 4).all()


def test_four_class_heads_are_attacked_through_their_log_odds() -> None:
    logits = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    truth = torch.ones(2, 4, 4, dtype=torch.bool)
    expected = -(1 - logits.softmax(1)[:, 0]).log().flatten(1).mean(1)
    assert torch.allclose(cross_entropy(Prediction(logits), aim(truth)), expected, atol=1e-6)


def test_a_saturated_pixel_still_has_its_gradient() -> None:
    """In the usual form of cross-entropy this gradient is 0 in float32."""
    odds = torch.full((1, 4, 4), 40.0, requires_grad=True)
    loss = cross_entropy(prediction(odds), aim(torch.ones(1, 4, 4, dtype=torch.bool))).sum()
    (gradient,) = torch.autograd.grad(loss, odds)
    assert (gradient < 0).all()


def test_unknown_objective_names_the_closest() -> None:
    assert objective_named("balanced") is balanced
    with pytest.raises(UserError, match="cross_entropy"):
        objective_named("cross-entropy")
