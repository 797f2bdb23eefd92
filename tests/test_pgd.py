"""PGD against detectors whose worst picture is known in closed form, and against torchattacks' own."""

from fractions import Fraction

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from omnial_bench.attacks.objectives import Aim, balanced, cross_entropy
from omnial_bench.attacks.pgd import DensePGD, ascent, random_change
from omnial_bench.attacks.victim import victim
from omnial_bench.errors import UserError
from omnial_bench.nouns import Detector, Prediction, Synthetic, ThreatModel

SIDE = 8


class Untrained(Detector):
    """The training step that none of these detectors has."""

    def synthesize(self, images: Tensor, textures: Tensor, generator: torch.Generator) -> Synthetic:
        raise NotImplementedError

    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        raise NotImplementedError


class Linear(Untrained):
    """Log-odds of a pixel = its weights times its colour."""

    def __init__(self, seed: int = 0, scale: float = 3.0) -> None:
        super().__init__()
        weight = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * scale
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Prediction:
        odds = (images * self.weight).sum(1)
        return Prediction(torch.stack((torch.zeros_like(odds), odds), 1))


class Convolution(Untrained):
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


def pictures(n: int = 4, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, SIDE, SIDE), generator=generator) / 255
    return images, torch.rand(n, SIDE, SIDE, generator=generator) > 0.6


def attack(detectors: list[Detector], images: Tensor, labels: Tensor, threat: ThreatModel, seed: int = 0, **settings):
    where = settings.pop("where", None)
    with victim(detectors) as target:
        pgd = DensePGD(target, threat, generator=torch.Generator().manual_seed(seed), **settings)
        return pgd(images, labels, where), pgd.losses


def worst(images: Tensor, truth: Tensor, weight: Tensor, eps: float) -> Tensor:
    """For a linear detector: every value moved by eps against the truth, as far as [0, 1] lets it."""
    sign = torch.where(truth, -1.0, 1.0)[:, None] * weight.sign()
    return (images + eps * sign).clamp(0, 1)


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("objective", [balanced, cross_entropy])
@pytest.mark.parametrize("eps", [Fraction(4, 255), Fraction(8, 255)])
def test_reaches_the_optimum_of_a_linear_detector(eps, objective, random_start) -> None:
    detector, (images, truth) = Linear(), pictures()
    attacked, losses = attack(
        [detector], images, truth, ThreatModel(eps=eps), objective=objective, random_start=random_start
    )
    aim = Aim(truth, images)
    before, after = objective(detector(images), aim), objective(detector(attacked), aim)
    best = objective(detector(worst(images, truth, detector.weight, float(eps))), aim)
    assert (after - before >= 0.99 * (best - before)).all()
    assert (after <= best + 1e-4).all()
    assert (attacked - images).abs().max() <= float(eps) + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert len(losses) == 10
    assert losses == sorted(losses)


@pytest.mark.parametrize(("random_start", "share"), [(False, 0.99), (True, 0.95)])
def test_reaches_the_optimum_in_l2(random_start, share) -> None:
    """The log-odds are linear, so the best change is along the weights, and all of its length is used."""
    detector, images = Linear(), torch.full((2, 3, SIDE, SIDE), 0.5)
    truth = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)

    def odds(prediction: Prediction, _: Aim) -> Tensor:
        return prediction.log_odds.flatten(1).sum(1)

    threat = ThreatModel(eps=Fraction(1, 2), norm="l2")
    attacked, _ = attack([detector], images, truth, threat, objective=odds, random_start=random_start)
    gained = odds(detector(attacked), Aim(truth, images)) - odds(detector(images), Aim(truth, images))
    best = 0.5 * detector.weight.norm()
    assert (gained >= share * best).all()
    assert (gained <= best + 1e-3).all()
    assert (threat.distance(attacked, images) <= 0.5 + 1e-5).all()


@pytest.mark.parametrize("goal", ["target", "hide", "fabricate"])
def test_other_goals_go_down_to_their_map(goal) -> None:
    detector, (images, target) = Linear(), pictures()
    threat = ThreatModel(eps=Fraction(8, 255), goal=goal)
    attacked, losses = attack([detector], images, target, threat, objective=cross_entropy)
    best = worst(images, ~target, detector.weight, 8 / 255)
    before, after, least = (cross_entropy(detector(x), Aim(target, x)) for x in (images, attacked, best))
    assert (before - after >= 0.99 * (before - least)).all()
    assert losses == sorted(losses, reverse=True)


def test_eps_zero_changes_nothing() -> None:
    images, truth = pictures()
    attacked, _ = attack([Linear()], images, truth, ThreatModel(eps=Fraction(0)))
    assert torch.equal(attacked, images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_region_bounds_the_change(norm) -> None:
    images, truth = pictures()
    where = torch.zeros_like(truth)
    where[:, 2:5, 3:7] = True
    attacked, _ = attack([Convolution()], images, truth, ThreatModel(eps=Fraction(8, 255), norm=norm), where=where)
    moved = (attacked != images).any(1)
    assert not moved[~where].any()
    assert moved[where].float().mean() > 0.8


@pytest.mark.parametrize("detector", [Linear(), Convolution(2)], ids=["linear", "convolution"])
def test_is_torchattacks_pgd_for_plain_cross_entropy(detector) -> None:
    images, truth = pictures()
    ours, _ = attack(
        [detector],
        images,
        truth.long(),
        ThreatModel(eps=Fraction(8, 255)),
        objective=cross_entropy,
        step_size=2 / 255,
        random_start=False,
    )
    with victim([detector]) as target:
        theirs = torchattacks.PGD(target, eps=8 / 255, alpha=2 / 255, steps=10, random_start=False)
        expected = theirs(images, truth.long())
    assert torch.equal(ours, expected)
    assert not torch.equal(ours, images)


def test_same_seed_same_pictures_and_no_global_randomness() -> None:
    images, truth = pictures()
    threat = ThreatModel(eps=Fraction(8, 255))
    detector = Convolution()
    state = torch.random.get_rng_state()
    one, other, third = (attack([detector], images, truth, threat, seed=s, steps=1)[0] for s in (5, 5, 6))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_default_step_is_two_and_a_half_eps_over_steps(capsys) -> None:
    with victim([Linear()]) as target:
        pgd = DensePGD(target, ThreatModel(eps=Fraction(4, 255), goal="hide"), generator=torch.Generator())
    assert pgd.alpha == pytest.approx(1 / 255)
    assert isinstance(pgd, torchattacks.PGD)
    assert capsys.readouterr().out == ""


def test_source_gradient_is_the_mean_over_detectors() -> None:
    images, truth = pictures()
    one, other = Convolution(1), Linear(2)
    with victim([one, other]) as both:
        loss, gradient = both.gradient(images, truth, balanced)
    apart = []
    for detector in (one, other):
        with victim([detector]) as alone:
            apart.append(alone.gradient(images, truth, balanced))
    assert torch.allclose(loss, (apart[0][0] + apart[1][0]) / 2)
    assert torch.allclose(gradient, (apart[0][1] + apart[1][1]) / 2, atol=1e-7)
    assert not torch.allclose(apart[0][1], apart[1][1])


def test_logits_are_the_mean_log_odds() -> None:
    images, _ = pictures()
    one, other = Linear(1), Linear(2)
    with victim([one, other]) as both:
        logits = both(images)
    assert logits.shape == (4, 2, SIDE, SIDE)
    assert (logits[:, 0] == 0).all()
    assert torch.allclose(logits[:, 1], (one(images).log_odds + other(images).log_odds) / 2, atol=1e-5)


def state_of(detector: Detector) -> tuple[list[bool], list[bool]]:
    return [m.training for m in detector.modules()], [p.requires_grad for p in detector.parameters()]


@pytest.mark.parametrize("fails", [False, True])
def test_detector_is_left_as_it_was(fails) -> None:
    """Also a batch norm that was frozen and a weight that was, also after an error, and no statistics leak in."""
    images, truth = pictures()
    detector = Convolution()
    detector.train()
    detector.norm.eval()
    detector.layer.bias.requires_grad_(False)
    before, weights = state_of(detector), {k: v.clone() for k, v in detector.state_dict().items()}

    def broken(_: Prediction, __: Aim) -> Tensor:
        raise ArithmeticError

    if fails:
        with pytest.raises(ArithmeticError):
            attack([detector], images, truth, ThreatModel(eps=Fraction(8, 255)), objective=broken)
    else:
        attack([detector], images, truth, ThreatModel(eps=Fraction(8, 255)))
    assert state_of(detector) == before
    assert all(weight.grad is None for weight in detector.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in detector.state_dict().items())


def test_low_precision_is_for_the_networks_alone() -> None:
    images, truth = pictures()
    with victim([Convolution()], precision=torch.bfloat16) as target:
        kinds = [prediction.logits.dtype for prediction in target.predictions(images)]
        pgd = DensePGD(target, ThreatModel(eps=Fraction(8, 255)), generator=torch.Generator().manual_seed(0))
        attacked = pgd(images, truth)
    assert kinds == [torch.float32]
    assert attacked.dtype == torch.float32
    assert (attacked - images).abs().max() <= 8 / 255 + 1e-6


def test_refusals_say_what_to_do() -> None:
    images, _ = pictures()
    with pytest.raises(UserError, match="at least one detector"), victim([]):
        pass
    with pytest.raises(UserError, match="bfloat16"), victim([Linear()], precision=torch.float16):
        pass
    with pytest.raises(UserError, match="4x4 map for 8x8 pictures"), victim([Convolution(side=4)]) as target:
        target(images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_start_stays_in_the_ball_and_fills_it(norm) -> None:
    threat = ThreatModel(eps=Fraction(1, 4), norm=norm)
    change = random_change((64, 3, 4, 4), threat, torch.Generator().manual_seed(0))
    lengths = threat.distance(change, torch.zeros_like(change))
    assert lengths.max() <= 0.25 + 1e-6
    assert lengths.max() > 0.24
    assert change.mean().abs() < 0.01


def test_ascent_has_length_one_and_bears_no_gradient() -> None:
    gradient = torch.zeros(2, 3, 4, 4)
    gradient[0, 0, 0, 0] = -1e-9
    step = ascent(gradient, ThreatModel(eps=Fraction(1), norm="l2"))
    assert step[0, 0, 0, 0] == -1
    assert (step[1] == 0).all()
    assert ascent(gradient, ThreatModel(eps=Fraction(1)))[0, 0, 0, 0] == -1
