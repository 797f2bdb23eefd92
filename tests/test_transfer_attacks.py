"""Momentum, diverse inputs and translation invariance, against closed forms and torchattacks' own."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
import torchattacks
from linear_detector import EPS, LINF, Linear, clean_images, climb, share, summed
from scipy import ndimage
from torch import Tensor, nn

from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.objectives import balanced, cross_entropy
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.settings import Diversity, Momentum, Translation
from omnial_bench.attacks.transfer import DenseTransfer, smooth
from omnial_bench.attacks.victim import victim
from omnial_bench.types import Prediction, ThreatModel

transfer = partial(climb, DenseTransfer)


class Convolved(Linear):
    """Neighbours have a say, so that gradients of different pixels mix. Keeps the last images that it was shown."""

    def __init__(self) -> None:
        super().__init__(side=16)
        self.layer = nn.Conv2d(3, 1, 5, padding=2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(self.layer.weight.shape, generator=torch.Generator().manual_seed(4)))
            self.layer.bias.zero_()

    def odds(self, images: Tensor) -> Tensor:
        self.last = images.detach()
        return torch.sin(3 * self.layer(images)[:, 0])


@pytest.mark.parametrize(
    ("settings", "least", "most_"), [({"diversity": 1.0}, 0.9, 1.0), ({"kernel": 5}, 0.1, 0.9)], ids=["di", "ti"]
)
def test_diverse_and_smoothed_gradients_fall_short_of_it_on_their_source(settings, least, most_) -> None:
    """They give up what is the source's own: a kernel, on a detector of independent pixels, a good part."""
    detector, (images, labels) = Linear(), clean_images()
    attacked, _ = transfer(detector, images, labels, **settings)
    reached = share(balanced, detector, images, attacked, labels, "any")
    assert (reached > least).all() and (reached < most_).all()


@pytest.mark.parametrize("momentum", [0.5, 1.0])
def test_is_the_momentum_attack_of_torchattacks(momentum) -> None:
    images, truth = clean_images(side=16)
    ours, _ = transfer(
        Convolved(), images, truth, objective=cross_entropy, momentum=momentum, step_size=2 / 255, steps=10
    )
    with victim([Convolved()]) as target:
        theirs = torchattacks.MIFGSM(target, eps=8 / 255, alpha=2 / 255, steps=10, decay=momentum)
        expected = theirs(images, truth.long())
    # Another form of the loss rounds otherwise, and a value whose slope is 0 but for that goes the other way.
    assert ((ours - expected).abs() > 1e-6).float().mean() < 0.01
    reached = [cross_entropy(Convolved()(x), Aim(truth, x)).detach() for x in (ours, expected)]
    torch.testing.assert_close(*reached, rtol=1e-4, atol=0)
    assert not torch.equal(ours, images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_momentum_of_a_faint_gradient_is_as_long(norm) -> None:
    images, truth = clean_images()
    images = 0.2 + 0.6 * images
    threat = ThreatModel(eps=Fraction(8, 255), norm=norm)

    def faint(*given: object) -> Tensor:
        return 1e-30 * summed(*given)

    one, other = (transfer(Linear(), images, truth, threat, objective=objective)[0] for objective in (faint, summed))
    assert torch.allclose(one, other, atol=1e-6)
    assert threat.distance(one, images).tolist() == pytest.approx([EPS] * 4, rel=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_its_means_it_is_pgd(norm) -> None:
    images, truth = clean_images(side=16)
    threat = ThreatModel(eps=Fraction(8, 255), norm=norm)
    ours, _ = transfer(Convolved(), images, truth, threat, momentum=0.0, random_start=True)
    expected, _ = climb(DensePGD, Convolved(), images, truth, threat)
    assert torch.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("side", [1, 3, 15])
def test_smoothing_is_a_gaussian_of_the_papers_deviation(side) -> None:
    gradient = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    at, sigma = np.arange(side) - side // 2, max(side // 2, 1) / np.sqrt(3)
    line = np.exp(-(at**2) / (2 * sigma**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    expected = [[ndimage.convolve(channel, kernel, mode="constant") for channel in one] for one in gradient.numpy()]
    assert np.allclose(smooth(gradient, side).numpy(), expected, atol=1e-6)


def test_diverse_images_are_shown_smaller_with_their_labels() -> None:
    """A white square on black, labelled as it is: where the shown image is white, the shown label is True."""
    images, truth = torch.zeros(8, 3, 16, 16), torch.zeros(8, 16, 16, dtype=torch.bool)
    truth[:, 4:12, 4:12] = True
    images[truth[:, None].expand_as(images)] = 1.0
    detector, labels = Convolved(), []

    def watched(prediction: Prediction, aim: Aim) -> Tensor:
        labels.append(aim.truth)
        return balanced(prediction, aim)

    transfer(detector, images, truth, objective=watched, diversity=1.0, resize=0.5, steps=1)
    shown = detector.last[:, 0]
    # Half a pixel at an edge, and a quarter at a corner, is what the interpolation leaves open.
    assert (shown[labels[0]] >= 0.24).all() and (shown[~labels[0]] <= 0.51).all()
    sizes = labels[0].flatten(1).sum(1).tolist()
    assert min(sizes) >= 16 and max(sizes) <= 64 and len(set(sizes)) > 2
    assert len({tuple(one.nonzero().float().mean(0).tolist()) for one in labels[0]}) > 4


def test_a_diverse_image_is_shown_whole_at_any_place_of_the_frame() -> None:
    with victim([Linear()]) as target:
        attack = DenseTransfer(target, LINF, generator=torch.Generator(), diversity=1.0, resize=0.5)
    attack.generator.manual_seed(0)
    taken = attack.lookout(torch.zeros(0))._grid(torch.zeros(400, 3, 64, 64))
    for axis in (taken[:, 0, :, 0], taken[:, :, 0, 1]):
        # From the frame's two edges, in half pixels, to the image's, which lie at -1 and 1.
        pixel = axis[:, 1] - axis[:, 0]
        before, behind = -1 - (axis[:, 0] - pixel / 2), axis[:, -1] + pixel / 2 - 1
        assert (torch.minimum(before, behind) >= -1e-5).all()
        shares = (before / (before + behind))[pixel * 32 > 1.5]
        assert shares.min() < 0.05 and shares.max() > 0.95


def test_a_image_fills_its_frame_where_diversity_leaves_it() -> None:
    images, truth = clean_images(side=16)
    detector = Convolved()
    transfer(detector, images, truth, diversity=1e-9, steps=1)
    assert torch.allclose(detector.last, images, atol=1e-5)
    transfer(detector, images, truth, diversity=0.5, resize=0.8, steps=1, seed=1)
    same = [torch.allclose(one, other, atol=1e-5) for one, other in zip(detector.last, images, strict=True)]
    assert sum(same) not in (0, 4)


def test_gradient_goes_back_through_the_diverse_input() -> None:
    """Against a difference quotient of the objective of the images as they are shown."""
    images, truth = clean_images(2, side=16)
    images = 0.1 + 0.8 * images
    with victim([Convolved().double()]) as target:
        attack = DenseTransfer(target, LINF, generator=torch.Generator(), diversity=1.0, resize=0.7)

        def look(x: Tensor) -> tuple[Tensor, Tensor]:
            attack.generator.manual_seed(3)
            return attack.lookout(truth).gradient(x, 0.0)

        images = images.double()
        direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(2)).double()
        _, gradient = look(images)
        ahead, behind = (look(images + sign * 1e-3 * direction)[0] for sign in (1, -1))
    expected = (ahead - behind) / 2e-3
    assert torch.allclose((gradient * direction).flatten(1).sum(1), expected, rtol=1e-2, atol=1e-3)


def test_kinds_differ_in_their_defaults() -> None:
    assert (Momentum().momentum, Momentum().diversity, Momentum().kernel) == (1.0, 0.0, 0)
    assert (Diversity().diversity, Diversity().kernel) == (0.5, 0)
    assert (Translation().diversity, Translation().kernel) == (0.0, 15)
