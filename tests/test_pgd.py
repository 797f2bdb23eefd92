"""PGD against detectors whose worst image is known in closed form, and against torchattacks' own."""

from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from functools import partial
from itertools import pairwise

import pytest
import torch
import torchattacks
from linear_detector import EPS, LINF, Linear, clean_images, climb, share, summed
from torch import Tensor, nn

from omnial_bench.attacks.aim import Aim, Objective, Rivals
from omnial_bench.attacks.directions import ascent, gathered
from omnial_bench.attacks.objectives import (
    balanced,
    cross_entropy,
    image_score,
    joint,
    linear,
    peaks,
    reconstruction,
    segpgd,
)
from omnial_bench.attacks.pgd import DensePGD, first_step
from omnial_bench.attacks.victim import Victim, as_victim, victim
from omnial_bench.errors import UserError
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.models.outside.gradients import ForwardOnly
from omnial_bench.types import Detector, Prediction, ThreatModel

TARGETED = ThreatModel(eps=Fraction(8, 255), goal="target")
TURNED = 1e-4
"""Relative, between the objectives that two attacks reach whose sums were taken in another order. Sums of 27 products
and 64 pixels differ by 91 x 6e-8 at the most. A value whose slope is 0 but for that may be moved the other way, by two
steps d of 0.0065: it costs half of d squared times the curvature, below 0.3 for these weights, so some 2e-5."""


class Convolution(Detector):
    """A batch-normalised convolution with dropout, so that modes matter."""

    def __init__(self, seed: int = 0, side: int | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layer = nn.Conv2d(3, 2, 3, padding=1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(self.layer.weight.shape, generator=generator))
            self.layer.bias.zero_()
        self.norm = nn.BatchNorm2d(2)
        self.dropout = nn.Dropout(0.5)
        self.side = side

    def forward(self, images: Tensor) -> Prediction:
        logits = self.dropout(self.norm(self.layer(images)))
        return Prediction(logits if self.side is None else logits[..., : self.side, : self.side])


def attack(detector: Detector, images: Tensor, labels: Tensor, ball: ThreatModel = LINF, **settings):
    attacked, pgd = climb(DensePGD, detector, images, labels, ball, **settings)
    return attacked, pgd.losses


def assert_as_strong(target: Victim, one: Tensor, other: Tensor, truth: Tensor) -> None:
    """Two attacks reach the same, though a value here and there went the other way."""
    assert ((one - other).abs() > 1e-6).float().mean() < 0.01
    for objective in (cross_entropy, balanced):
        values = [target.value(images, truth.bool(), objective) for images in (one, other)]
        torch.testing.assert_close(*values, rtol=TURNED, atol=0)


@pytest.mark.parametrize(("goal", "kind"), [("any", False), ("any", True), ("hide", False), ("fabricate", True)])
@pytest.mark.parametrize("objective", [image_score, joint])
def test_reaches_the_optimum_of_the_image_score(objective, goal, kind) -> None:
    """A window of 21 pixels holds the whole image, so with pixels of one kind all of them go the same way."""
    (images, _), truth = clean_images(), torch.full((4, 8, 8), kind)
    attacked, _ = attack(Linear(), images, truth, ThreatModel(eps=Fraction(8, 255), goal=goal), objective=objective)
    reached = share(objective, Linear(), images, attacked, truth, goal)
    assert (reached >= 0.99).all() and (reached <= 1 + 1e-5).all()


class Highest(Linear):
    """Every pixel's colour counts alike; the image score is the highest pixel's log-odds."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.ones_(self.weight)

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(super().forward(images).logits, pooling=1)


@pytest.mark.parametrize("goal", ["any", "hide"])
def test_a_score_that_one_pixel_decides_falls_as_far_as_it_can(goal) -> None:
    """Where it has fallen, another pixel is the highest: along the score's own gradient the next step lowers that."""
    images, truth = 0.5 + 0.02 * clean_images()[0], torch.full((4, 8, 8), goal == "any")
    ball = ThreatModel(eps=Fraction(8, 255), goal=goal)
    whole, alone = (
        share(image_score, Highest(), images, attack(Highest(), images, truth, ball, objective=one)[0], truth, goal)
        for one in (peaks, image_score)
    )
    assert (whole >= 0.99).all() and (alone < 0.7).all()


class Detached(Linear):
    """A map and a score, one of which has no gradient."""

    def __init__(self, cut: str) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, images: Tensor) -> Prediction:
        logits = super().forward(images).logits
        score = logits[:, 1].flatten(1).amax(1)
        whole = self.cut != "map"
        return Prediction(logits if whole else logits.detach(), score=score.detach() if whole else score)


@pytest.mark.parametrize(
    ("cut", "without", "beside"), [("map", peaks, image_score), ("image score", image_score, peaks)]
)
def test_what_of_a_prediction_has_no_gradient_is_named_and_the_other_attacked(cut, without, beside) -> None:
    (images, _), truth = clean_images(), torch.ones(4, 8, 8, dtype=torch.bool)
    attacked, _ = attack(Detached(cut), images, truth, objective=beside)
    assert (share(image_score, Detached(cut), images, attacked, truth, "any") > 0.5).all()
    with pytest.raises(UserError, match=f"gradient from the output of Detached .*its {cut} does not depend on it"):
        attack(Detached(cut), images, truth, objective=without)


class Repairing(Linear):
    """A reconstruction that moves every value away from its input by a share of it."""

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(super().forward(images).logits, reconstruction=0.5 * images + 0.4)


@pytest.mark.parametrize("goal", ["any", "target"])
def test_reaches_the_optimum_of_a_linear_reconstruction(goal) -> None:
    """The difference is 0.4 - x / 2: largest for the darkest image, and smallest for the brightest."""
    images, truth = clean_images()
    images = 0.2 + 0.4 * images
    ball = ThreatModel(eps=Fraction(8, 255), goal=goal)
    attacked, _ = attack(Repairing(), images, truth, ball, objective=reconstruction, random_start=False)
    copied = truth if goal == "any" else ~truth
    best = images + EPS * torch.where(copied, 1.0, -1.0)[:, None]
    assert torch.allclose(attacked, best, atol=1e-6)


def test_stands_where_torchattacks_stands() -> None:
    """On a plain module of logits, which each leaves in the mode in which it was."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    images, truth = clean_images()
    theirs = torchattacks.PGD(module, eps=EPS, alpha=2 / 255, steps=10, random_start=False)(images, truth.long())
    settings = {"objective": cross_entropy, "step_size": 2 / 255, "random_start": False}
    ours = DensePGD(module, LINF, generator=torch.Generator(), **settings)(images, truth.long())
    assert_as_strong(as_victim(module), ours, theirs, truth)
    assert not torch.equal(ours, images)
    assert not module.training and all(weight.grad is None for weight in module.parameters())
    with pytest.raises(UserError, match=r"expected logits of shape \(b, 2, h, w\) from Conv2d, got shape"):
        DensePGD(nn.Conv2d(3, 1, 1), LINF, generator=torch.Generator())(images, truth)


def test_steps_that_decay_fall_linearly() -> None:
    """Up a slope and far from the bound, each step gains as much as it is long."""
    detector, images = Linear(), torch.full((2, 3, 8, 8), 0.5)
    settings = {"objective": summed, "steps": 5, "decay": True, "random_start": False, "step_size": 0.01}
    _, losses = attack(detector, images, torch.zeros(2, 8, 8).bool(), ThreatModel(eps=Fraction(1, 4)), **settings)
    slope = detector.weight.abs().sum().item()
    gains = [(after - before) / slope for before, after in pairwise(losses)]
    assert gains == pytest.approx([0.01, 0.008, 0.006, 0.004], rel=1e-3)


def test_momentum_evens_out_what_turns_about() -> None:
    """Red climbs by 1 of 4, and green turns about, from 3 of 4 to -3: half of the first and the second."""
    first, second = (torch.tensor([1.0, green, 0.0]).view(1, 3, 1, 1) for green in (3.0, -3.0))
    direction = gathered(gathered(torch.zeros_like(first), first, 0.5), second, 0.5)
    assert direction.flatten().tolist() == pytest.approx([0.25 * 1.5, 0.75 * 0.5 - 0.75, 0.0])
    # The scale of either gradient says nothing, nor does one that is zero.
    again = gathered(gathered(torch.zeros_like(first), 1e-20 * first, 0.5), 1e9 * second, 0.5)
    assert torch.allclose(again, direction)
    assert torch.equal(gathered(direction, torch.zeros_like(first), 0.5), direction / 2)


def test_momentum_reaches_the_corner_that_plain_steps_reach() -> None:
    """On a linear detector, where all gradients are one: the same images to the last bit."""
    images, truth = clean_images()
    settings = {"objective": linear, "decay": True}
    (plain, _), (carried, _) = (attack(Linear(), images, truth, momentum=m, **settings) for m in (0.0, 0.5))
    assert torch.equal(plain, carried)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 50])
@pytest.mark.parametrize("decay", [False, True])
def test_default_steps_cross_the_ball(steps, decay) -> None:
    """From one end to the other is 2 eps; the steps add up to 2.5, which no number of them falls short of."""
    first = first_step(Fraction(8, 255), steps, decay=decay)
    shares = [1 - Fraction(step, steps) if decay else 1 for step in range(steps)]
    assert first * sum(shares) >= Fraction(5, 2) * Fraction(8, 255)
    assert not decay or first >= Fraction(4, 255)


def test_several_detectors_are_attacked_by_the_means_of_their_logits_and_gradients() -> None:
    images, truth = clean_images()
    one, other = Convolution(1), Linear(seed=2)
    with victim([one]) as first, victim([other]) as second, victim([one, other]) as both:
        (loss, gradient), *apart = (each.gradient(images, truth, balanced) for each in (both, first, second))
        logits = both(images)
        odds = [each(images)[:, 1] for each in (first, second)]
    assert torch.allclose(loss, (apart[0][0] + apart[1][0]) / 2)
    assert torch.allclose(gradient, (apart[0][1] + apart[1][1]) / 2, atol=1e-7)
    assert not torch.allclose(apart[0][1], apart[1][1])
    assert logits.shape == (4, 2, 8, 8) and (logits[:, 0] == 0).all()
    assert torch.allclose(logits[:, 1], (odds[0] + odds[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("fails", [False, True])
def test_detector_is_left_as_it_was(fails) -> None:
    """Also what was frozen, and no statistics leak in; an error, which stays the detector's own, changes nothing."""
    images, truth = clean_images()
    detector = Convolution().train()
    detector.norm.eval()
    detector.layer.bias.requires_grad_(False)

    def state_of() -> tuple[list[bool], list[bool]]:
        return [m.training for m in detector.modules()], [p.requires_grad for p in detector.parameters()]

    before, weights = state_of(), {k: v.clone() for k, v in detector.state_dict().items()}

    def tear(*_: object) -> None:
        raise RuntimeError("out of paper")

    if fails:
        detector.layer.register_forward_hook(tear)
    with pytest.raises(RuntimeError, match=r"^out of paper$") if fails else nullcontext():
        attack(detector, images, truth)
    assert state_of() == before
    assert all(weight.grad is None for weight in detector.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in detector.state_dict().items())


def test_low_precision_is_for_the_networks_alone() -> None:
    images, truth = clean_images()
    with victim([Convolution()], precision=torch.bfloat16) as target:
        kinds = [prediction.logits.dtype for prediction in target.predictions(images)]
        pgd = DensePGD(target, LINF, generator=torch.Generator().manual_seed(0))
        attacked = pgd(images, truth)
    assert kinds == [torch.float32] and attacked.dtype == torch.float32
    assert (attacked - images).abs().max() <= EPS + 1e-6


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_start_stays_in_the_ball_and_fills_it(norm) -> None:
    threat = ThreatModel(eps=Fraction(1, 4), norm=norm)
    change = threat.draw((64, 3, 4, 4), torch.Generator().manual_seed(0))
    lengths = threat.distance(change, torch.zeros_like(change))
    assert 0.24 < lengths.max() <= 0.25 + 1e-6
    assert change.mean().abs() < 0.01


def test_ascent_has_length_one_and_bears_no_gradient() -> None:
    gradient = torch.zeros(2, 3, 4, 4)
    gradient[0, 0, 0, 0] = -1e-9
    step = ascent(gradient, ThreatModel(eps=Fraction(1), norm="l2"))
    assert step[0, 0, 0, 0] == -1 and (step[1] == 0).all()
    faint = ascent(1e-30 * torch.ones(1, 3, 4, 4), ThreatModel(eps=Fraction(1), norm="l2"))
    assert torch.allclose(faint, torch.full((), 48**-0.5))
    assert ascent(gradient, ThreatModel(eps=Fraction(1)))[0, 0, 0, 0] == -1


class Wavy(Linear):
    """Log-odds go up and down along every value, so that steps leap over maxima."""

    def odds(self, images: Tensor) -> Tensor:
        return torch.sin(90 * images).sum(1)


def reached(detector: Detector, objective, attacked: Tensor, truth: Tensor, towards: bool) -> Tensor:
    value = objective(detector(attacked), Aim(truth, attacked, towards))
    return -value if towards else value


@pytest.mark.parametrize("objective", [balanced, segpgd, image_score])
@pytest.mark.parametrize("goal", ["any", "target"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_best_iterate_is_never_worse_than_the_last(norm, goal, objective) -> None:
    images, truth = clean_images(6)
    threat = ThreatModel(eps=Fraction(8, 255) if norm == "linf" else Fraction(1, 2), norm=norm, goal=goal)
    settings = {"objective": objective, "steps": 6, "step_size": 2 * float(threat.eps)}
    last, losses = attack(Wavy(), images, truth, threat, **settings)
    best, same = attack(Wavy(), images, truth, threat, best=True, **settings)
    one, other = (reached(Wavy(), objective, x, truth, goal != "any") for x in (best, last))
    assert (one >= other).all() and (one > other).any() and losses == same


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("goal", ["any", "hide"])
def test_restarts_are_never_worse_than_one_start(goal, best) -> None:
    """The first start is that of an attack with one; each image keeps its own strongest."""
    images, truth = clean_images(6)
    threat = ThreatModel(eps=Fraction(8, 255), goal=goal)
    one, _ = attack(Wavy(), images, truth, threat, best=best)
    many, losses = attack(Wavy(), images, truth, threat, best=best, restarts=5)
    first, strongest = (reached(Wavy(), balanced, x, truth, goal != "any") for x in (one, many))
    assert (strongest >= first).all() and (strongest > first).any() and len(losses) == 10
    assert (many - images).abs().max() <= EPS + 1e-6


def test_restarts_lie_in_one_batch_and_are_split_where_told() -> None:
    images, truth = clean_images(4)
    settings, whole = {"restarts": 5, "steps": 3}, Wavy()
    one, losses = attack(whole, images, truth, **settings)
    assert whole.shown == [20] * 4
    for together, shown in ((11, [8] * 4 + [8] * 4 + [4] * 4), (1, [4] * 20)):
        other, same = attack(split := Wavy(), images, truth, together=together, **settings)
        assert split.shown == shown
        assert torch.equal(one, other) and losses == pytest.approx(same)


def test_further_starts_are_random_where_the_first_is_the_image() -> None:
    images, truth = clean_images()
    starts = []

    def watched(prediction: Prediction, aim: Aim) -> Tensor:
        starts.append(aim.images.detach())
        return balanced(prediction, aim)

    where = torch.zeros_like(truth)
    where[:, 2:5] = True
    attack(Wavy(), images, truth, objective=watched, steps=1, restarts=3,
           random_start=False, where=where)  # fmt: skip
    first, second, third = starts[0].split(4)
    assert torch.equal(first, images) and not torch.equal(second, third)
    assert ((second != images).any(1) <= where).all()


def plain_steps(detector: Detector, images: Tensor, truth: Tensor, threat: ThreatModel, objective, steps: int):
    """PGD without a start, written down as it is in the paper: every image in every step."""
    attacked, losses = images, []
    with victim([detector]) as target:
        for step in range(steps):
            loss, gradient = target.gradient(attacked, truth, objective, progress=step / steps)
            losses.append(loss.mean().item())
            move = 2.5 * float(threat.eps) / steps * ascent(gradient, threat)
            attacked = threat.project(attacked + move, images)
    return attacked, losses


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("objective", [balanced, segpgd])
@pytest.mark.parametrize("detector", [Linear(), Convolution(2), Wavy()], ids=["linear", "convolution", "wavy"])
def test_stuck_images_leave_the_batch_and_nothing_changes(detector, objective, norm) -> None:
    """To the bit where an image's numbers meet no others; a convolution may sum otherwise in a smaller batch."""
    images, truth = clean_images()
    threat = ThreatModel(eps=Fraction(8, 255), norm=norm)
    expected, losses = plain_steps(detector, images, truth, threat, objective, 12)
    attacked, same = attack(detector, images, truth, threat, objective=objective, steps=12, random_start=False)
    if isinstance(detector, Convolution):
        assert same == pytest.approx(losses, rel=TURNED)
        with victim([detector]) as target:
            assert_as_strong(target, attacked, expected, truth)
        assert (threat.distance(attacked, images) <= EPS + 1e-6).all()
    else:
        assert torch.equal(attacked, expected) and same == losses


def test_images_in_their_corner_are_not_shown_again() -> None:
    """Four steps of more than a quarter of the ball reach the corner, the fifth stays, and nobody looks again."""
    images, truth = clean_images()
    detector, scheduled = Linear(), Linear()
    settings = {"steps": 20, "step_size": 2.5 / 255, "random_start": False}
    _, losses = attack(detector, images, truth, **settings)
    assert detector.shown == [4] * 5 and losses[4:] == losses[4:5] * 16
    attack(scheduled, images, truth, objective=segpgd, **settings)
    assert scheduled.shown == [4] * 20


def test_images_that_cannot_move_leave_those_that_can() -> None:
    images, truth = clean_images()
    where = torch.zeros_like(truth)
    where[1:3] = True
    whole, _ = attack(Wavy(), images[1:3], truth[1:3], random_start=False, best=True)
    attacked, losses = attack(detector := Wavy(), images, truth, random_start=False, best=True, where=where)
    assert detector.shown == [4] + [2] * 10 and len(losses) == 10
    assert torch.equal(attacked[1:3], whole) and torch.equal(attacked[[0, 3]], images[[0, 3]])


def test_a_gradient_of_zero_is_asked_for_once_and_counted() -> None:
    """Once along the steps: a look before tells that it is zero at the end of the ball too."""

    class Rounded(Wavy):
        def forward(self, images: Tensor) -> Prediction:
            flat = images[:, :, :1, :1].sum((1, 2, 3), keepdim=True) > 5
            return super().forward(torch.where(flat, images, (7 * images).round() / 7))

    images, truth = clean_images()
    images[1, :, 0, 0] = 1.0
    attacked, pgd = climb(DensePGD, detector := Rounded(), images, truth, random_start=False)
    assert pgd.flat == 4 and detector.shown == [4, 4]
    assert torch.equal(attacked, images)


@pytest.mark.parametrize("objective", [segpgd, balanced])
def test_pixels_that_are_there_already_are_no_masked_gradient(objective) -> None:
    """Towards its target SegPGD weighs them by 0 in the first step, and by more from the second on."""
    images, _ = clean_images()
    truth = Linear()(images).log_odds > 0
    settings = {"objective": objective, "steps": 3, "random_start": False}
    attacked, pgd = climb(DensePGD, Linear(), images, truth, TARGETED, **settings)
    assert pgd.flat == 0 and (attacked != images).flatten(1).any(1).all()


def test_targets_by_a_function_of_torchattacks() -> None:
    """As in `set_mode_targeted_by_function` of its own PGD."""
    images, truth = clean_images()
    with victim([Linear()]) as target:
        pgd = DensePGD(target, LINF, generator=torch.Generator(), random_start=False)
        pgd.set_mode_targeted_by_function(lambda _, labels: ~labels, quiet=True)
        attacked = pgd(images, truth)
    expected, _ = attack(Linear(), images, ~truth, TARGETED, random_start=False)
    assert torch.equal(attacked, expected)


Way = Callable[[Linear, Tensor], Tensor]


class Made(Linear):
    """Logits in a way of their own."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(self.way(self, images))


def logits(detector: Linear, images: Tensor) -> Tensor:
    return Linear.forward(detector, images).logits


class Mine(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.detach().mean(1)


CUT: tuple[Way, ...] = (
    lambda detector, images: logits(detector, torch.from_numpy(images.numpy())),
    torch.no_grad()(logits),
    # The gradient of the weights alone is left.
    lambda detector, images: logits(detector.requires_grad_(), images.detach()),
    # In place, of what the way back needs.
    lambda detector, images: logits(detector, images).exp().add_(1),
)


def undefined(detector: Linear, images: Tensor, after: int = 0) -> Tensor:
    found = logits(detector, images)
    return found / found[:, :1] if len(detector.shown) > after else found


@pytest.mark.parametrize(
    ("detector", "what"),
    [
        *((Made(way), r"Made[^\n]* attack square") for way in CUT),
        *((Adapted(module), "from the output of Mine to its input") for module in (Mine(), ForwardOnly(Mine()))),
        (Made(undefined), "^expected finite logits from Made, got NaN"),
        (Made(partial(undefined, after=2)), "after the first step"),
        (Made(lambda *x: logits(*x) + (logits(*x).softmax(1) * 0).log()), "^expected finite logits from Made, got inf"),
        (Made(lambda *x: logits(*x) + (x[1] * 0).sum(1, True).sqrt()), "^expected finite gradient from Made, got NaN"),
        (Convolution(side=4), "4x4 map for 8x8 images"),
    ],
)
@pytest.mark.parametrize("objective", [balanced, peaks])
def test_a_detector_that_cannot_be_attacked_is_named_by_its_own_class(detector, what, objective) -> None:
    images, truth = clean_images()
    if isinstance(detector, Linear):
        detector.shown.clear()
    with pytest.raises(UserError, match=what) as caught:
        attack(detector, images, truth, objective=objective, momentum=0.5)
    assert "\n" not in str(caught.value)


def halved_behind_autograds_back(detector: Linear, images: Tensor) -> Tensor:
    images.data.mul_(0.5)
    return logits(detector, images)


def test_a_detector_that_writes_into_its_images_does_not_write_into_the_attacks() -> None:
    images, labels = clean_images()
    copied, placed, behind = (
        attack(Made(way), images.clone(), labels)[0]
        for way in (
            lambda detector, images: logits(detector, images * 0.5),
            lambda detector, images: logits(detector, images.mul_(0.5)),
            halved_behind_autograds_back,
        )
    )
    assert torch.equal(copied, placed) and torch.equal(copied, behind)


def test_a_victim_of_nothing_or_in_a_wrong_precision_says_what_to_do() -> None:
    with pytest.raises(UserError, match="at least one detector"), victim([]):
        pass
    with pytest.raises(UserError, match="bfloat16"), victim([Linear()], precision=torch.float16):
        pass


def test_where_it_goes_on_each_image_begins_where_its_objective_is_stronger() -> None:
    """The first two were raised in all pixels by the worst change, the others by its opposite; no step is taken."""
    detector, (images, labels) = Linear(), clean_images()
    change = EPS * torch.where(labels, -1, 1)[:, None] * detector.weight.detach().sign()
    change[2:] *= -1
    begin = (images + change).clamp(0, 1)
    settings = {
        "generator": torch.Generator(), "objective": linear, "steps": 1, "step_size": 0.0, "random_start": False,
    }  # fmt: skip
    with victim([detector]) as target:
        pgd = DensePGD(target, LINF, **settings)
        pgd.begin = begin
        torch.testing.assert_close(pgd(images, labels), torch.cat((begin[:2], images[2:])), atol=1e-6, rtol=0)
        before, after = (target.value(each, labels, linear) for each in (images, begin))
        started = torch.cat((after[:2], before[2:]))
        assert pgd.losses == pytest.approx([before.mean().item(), started.mean().item()], abs=1e-5)
    # What an objective holds pixels against is what was said of the images that it goes on from.
    pixels = [(detector.odds(each).flatten().detach(), labels.flatten()) for each in (images, begin)]
    rivals = Rivals.of([pixels[0]], [pixels[1]], [pixels[0]])
    with victim([detector], rivals=[rivals]) as target:
        pgd = DensePGD(target, LINF, **settings)
        pgd.begin = begin
        torch.testing.assert_close(pgd(images, labels), begin, atol=1e-6, rtol=0)
        assert len(pgd.losses) == 1 and pgd.flat is None


class Caught(Linear):
    """Beyond a brightness it says of every image what it likes best, and has no slope there."""

    def odds(self, images: Tensor) -> Tensor:
        beyond = images.flatten(1).mean(1) > 0.6
        return torch.where(beyond[:, None, None], 50.0, super().odds(images))


def test_where_it_goes_on_no_image_begins_without_a_slope() -> None:
    """All were brightened until nothing moves the objective, which is the strongest there is."""
    images, labels = 0.3 * clean_images()[0], torch.zeros(4, 8, 8, dtype=torch.bool)
    with victim([Caught()]) as target:
        pgd = DensePGD(
            target, ThreatModel(eps=Fraction(1)), generator=torch.Generator(), objective=linear, steps=1,
            step_size=1 / 255, random_start=False,
        )  # fmt: skip
        pgd.begin = torch.ones_like(images)
        moved = pgd(images, labels)
        assert (moved - images).abs().amax() < 1.1 / 255 and pgd.flat == 0
        assert pgd.losses[0] == pgd.losses[1] < 50
        bright = torch.ones_like(images)
        pgd.begin = 0.9 * bright
        pgd(bright, labels)
        assert pgd.flat == len(images)


@pytest.mark.parametrize("objective", [balanced, peaks])
@pytest.mark.parametrize("error", [ValueError("two\nlines"), SystemExit(0), RuntimeError("odd"), AssertionError()])
def test_a_detector_that_fails_on_the_way_back_is_one_line(error: BaseException, objective: Objective) -> None:
    def fail(_: Tensor) -> None:
        raise error

    def stumbling(detector: Linear, images: Tensor) -> Tensor:
        found = logits(detector, images)
        if found.requires_grad:
            found.register_hook(fail)
        return found

    told = f"Made failed on the way back from its output to the images: {type(error).__name__}:.*; mend it, or try "
    with pytest.raises(UserError, match=told) as caught:
        attack(Made(stumbling), *clean_images(), objective=objective)
    assert "\n" not in str(caught.value)
