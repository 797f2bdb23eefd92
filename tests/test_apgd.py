"""Auto-PGD: its checkpoints, and that it goes by the algorithm of its paper."""

from fractions import Fraction

import pytest
import torch
from linear_detector import Linear, clean_images, climb
from torch import Tensor

from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.apgd import DenseAPGD, checkpoints
from omnial_bench.attacks.directions import ascent
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.victim import victim
from omnial_bench.types import Detector, ThreatModel


def test_checkpoints_of_the_paper() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99] and checkpoints(100)[41] == 19
    assert checkpoints(10) == {3: 3, 5: 2, 6: 1, 7: 1, 8: 1, 9: 1}
    assert checkpoints(1) == {}


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
    ours, _ = climb(DenseAPGD, detector, images, truth, threat, steps=steps, random_start=False)
    expected = [by_the_book(detector, images[i : i + 1], truth[i : i + 1], threat, steps) for i in range(6)]
    theirs = torch.cat([one for one, _ in expected])
    assert torch.allclose(ours, theirs, rtol=0, atol=6e-8**0.5)
    # Means over 64 pixels.
    reached = [balanced(detector(attacked), Aim(truth, attacked)) for attacked in (ours, theirs)]
    torch.testing.assert_close(*reached, rtol=64 * 6e-8, atol=0)
    assert len({halvings for _, halvings in expected}) > 1
