"""Auto-PGD: its checkpoints and its step, the optimum of detectors that are known in closed form, and its bounds."""

from fractions import Fraction

import pytest
import torch
from linear_detector import EPS, Linear, clean_images, summed
from torch import Tensor

from omnial_bench.attacks.aim import Aim, Objective
from omnial_bench.attacks.apgd import DenseAPGD, checkpoints
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.pgd import DensePGD, ascent
from omnial_bench.attacks.victim import victim
from omnial_bench.types import Detector, Prediction, ThreatModel

LINF = ThreatModel(eps=Fraction(8, 255))


def apgd(detector, images, labels, threat=LINF, where=None, seed=0, kind=DenseAPGD, **settings):
    with victim([detector]) as target:
        attack = kind(target, threat, generator=torch.Generator().manual_seed(seed), **settings)
        return attack(images, labels, where), attack


def values(objective: Objective, detector: Detector, truth: Tensor, *versions: Tensor) -> list[Tensor]:
    return [objective(detector(images), Aim(truth, images)).detach() for images in versions]


class Bowl(Linear):
    """Log-odds are highest at one image: a step that is too long leaps over it."""

    def __init__(self, peak: Tensor) -> None:
        super().__init__()
        self.register_buffer("peak", peak)

    def odds(self, images: Tensor) -> Tensor:
        return -100 * (images - self.peak).square().sum(1)


def test_checkpoints_of_the_paper() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100)[41] == 19
    assert checkpoints(10) == {3: 3, 5: 2, 6: 1, 7: 1, 8: 1, 9: 1}
    assert checkpoints(1) == {}


@pytest.mark.parametrize("random_start", [False, True])
def test_reaches_the_optimum_in_l2(random_start) -> None:
    """All of it from a random start too: the first step, of the ball's width, ends where the weights point."""
    detector, images = Linear(), torch.full((2, 3, 8, 8), 0.5)
    threat, truth = ThreatModel(eps=Fraction(1, 2), norm="l2"), torch.zeros(2, 8, 8, dtype=torch.bool)
    attacked, _ = apgd(detector, images, truth, threat, objective=summed, random_start=random_start, steps=20)
    before, after = values(summed, detector, truth, images, attacked)
    most = 0.5 * detector.weight.detach().norm()
    assert ((after - before) / most >= 0.99).all()
    assert ((after - before) / most <= 1 + 1e-5).all()
    assert (threat.distance(attacked, images) <= 0.5 + 1e-5).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_finds_a_peak_that_fixed_steps_leap_over(norm) -> None:
    images = torch.full((3, 3, 8, 8), 0.5)
    generator = torch.Generator().manual_seed(5)
    eps = Fraction(8, 255) if norm == "linf" else Fraction(1, 2)
    direction = torch.randn(3, 3, 8, 8, generator=generator)
    size = (
        direction.abs().amax((1, 2, 3), True) if norm == "linf" else direction.flatten(1).norm(dim=1).view(3, 1, 1, 1)
    )
    peak = images + 0.6 * float(eps) * direction / size
    detector, truth, threat = Bowl(peak), torch.zeros(3, 8, 8, dtype=torch.bool), ThreatModel(eps=eps, norm=norm)
    ours, _ = apgd(detector, images, truth, threat, objective=summed, steps=60)
    theirs, _ = apgd(detector, images, truth, threat, objective=summed, steps=60, kind=DensePGD, step_size=float(eps))
    missing, leapt = (-one for one in values(summed, detector, truth, ours, theirs))
    assert (missing < 0.05 * leapt).all()


class Rippled(Linear):
    """Log-odds go up and down along every value, so that every rule of the step has something to do."""

    def odds(self, images: Tensor) -> Tensor:
        return torch.sin(150 * images).sum(1) + super().odds(images) / 5


def by_the_book(detector: Detector, image: Tensor, truth: Tensor, threat: ThreatModel, steps: int):
    """Algorithm 1 of the paper for one image, with everything it met in lists; also how often the step was halved."""
    points, values, eta = [image], [], [2 * float(threat.eps)]
    slopes, marks, bests = [], [0, *checkpoints(steps)], []
    with victim([detector]) as target:
        for k in range(steps + 1):
            value, slope = target.gradient(points[k], truth, balanced)
            values.append(value.item())
            slopes.append(slope)
            bests.append(max(values))
            if k in marks[1:]:
                last = marks[marks.index(k) - 1]
                rises = sum(values[i + 1] > values[i] for i in range(last, k))
                still = eta[marks.index(last)] == (eta[marks.index(last) - 1] if last else eta[0])
                if rises < 0.75 * (k - last) or (still and bests[last] == bests[k]):
                    eta.append(eta[-1] / 2)
                    top = values.index(max(values))
                    points[k], slopes[k], values[k] = points[top], slopes[top], values[top]
                else:
                    eta.append(eta[-1])
            ahead = threat.project(points[k] + eta[-1] * ascent(slopes[k], threat), image)
            if k:
                ahead = points[k] + 0.75 * (ahead - points[k]) + 0.25 * (points[k] - points[k - 1])
            points.append(threat.project(ahead, image))
    return points[values.index(max(values))], len(set(eta)) - 1


@pytest.mark.parametrize("steps", [10, 40])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_goes_by_the_algorithm_of_the_paper(norm, steps) -> None:
    """A batch of images against one image at a time, whose steps are halved at different times.

    Around a maximum all that is nearer than the root of float32's precision (6e-8) has the same value but for rounding:
    which of these iterates is the best is chance, what they reach is not.
    """
    detector, (images, truth) = Rippled(), clean_images(6)
    threat = ThreatModel(eps=Fraction(8, 255) if norm == "linf" else Fraction(1, 4), norm=norm)
    ours, _ = apgd(detector, images, truth, threat, steps=steps, random_start=False)
    expected = [by_the_book(detector, images[i : i + 1], truth[i : i + 1], threat, steps) for i in range(6)]
    theirs = torch.cat([one for one, _ in expected])
    assert torch.allclose(ours, theirs, rtol=0, atol=6e-8**0.5)
    # Means over 64 pixels.
    torch.testing.assert_close(*values(balanced, detector, truth, ours, theirs), rtol=64 * 6e-8, atol=0)
    assert len({halvings for _, halvings in expected}) > 1


def test_each_image_has_a_step_of_its_own() -> None:
    """An image beside a hard one ends where it ends alone."""
    images = torch.full((2, 3, 8, 8), 0.5)
    peak = images.clone()
    peak[0] += 0.013
    peak[1] += 1.0
    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    settings = {"objective": summed, "steps": 30, "random_start": False}
    both, _ = apgd(Bowl(peak), images, truth, **settings)
    for row in range(2):
        alone, _ = apgd(Bowl(peak[row : row + 1]), images[:1], truth[:1], **settings)
        assert torch.allclose(both[row], alone[0], rtol=0, atol=4 * 6e-8 * 30)
    assert torch.allclose(both[1] - images[1], torch.full((), EPS))
    assert (both[0] - peak[0]).abs().max() < 0.002


def test_comes_out_with_the_best_that_it_met() -> None:
    """Also where the last checkpoint is long past: no iterate of a run was better than what comes out."""
    seen = []

    def watched(prediction: Prediction, aim: Aim) -> Tensor:
        seen.append(summed(prediction, aim).detach())
        return summed(prediction, aim)

    images, truth = torch.full((2, 3, 8, 8), 0.5), torch.zeros(2, 8, 8, dtype=torch.bool)
    peak = images + 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    attacked, _ = apgd(Bowl(peak), images, truth, objective=watched, steps=12)
    assert len(seen) == 13
    assert torch.equal(values(summed, Bowl(peak), truth, attacked)[0], torch.stack(seen).amax(0))
