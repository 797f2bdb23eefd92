"""What is derived from logits: closed forms, filters at the frame, and order where probabilities saturate."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.types import Batch, Prediction, mean_filter, smoothed_log_odds


def binary(odds: Tensor, **filters: int) -> Prediction:
    """A prediction with given log-odds `b h w`."""
    return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), **filters)


def drawn(shape: tuple[int, ...] = (2, 30, 26), *, spread: float = 3.0) -> Tensor:
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(0))


class TestLogOdds:
    def test_of_four_classes_by_hand(self) -> None:
        logits = torch.tensor([math.log(2), math.log(1), math.log(3), math.log(4)]).view(1, 4, 1, 1)
        made = Prediction(logits)
        assert made.log_odds.item() == pytest.approx(math.log(8 / 2))
        assert made.anomaly_map.item() == pytest.approx(0.8)

    @pytest.mark.parametrize("classes", [2, 4])
    def test_the_map_is_one_less_the_probability_of_normal(self, classes: int) -> None:
        logits = drawn((2, classes, 5, 6))
        assert torch.allclose(Prediction(logits).anomaly_map, 1 - logits.softmax(1)[:, 0], atol=1e-6)

    def test_the_gradient_lives_where_the_probability_has_none(self) -> None:
        odds = torch.full((1, 4, 4), 200.0, requires_grad=True)
        binary(odds).log_odds.sum().backward()
        assert odds.grad is not None
        assert torch.equal(odds.grad, torch.ones_like(odds))


class TestMeanFilter:
    @pytest.mark.parametrize("side", [1, 3, 5, 11, 21])
    def test_sums_of_windows_are_the_square_window(self, side: int) -> None:
        """Against double precision: a window of 21 is ten additions and a division of values up to 1, which round by
        6e-8 each, and a slope is made of two such windows."""
        maps = torch.rand((2, 40, 30), generator=torch.Generator().manual_seed(0), requires_grad=True)
        wanted = torch.nn.functional.avg_pool2d(maps[:, None].double(), side, stride=1, padding=side // 2)[:, 0]
        torch.testing.assert_close(mean_filter(maps, side).double(), wanted, rtol=0, atol=1e-6)
        slopes = [torch.autograd.grad(out.square().sum(), maps)[0] for out in (mean_filter(maps, side), wanted)]
        torch.testing.assert_close(*slopes, rtol=0, atol=2e-6)

    def test_a_window_larger_than_the_frame(self) -> None:
        torch.testing.assert_close(mean_filter(torch.ones(1, 4, 6), 21), torch.full((1, 4, 6), 24 / 441))


class TestScoreMap:
    @pytest.mark.parametrize("smoothing", [1, 3, 5])
    def test_is_the_logit_of_the_map_where_nothing_saturates(self, smoothing: int) -> None:
        made = binary(drawn(spread=1.5), smoothing=smoothing)
        assert torch.allclose(made.score_map, torch.logit(made.anomaly_map), atol=1e-4)

    @pytest.mark.parametrize("smoothing", [1, 3])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_tells_pixels_apart_where_probabilities_do_not(self, smoothing: int, sign: int) -> None:
        """A ramp of log-odds from 30 to 60: every float32 probability of an anomaly is 1."""
        ramp = sign * torch.linspace(30, 60, 16).repeat(16, 1)[None]
        made = binary(ramp, smoothing=smoothing)
        inner = slice(1, -1)
        steps = sign * made.score_map[0, 8, inner].diff()
        assert (steps > 0).all()
        if sign == 1:
            assert (made.anomaly_map[0, inner, inner] == 1).all()

    def test_it_is_finite_at_any_finite_logit(self) -> None:
        odds = torch.tensor([[-3e4, -200.0, 0.0, 200.0, 3e4]]).repeat(5, 1)[None]
        for smoothing in (1, 3):
            assert binary(odds, smoothing=smoothing).score_map.isfinite().all()
            assert smoothed_log_odds(odds, smoothing).isfinite().all()


class TestImageScore:
    def test_is_draems(self) -> None:
        """The largest value of a 21x21 mean filter, stride 1, with 10 zeros around the frame."""
        odds = drawn((3, 40, 32))
        expected = F.avg_pool2d(torch.sigmoid(odds)[:, None], 21, stride=1, padding=10).flatten(1).amax(1)
        assert torch.allclose(binary(odds).image_score, torch.logit(expected), atol=1e-4)

    def test_a_small_pool_by_hand(self) -> None:
        odds = torch.full((1, 7, 7), -40.0)
        odds[0, 3, 3] = 40.0
        assert torch.sigmoid(binary(odds, pooling=3).image_score).item() == pytest.approx(1 / 9)
        assert binary(odds, pooling=1).image_score.item() == pytest.approx(40.0)

    def test_the_maps_smoothing_does_not_enter(self) -> None:
        odds = drawn()
        assert torch.equal(binary(odds, smoothing=5).image_score, binary(odds).image_score)

    def test_images_stay_in_order_where_probabilities_saturate(self) -> None:
        levels = torch.tensor([30.0, 40.0, 50.0])
        scores = binary(levels[:, None, None].expand(3, 32, 32)).image_score
        assert torch.allclose(scores, levels, atol=1e-3)


def test_image_labels_come_from_the_names_and_not_from_the_masks() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, 1, 1] = True
    batch = Batch(torch.zeros(3, 3, 4, 4), masks, ("cap",) * 3, ("good", "hole", "good"), ("a", "b", "c"))
    assert batch.anomalous.tolist() == [False, True, False]
