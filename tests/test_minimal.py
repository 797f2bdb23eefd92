"""The smallest change across a threshold: of a linear score it is known in closed form."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from linear_detector import EPS, Linear, clean_images, threat
from masked import toy_images
from torch import Tensor

from omnial_bench.attacks.attacking import Looks, aims, attack_images
from omnial_bench.attacks.building import build_attack
from omnial_bench.attacks.sets.compose import Composed
from omnial_bench.attacks.victim import victim
from omnial_bench.errors import UserError
from omnial_bench.types import Detector, Prediction

WITHIN = 1.1


class Scored(Linear):
    """Its image score is the mean of its map, or the highest of it; one of the two may have no gradient."""

    def __init__(self, pick: Callable[..., Tensor] = torch.mean, cut: str = "", side: int = 8) -> None:
        super().__init__(side)
        self.pick, self.cut = pick, cut

    def forward(self, images: Tensor) -> Prediction:
        logits = super().forward(images).logits
        score = self.pick(logits[:, 1].flatten(1), 1)
        return Prediction(
            logits.detach() if self.cut == "map" else logits, score=score.detach() if self.cut == "score" else score
        )


def smallest(images: Tensor, detector: Scored, threshold: float, sign: float) -> Tensor:
    """By halving the exact score of the best change of each size, which [0, 1] cuts off."""
    images, weight = images.double(), detector.weight.detach().double()
    low, high = torch.zeros(len(images)).double(), torch.ones(len(images)).double()
    for _ in range(50):
        middle = (low + high) / 2
        moved = (images + sign * middle[:, None, None, None] * weight.sign()).clamp(0, 1)
        score = detector.pick((moved * weight).sum(1).flatten(1), 1)
        across = score > threshold if sign > 0 else score <= threshold
        low, high = torch.where(across, low, middle), torch.where(across, middle, high)
    return high


@pytest.mark.parametrize(("pick", "contrast"), [(torch.mean, 1.0), (torch.amax, 0.1)])
@pytest.mark.parametrize(("goal", "sign"), [("hide", -1.0), ("fabricate", 1.0)])
def test_it_is_within_a_step_of_the_closed_form(
    goal: str, sign: float, pick: Callable[..., Tensor], contrast: float
) -> None:
    detector, (images, masks) = Scored(pick), clean_images(12)
    images = 0.5 + contrast * (images - 0.5)
    scores = detector(images).image_score.detach()
    threshold = float(scores.median()) + sign * 0.1
    record = threat("minimal", eps=Fraction(8, 255), goal=goal, objective="image_score", steps=40)
    everyone = torch.full((12,), goal == "hide")
    labels, _ = aims(record.goal, masks & everyone[:, None, None], torch.ones_like(masks), everyone)
    detector.shown.clear()
    with victim([detector], threshold=threshold) as target:
        attack = build_attack(target, record, torch.Generator().manual_seed(0))
        attacked = attack(images, labels)
        passes, found = len(detector.shown), torch.tensor(attack.sizes).double()  # type: ignore[attr-defined]
        attack(images, labels)
        assert attack.sizes == found.tolist()  # type: ignore[attr-defined]
    known = smallest(images, detector, threshold, sign)
    there = (scores > threshold) == (goal == "fabricate")
    assert there.any() and (found[there] == 0).all()
    near, far = ~there & (known < 8 / 255), ~there & (known > 8 / 255)
    assert near.sum() > 2 and far.any() and torch.isinf(found[far]).all()
    assert (found[near] > known[near] * (1 - 1e-5)).all() and (found[near] < WITHIN * known[near] + 1e-6).all()
    assert passes < 40 and (attacked - images).abs().max() <= 8 / 255 + 1e-6
    across = (detector(attacked).image_score > threshold) == (goal == "fabricate")
    assert across[near].all()


def searched(
    detector: Detector, images: Tensor, threshold: float, steps: int, goal: str = "hide", levels: int = 8
) -> tuple[Tensor, list[float]]:
    record = threat("minimal", eps=Fraction(levels, 255), goal=goal, objective="image_score", steps=steps)
    with victim([detector], threshold=threshold) as target:
        attack = build_attack(target, record, torch.Generator().manual_seed(0))
        everywhere = torch.ones(len(images), *images.shape[2:], dtype=torch.bool)
        anomalous = torch.full((len(images),), goal == "hide")
        labels, _ = aims(record.goal, everywhere & anomalous[:, None, None], everywhere, anomalous)
        return attack(images, labels), attack.sizes  # type: ignore[attr-defined]


@pytest.mark.parametrize("steps", [4, 5, 6, 8, 12, 16, 24, 40])
def test_what_nothing_takes_across_is_returned_where_it_came_closest_though_steps_are_few(steps: int) -> None:
    images, _ = clean_images()
    attacked, sizes = searched(Scored(), images, -1e9, steps)
    worst = (images - EPS * Scored().weight.sign()).clamp(0, 1)
    assert torch.isinf(torch.tensor(sizes)).all() and torch.allclose(attacked, worst, atol=1e-6)


@pytest.mark.parametrize("cut", ["map", "score"])
def test_either_gradient_will_do_whatever_images_are_beside(cut: str) -> None:
    images, _ = clean_images(12)
    threshold = float(Scored()(images).image_score.detach().median()) - 0.1
    _, whole = searched(Scored(), images, threshold, 40)
    assert 0 < sum(map(math.isinf, whole)) < 12
    _, found = searched(Scored(cut=cut), images, threshold, 40)
    assert found == pytest.approx(whole, rel=WITHIN - 1)
    assert [searched(Scored(cut=cut), image[None], threshold, 40)[1][0] for image in images] == pytest.approx(found)


class Apart(Linear):
    """Its image score weighs the values as its map does up to their signs, of which a share are the map's."""

    def __init__(self, alike: float) -> None:
        super().__init__(16)
        turned = torch.rand(self.weight.shape, generator=torch.Generator().manual_seed(1)) >= alike
        self.own = self.weight.detach() * torch.where(turned, -0.05, 0.05)

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(super().forward(images).logits, score=(images * self.own).flatten(1).sum(1))


@pytest.mark.parametrize("alike", [1.0, 0.8, 0.6, 0.5])
@pytest.mark.parametrize(("goal", "sign"), [("hide", -1.0), ("fabricate", 1.0)])
def test_what_crosses_along_one_gradient_takes_no_more_than_along_the_other(
    goal: str, sign: float, alike: float
) -> None:
    """Where both cross, the way that came first took up to five times what was needed."""
    detector, (images, _) = Apart(alike), clean_images(8, 16)
    images = 0.5 + 0.1 * (images - 0.5)
    scores, most = detector(images).image_score.detach(), detector.own.abs().sum()
    threshold = float(scores.mean() + sign * 2 / 255 * most)
    need = (sign * (threshold - scores) / most).clamp_min(0)
    found = torch.tensor(searched(detector, images, threshold, 40, goal)[1])
    far = (need > 0) & (need < 6 / 255)
    assert far.sum() > 2 and (found[far] > need[far] * (1 - 1e-4)).all() and (found[far] < 1.2 * need[far]).all()


class Narrow(Linear):
    """Its image score is how far an image is from a plane in many directions, which signs of its slope near slowly."""

    def __init__(self, directions: int) -> None:
        super().__init__(8)
        self.directions = torch.randn(directions, 3 * 8 * 8, generator=torch.Generator().manual_seed(2))

    def forward(self, images: Tensor) -> Prediction:
        away = ((images - 0.5).flatten(1) @ self.directions.T).square().mean(1).sqrt()
        return Prediction(super().forward(images).logits, score=away)


@pytest.mark.parametrize("directions", [16, 64])
def test_what_is_long_in_coming_is_looked_for_as_long_at_a_smaller_size(directions: int) -> None:
    """A fifth of the lowest score is reached by 3 grey levels. With 64 directions halving alone stopped at 8.8: each
    smaller size had four steps."""
    detector, (images, _) = Narrow(directions), clean_images()
    images = 0.5 + 0.04 * (images - 0.5)
    lowest = float(detector(images).image_score.detach().min())
    assert torch.tensor(searched(detector, images, lowest / 5, 40, levels=16)[1]).median() < 3 / 255


def test_a_score_that_is_no_number_on_the_way_hides_nothing() -> None:
    def root(scores: Tensor, _: int) -> Tensor:
        return scores.mean(1).sqrt()

    images, _ = clean_images()
    images = images[Scored()(images).image_score > 0]
    with pytest.raises(UserError, match=r"expected finite (gradient|loss) from Scored, got NaN"):
        searched(Scored(root), images, -1.0, 40)


def test_without_a_threshold_there_is_nothing_to_cross() -> None:
    images, masks = clean_images()
    record = threat("minimal", goal="hide", objective="image_score", steps=4)
    with victim([Scored()]) as target, pytest.raises(UserError, match="expected a detector with a threshold"):
        build_attack(target, record, torch.Generator())(images, masks)


def test_which_side_an_image_is_on_is_asked_in_float32() -> None:
    class Noting(Scored):
        def forward(self, images: Tensor) -> Prediction:
            assert not torch.is_autocast_enabled("cpu")
            return super().forward(images)

    shown = toy_images()
    everywhere = torch.ones_like(shown.masks)
    side = shown.masks.shape[-1]
    looks = Looks([Noting(side=side)], shown, seed=0, device="cpu", precision=torch.bfloat16)
    record = threat("minimal", goal="hide", objective="image_score", steps=4)
    parts = list(attack_images(looks, Composed(shown, everywhere, everywhere), record, threshold=-1e3))
    assert sum(len(part.sizes) for part in parts) == sum(defect != "good" for defect in shown.defects)
