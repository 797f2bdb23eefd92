"""Modules from elsewhere as detectors: what they may return, and on which scale they are attacked."""

import pytest
import torch
from torch import Tensor, nn

from omnial_bench.errors import UserError
from omnial_bench.models.adapter import Adapted, adapt
from omnial_bench.nouns import Prediction

IMAGES = torch.rand(4, 3, 8, 10, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    """A module that makes its output of the grey picture (b, h, w)."""

    def __init__(self, make: object) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Tensor) -> object:
        return self.make(images.mean(1))  # type: ignore[operator]


@pytest.mark.parametrize(
    "make", [lambda grey: grey, lambda grey: grey[:, None], lambda grey: (grey, grey.flatten(1).amax(1))]
)
def test_maps_with_and_without_a_score_rank_as_they_did(make: object) -> None:
    made = adapt(Returns(make), [IMAGES[:2], IMAGES[2:]])(IMAGES)
    grey = IMAGES.mean(1)
    assert made.log_odds.shape == (4, 8, 10)
    assert torch.equal(made.score_map.flatten().argsort(), grey.flatten().argsort())
    assert torch.equal(made.image_score.argsort(), grey.flatten(1).amax(1).argsort())
    assert made.reconstruction is None


def test_log_odds_of_normals_lie_below_zero_and_spread_by_one() -> None:
    for factor in (1e-4, 1.0, 1e4):
        odds = adapt(Returns(lambda grey, factor=factor: factor * grey), [IMAGES])(IMAGES).log_odds
        assert (odds > 0).float().mean() <= 0.01
        assert odds.std(unbiased=False).item() == pytest.approx(1, rel=1e-3)


def test_a_score_of_its_own_is_kept_where_it_disagrees_with_the_map() -> None:
    made = adapt(Returns(lambda grey: (grey, -grey.flatten(1).amax(1))), [IMAGES])(IMAGES)
    assert torch.equal(made.image_score.argsort(), IMAGES.mean(1).flatten(1).amax(1).argsort(descending=True))


def test_a_coarse_map_is_brought_to_the_pictures_size_and_the_gradient_goes_through() -> None:
    images = IMAGES.clone().requires_grad_(True)
    made = adapt(Returns(lambda grey: grey[:, ::2, ::2]), [IMAGES])(images)
    assert made.log_odds.shape == (4, 8, 10)
    made.log_odds.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_a_prediction_and_a_detector_pass_as_they_are() -> None:
    def predict(grey: Tensor) -> Prediction:
        return Prediction(torch.stack((torch.zeros_like(grey), grey), 1), reconstruction=IMAGES)

    detector = adapt(Returns(predict), [IMAGES])
    assert torch.equal(detector(IMAGES).log_odds, IMAGES.mean(1))
    assert detector(IMAGES).reconstruction is IMAGES
    assert adapt(detector, []) is detector


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "map", "got str"),
        (lambda grey: {"map": grey}, "got dict"),
        (lambda grey: grey.flatten(1).amax(1), r"got a tensor of shape \(4,\)"),
        (lambda grey: grey[:2], r"got a tensor of shape \(2, 8, 10\)"),
        (lambda grey: grey[:, None].expand(-1, 3, -1, -1), r"got a tensor of shape \(4, 3, 8, 10\)"),
        (lambda grey: grey > 0.5, r"got a tensor of shape \(4, 8, 10\)"),
        (lambda grey: (grey, grey), "expected one image score for each of 4 images"),
        (lambda grey: grey * torch.nan, "expected finite anomaly maps"),
        (lambda grey: (grey, grey.flatten(1).amax(1) / 0), "expected finite anomaly maps"),
    ],
)
def test_anything_else_is_refused_in_one_line(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        adapt(Returns(make), [IMAGES])
    assert "\n" not in str(caught.value)


def test_it_cannot_be_trained() -> None:
    detector = Adapted(Returns(lambda grey: grey))
    with pytest.raises(UserError, match="only a Detector can be trained"):
        detector.synthesize(IMAGES, IMAGES, torch.Generator())
    with pytest.raises(UserError, match="only a Detector can be trained"):
        detector.loss(None)  # type: ignore[arg-type]


def test_a_module_that_says_the_same_of_every_normal_is_left_on_its_scale() -> None:
    detector = adapt(Returns(lambda grey: torch.zeros_like(grey)), [IMAGES])
    assert isinstance(detector, Adapted)
    assert (detector.centre, detector.scale) == ((0.0, 0.0), (1.0, 1.0))
