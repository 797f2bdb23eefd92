"""Modules from elsewhere as detectors: what they may return, and on which scale they are attacked."""

import logging
import sys
from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.models.outside.adapter import adapt
from omnial_bench.models.outside.calibration import Scale, held_out, scale_of
from omnial_bench.types import Prediction

IMAGES = torch.rand(8, 3, 8, 10, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    """A module that makes its output of the grey image (b, h, w)."""

    def __init__(self, make: object) -> None:
        super().__init__()
        self.make = make

    def forward(self, images: Tensor) -> object:
        return self.make(images.mean(1))  # type: ignore[operator]


def two(grey: Tensor) -> Tensor:
    return torch.stack((torch.zeros_like(grey), grey), 1)


@pytest.mark.parametrize(
    "make", [lambda grey: grey, lambda grey: grey[:, None], lambda grey: (grey, grey.flatten(1).amax(1))]
)
def test_maps_with_and_without_a_score_rank_as_they_did(make: object) -> None:
    made = adapt(Returns(make), [IMAGES[:3], IMAGES[3:]])(IMAGES)
    grey = IMAGES.mean(1)
    assert made.log_odds.shape == (8, 8, 10)
    assert torch.equal(made.score_map.flatten().argsort(), grey.flatten().argsort())
    assert torch.equal(made.image_score.argsort(), grey.flatten(1).amax(1).argsort())
    assert made.reconstruction is None


def test_log_odds_of_held_out_normals_on_any_scale() -> None:
    """The rule by hand: the 99.5th percentile at 0, the median at -4, wherever the scale begins and however wide."""
    for factor, offset in ((1e-4, 0.0), (1.0, 1.0), (1e4, -3e4)):
        odds = adapt(Returns(lambda grey, a=factor, b=offset: a * grey + b), [IMAGES])(IMAGES).log_odds
        values = odds.flatten().double().numpy()
        assert np.quantile(values, 0.995) == pytest.approx(0, abs=1e-3)
        assert np.median(values) == pytest.approx(-4, abs=1e-3)


def test_the_scale_by_hand() -> None:
    assert scale_of([torch.arange(201.0)], "map") == Scale(199.0, 99 / 4)
    # A median as high as the percentile: the standard deviation is in its place.
    assert scale_of([torch.tensor([0.0] + 9 * [1.0])], "map") == Scale(1.0, pytest.approx(0.3 / 4))


def test_which_normals_are_held_out() -> None:
    assert held_out(16) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert held_out(100) == list(range(4, 100, 5))
    assert len(held_out(39)) == 9
    with pytest.raises(UserError, match=r"at least 16 normal training images.*, got 15"):
        held_out(15)


def test_a_score_of_its_own_is_kept_where_it_disagrees_with_the_map() -> None:
    made = adapt(Returns(lambda grey: (grey, -grey.flatten(1).amax(1))), [IMAGES])(IMAGES)
    assert torch.equal(made.image_score.argsort(), IMAGES.mean(1).flatten(1).amax(1).argsort(descending=True))


def test_a_coarse_map_is_brought_to_the_images_size_and_the_gradient_goes_through() -> None:
    images = IMAGES.clone().requires_grad_(True)
    made = adapt(Returns(lambda grey: grey[:, ::2, ::2]), [IMAGES])(images)
    assert made.log_odds.shape == (8, 8, 10)
    made.log_odds.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "cut_off",
    [
        lambda shown: shown.clamp(0, 1),
        lambda shown: F.hardtanh(shown, 0.0, 1.0),
        lambda shown: F.relu6(6 * shown) / 6,
        lambda shown: F.hardtanh((shown - 0.45) / 0.22, -0.45 / 0.22, 0.55 / 0.22) * 0.22,
        lambda shown: torch.minimum(torch.maximum(shown, torch.zeros(())), torch.ones(())),
    ],
)
def test_what_cuts_images_off_passes_the_gradient_of_black_and_white(cut_off: Callable[[Tensor], Tensor]) -> None:
    """Each leaves an image in [0, 1] as it is; by themselves most have no gradient, or half of it, at 0 and 1."""
    seen = []

    def make(grey: Tensor) -> Tensor:
        seen.append(grey.detach())
        return cut_off(grey)

    detector = adapt(Returns(make), [IMAGES])
    images = (4 * IMAGES[:, :1] - 1.5).clamp(0, 1).repeat(1, 3, 1, 1).requires_grad_()
    assert all((images == end).float().mean() > 0.2 for end in (0, 1))
    (gradient,) = torch.autograd.grad(detector(images).log_odds.sum(), images)
    torch.testing.assert_close(gradient, gradient[0, 0, 0, 0].expand_as(gradient), rtol=1e-4, atol=0)
    assert (gradient > 0).all()
    with torch.no_grad():
        detector(images)
    assert torch.equal(seen[-1], images.detach().mean(1))
    torch.testing.assert_close(seen[-2], seen[-1], rtol=0, atol=2**-19)


def test_a_prediction_and_a_detector_pass_as_they_are() -> None:
    def predict(grey: Tensor) -> Prediction:
        return Prediction(torch.stack((torch.zeros_like(grey), grey), 1), reconstruction=IMAGES[: len(grey)])

    detector = adapt(Returns(predict), [IMAGES])
    assert torch.equal(detector(IMAGES).log_odds, IMAGES.mean(1))
    assert torch.equal(detector(IMAGES).reconstruction, IMAGES)
    assert adapt(detector, []) is detector


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "map", "got str"),
        (lambda grey: {"map": grey}, "got dict"),
        (lambda grey: grey.flatten(1).amax(1), r"got a tensor of shape \(8,\)"),
        (lambda grey: grey[:2], r"got a tensor of shape \(2, 8, 10\)"),
        (lambda grey: grey[:, None].expand(-1, 3, -1, -1), r"got a tensor of shape \(8, 3, 8, 10\)"),
        (lambda grey: grey > 0.5, r"got a tensor of shape \(8, 8, 10\), torch\.bool"),
        (lambda grey: (9 * grey).int(), r"got a tensor of shape \(8, 8, 10\), torch\.int32"),
        (lambda grey: grey.to(torch.complex64), r"got a tensor of shape \(8, 8, 10\), torch\.complex64"),
        (lambda grey: grey.to_sparse(), r"got a tensor of shape \(8, 8, 10\), torch\.sparse_coo"),
        (lambda grey: grey.to("meta"), r"got a tensor of shape \(8, 8, 10\), without values"),
        (lambda grey: grey[:, :0], r"got a tensor of shape \(8, 0, 10\)"),
        (lambda grey: (grey, grey), "expected one float image score for each of 8 images"),
        (lambda grey: (grey, grey.flatten(1).amax(1) > 0.5), r"one float image score .* shape \(8,\), torch\.bool"),
        (lambda grey: (grey, grey.flatten(1).amax(1).to("meta")), "one float image score .* without values"),
        (lambda _: sys.exit(0), r"Returns failed on 8 float32 images of 8x10 in \[0, 1\]: SystemExit: 0"),
        (lambda grey: Prediction(grey), r"logits of shape \(8, k, 8, 10\), k at least 2, got a tensor of shape \(8, 8"),
        (lambda grey: Prediction(two(grey)[..., ::2]), r"got a tensor of shape \(8, 2, 8, 5\)"),
        (lambda grey: Prediction(two(grey).int()), r"got a tensor of shape \(8, 2, 8, 10\), torch\.int32"),
        (lambda grey: Prediction(two(grey), reconstruction=grey[:, None]), "a reconstruction of shape"),
        (lambda grey: Prediction(two(grey), score=grey), r"an image score of shape \(8,\), got"),
        (lambda grey: Prediction(two(grey), pooling=4), "an odd smoothing and pooling, got 1 and 4"),
        (lambda grey: 0 * grey, "expected anomaly maps that differ among normal images, got 0 everywhere"),
        (lambda grey: (grey, torch.ones(len(grey))), "expected image scores that differ"),
        (lambda grey: grey * torch.nan, "expected finite anomaly maps"),
        (lambda grey: (grey, grey.flatten(1).amax(1) / 0), "expected finite image scores"),
        (lambda grey: grey.squeeze(), r"expected an anomaly map .*, got a tensor of shape \(8, 10\)"),
        (lambda grey: grey.mean((1, 2))[:, None, None], "of more than one value an image"),
        (lambda grey: (grey, 0.5), "got float; return the map first"),
        (lambda grey: grey.half() @ grey, r"float32 images of 8x10 in \[0, 1\]: RuntimeError: .* \(--size\)"),
    ],
)
def test_anything_else_is_refused_in_one_line(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        adapt(Returns(make), [IMAGES])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_maps_of_other_floats_come_back_as_float32(kind: torch.dtype) -> None:
    made = adapt(Returns(lambda grey: (grey.to(kind), grey.flatten(1).amax(1).to(kind))), [IMAGES])(IMAGES)
    assert made.log_odds.dtype == made.image_score.dtype == torch.float32


@pytest.mark.parametrize(
    ("method", "error", "line"),
    [
        ("train", ValueError("no eval"), "Returns failed to go to eval mode: ValueError: no eval"),
        ("named_buffers", OSError(5), "failed to name its parameters"),
    ],
)
def test_a_module_that_is_not_ready_is_one_line(method: str, error: Exception, line: str) -> None:
    module = Returns(lambda grey: grey)
    setattr(module, method, Mock(side_effect=error))
    with pytest.raises(UserError, match=line):
        adapt(module, [IMAGES])


class Silent(RuntimeError):
    """Cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


def test_a_module_that_fails_later_is_one_line_and_a_missing_gradient_stays_what_it_is() -> None:
    detector = adapt(Returns(lambda grey: grey), [IMAGES])
    for error in (ValueError("no\nmore"), SystemExit(0), RuntimeError("shapes"), Silent()):
        detector.module.make = Mock(side_effect=error)  # type: ignore[union-attr]
        with pytest.raises(
            UserError, match=rf"Returns failed on 8 float32 images of 8x10 in .*: {type(error).__name__}: "
        ) as caught:
            detector(IMAGES)
        assert "\n" not in str(caught.value)
    detector.module.make = lambda grey: torch.from_numpy(grey.numpy())  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="requires grad"):
        detector(IMAGES.clone().requires_grad_())
    detector.module.make = Mock(side_effect=KeyboardInterrupt)  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        detector(IMAGES)


class Writes(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mul_(0.5).mean(1)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.LazyLinear(3)

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1)


def test_images_stay_as_they_are_and_parameters_have_values() -> None:
    before = IMAGES.clone()
    with pytest.raises(UserError, match="Writes writes into the images that it is given"):
        adapt(Writes(), [IMAGES])
    assert torch.equal(IMAGES, before)
    with pytest.raises(UserError, match=r"Lazy has parameters that no image gave a value, such as unused\.weight"):
        adapt(Lazy(), [IMAGES])


@pytest.mark.parametrize("together", [True, False])
def test_a_module_that_mixes_the_images_of_a_batch_is_warned_of(together: bool, caplog) -> None:
    """By the least and the largest value of all images in place of each one's."""
    of = (0, 1, 2) if together else (1, 2)
    with caplog.at_level(logging.WARNING):
        adapt(
            Returns(lambda grey: (grey - grey.amin(of, True)) / (grey.amax(of, True) - grey.amin(of, True))), [IMAGES]
        )
    assert ("Returns says something else of an image when others lie beside it" in caplog.text) == together


class Dropping(nn.Sequential):
    """Dropout that stays on, or goes off with the rest."""

    def __init__(self, stays: bool) -> None:
        super().__init__(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.Dropout(0.5))
        self.stays = stays

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        """Returns nothing, where torch's own returns the module."""
        super().train(mode or self.stays)


@pytest.mark.parametrize("stays", [True, False])
def test_a_module_in_training_mode_is_put_right_or_warned_of(stays: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        adapt(Dropping(stays), [IMAGES])
    assert ("Dropping says something else of the same images" in caplog.text) == stays
