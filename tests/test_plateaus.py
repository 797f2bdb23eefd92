"""Pixels without a gradient, and what they do to a map."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from masked import Honest, toy_images
from test_slopes import Before
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.attacks import pgd
from omnial_bench.attacks.aim import Objective
from omnial_bench.attacks.apgd import DenseAPGD
from omnial_bench.attacks.objectives import balanced, image_score, linear
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.plateaus import off_plateaus, unfelt
from omnial_bench.attacks.victim import victim
from omnial_bench.data.images import Images, to_float
from omnial_bench.types import Detector, Goal, Prediction, ThreatModel

Change = Callable[[Tensor], Tensor]
BALL = ThreatModel(eps=Fraction(8, 255))


def shown_to() -> tuple[Images, Tensor]:
    """Toy images with more contrast: a third of their pixels are white, and some black."""
    toy = toy_images()
    return toy, (4 * to_float(toy.images, torch.device("cpu")) - 1).clamp(0, 1)


def of(change: Change, eps: Fraction = BALL.eps) -> float | None:
    """Of a toy detector that is shown its images changed."""
    toy, images = shown_to()
    with victim([Before(Honest(), change)]) as target:
        return unfelt(target, images, toy.masks, ThreatModel(eps=eps), torch.Generator().manual_seed(0))


def blanked(images: Tensor) -> Tensor:
    white = (images.detach() > 0.98).to(images)
    return images * (1 - white) + white


def cropped(images: Tensor) -> Tensor:
    return F.pad(images[..., 4:-4, 4:-4], (4, 4, 4, 4))


def filled(images: Tensor) -> Tensor:
    """Grey in place of white: a jump, over which no gradient leads."""
    white = (images.detach() > 0.98).to(images)
    return images * (1 - white) + 0.5 * white


def rounded(images: Tensor) -> Tensor:
    left = images[..., :16]
    return torch.cat(((left * 30).round() / 30, images[..., 16:]), -1)


def largest(images: Tensor) -> Tensor:
    return F.interpolate(F.max_pool2d(images, 2), scale_factor=2)


def median(images: Tensor) -> Tensor:
    windows = F.unfold(F.pad(images, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None], 3)
    return windows.median(1).values.view_as(images)


def reddest(images: Tensor) -> Tensor:
    return images.amax(1, keepdim=True).expand(-1, 3, -1, -1)


class Differences(Detector):
    """Its map is a signed second difference: in a sum over all pixels each image value cancels."""

    def forward(self, images: Tensor) -> Prediction:
        kernel = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
        odds = F.conv2d(images.mean(1, keepdim=True), kernel[None, None], padding=1)
        return Prediction(torch.cat((torch.zeros_like(odds), odds), 1), pooling=5)


LEFT = (blanked, lambda shown: shown.clamp(2 / 255, 253 / 255), F.hardtanh)
"""What is flat at an image and left within eight grey levels."""


@pytest.mark.parametrize("change", [lambda shown: shown, lambda shown: shown.clamp(0, 1), cropped, *LEFT])
def test_what_is_felt_where_attacks_begin_or_has_no_effect_counts_nothing(change: Change) -> None:
    assert of(change) == 0


@pytest.mark.parametrize(
    "detector", [Differences(), Before(Honest(), largest), Before(Honest(), median), Before(Honest(), reddest)]
)
def test_pixels_that_others_keep_out_are_on_no_plateau(detector: Detector) -> None:
    """Each of these has pixels without a gradient, and comes to them when others have moved: attacks begin as ever."""
    toy, images = shown_to()
    with victim([detector]) as target:
        assert unfelt(target, images, toy.masks, BALL, torch.Generator().manual_seed(0)) == 0
        begin = off_plateaus(target, images, images, BALL, torch.ones_like(images, dtype=torch.bool), linear)
    assert torch.equal(begin, images)


@pytest.mark.parametrize("change", [rounded, lambda shown: (shown * 30).round() / 30])
def test_what_is_flat_all_over_the_ball_and_moves_the_map_counts(change: Change) -> None:
    found = of(change)
    assert found is not None and found > 0.2


def test_what_is_flat_in_all_of_the_ball_counts_nothing() -> None:
    """At a grey level no white pixel leaves the mask."""
    assert of(blanked, Fraction(1, 255)) == 0


def test_where_noise_moves_nothing_nothing_is_told() -> None:
    assert of(lambda shown: 0 * shown) is None


@pytest.mark.parametrize("change", LEFT)
@pytest.mark.parametrize("attack", [DensePGD, DenseAPGD])
def test_attacks_find_what_they_find_without_the_plateau(attack: type[DensePGD], change: Change) -> None:
    """From the images themselves, and measured where nothing hides."""
    toy, images = shown_to()
    with victim([Honest()]) as plain, victim([Before(Honest(), change)]) as target:
        gains = []
        for each in (plain, target):
            generator = torch.Generator().manual_seed(0)
            done = attack(each, BALL, generator=generator, objective=balanced, steps=10, random_start=False)
            gains.append(each.value(done(images, toy.masks), toy.masks, balanced).mean())
    assert gains[1] > 0.9 * gains[0]


@pytest.mark.parametrize("attack", [DensePGD, DenseAPGD])
@pytest.mark.parametrize("objective", [balanced, image_score])
@pytest.mark.parametrize("goal", ["any", "hide"])
@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("change", [*LEFT, filled])
def test_no_attack_is_weaker_for_it(
    attack: type[DensePGD], objective: Objective, goal: Goal, restarts: int, change: Change, monkeypatch
) -> None:
    """Image by image; what lies behind a jump may look like one great defect, which nothing hides."""
    toy, images = shown_to()
    labels = toy.masks if goal == "any" else torch.zeros_like(toy.masks)
    gains = []
    for without in (True, False):
        with monkeypatch.context() as patch, victim([Before(Honest(), change)]) as target:
            if without:
                patch.setattr(pgd, "off_plateaus", lambda _, begin, *__: begin)
            ball, generator = ThreatModel(eps=BALL.eps, goal=goal), torch.Generator().manual_seed(0)
            made = attack(target, ball, generator=generator, objective=objective, steps=6, restarts=restarts)
            done = made(images, labels)
            gains.append(made.sign * target.value(done, labels, objective, towards=goal != "any"))
    assert (gains[1] >= gains[0] - 1e-6).all()


@pytest.mark.parametrize("ball", [BALL, ThreatModel(eps=Fraction(1), norm="l2")])
def test_region_and_ball_are_kept(ball: ThreatModel) -> None:
    toy, images = shown_to()
    where = torch.zeros_like(toy.masks)
    where[:, :16] = True
    with victim([Before(Honest(), blanked)]) as target:
        generator = torch.Generator().manual_seed(0)
        done = DensePGD(target, ball, generator=generator, steps=2)(images, toy.masks, where)
    assert torch.equal(done[..., 16:, :], images[..., 16:, :])
    assert ball.distance(done, images).max() <= float(ball.eps) + 1e-6
