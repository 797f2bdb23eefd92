"""What all attacks promise alike: ball, region, range, seed, refusals; and the optimum that those by gradient reach."""

from dataclasses import fields
from fractions import Fraction

import pytest
import torch
import torchattacks
from linear_detector import Linear, Undefined, blocks, clean_images, climb, run_attack, share, summed, threat

from omnial_bench.attacks import settings
from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.apgd import DenseAPGD
from omnial_bench.attacks.levels import keeps, quantise
from omnial_bench.attacks.objectives import OBJECTIVES, balanced
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.settings import CORRUPTIONS
from omnial_bench.attacks.threats import ATTACKS, threat_model
from omnial_bench.config.load import parse
from omnial_bench.data.images import to_bytes
from omnial_bench.errors import UserError
from omnial_bench.types import ThreatModel

BY_GRADIENT = ("apgd", "di", "fgsm", "mi", "pgd", "ti")
IN_BOTH_NORMS = (*BY_GRADIENT, "noise", "square", "universal")
IN_A_BALL = [*((name, norm) for name in IN_BOTH_NORMS for norm in ("linf", "l2")), ("patch", "linf")]
WITHOUT_CHANCE = {"fgsm", "blur", "brightness", "contrast", "defocus", "jpeg"}
SHORT = {"steps": 1, "step_size": "1/255"}
"""One short step, so that a random start is seen in what comes out."""
BRIEF = {
    **dict.fromkeys(("apgd", "di", "mi", "pgd", "ti", "universal"), SHORT),
    **{name: {"steps": 1} for name in ("fgsm", "noise")},
    **{name: {"steps": 1, "eps": 1} for name in CORRUPTIONS},
    "square": {"steps": 20}, "patch": {"steps": 3, "eps": "1/2"},
}  # fmt: skip


@pytest.mark.parametrize(("name", "norm"), [*IN_A_BALL, *((n, "linf") for n, c in CORRUPTIONS.items() if not c.moves)])
def test_what_comes_out_is_bounded_and_belongs_to_its_seed(name, norm, capsys) -> None:
    """In the ball also as bytes, in [0, 1], in its region; the same seed, the same bits, and none of global seeds."""
    (images, labels), state = clean_images(side=16), torch.random.get_rng_state()
    where, record = blocks(labels), {"norm": norm, **BRIEF[name]}
    (one, attack), (same, _), (other, _) = (
        run_attack(name, Linear(16), images, labels, where, seed, **record) for seed in (5, 5, 6)
    )
    assert isinstance(attack, torchattacks.attack.Attack)
    assert one.dtype == torch.float32 and one.min() >= 0 and one.max() <= 1
    moved = (one != images).any(1)
    assert not moved[~where].any() and moved.any()
    assert torch.equal(one, same) and torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one, other) == (name in WITHOUT_CHANCE)
    assert capsys.readouterr().out == ""
    if name not in CORRUPTIONS:
        ball = threat_model(threat(name, **record))
        assert (ball.distance(one, images) <= float(ball.eps) + 1e-6).all()
        originals = to_bytes(images)
        saved = quantise(one, originals, ball).numpy()
        assert all(keeps(ball, *pair) for pair in zip(saved, originals.numpy(), strict=True))


@pytest.mark.parametrize(("name", "norm"), IN_A_BALL)
def test_no_eps_and_no_region_change_nothing(name, norm) -> None:
    images, labels = clean_images()
    for changes, where in (({"eps": 0}, None), ({}, torch.zeros_like(labels))):
        record = {"norm": norm, **BRIEF[name], **changes, "step_size": None}
        attacked, _ = run_attack(name, Linear(), images, labels, where, **record)
        assert torch.equal(attacked, images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("goal", ["any", "hide", "fabricate", "target"])
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_every_gradient_attack_goes_its_way_in_its_region(name, goal, norm) -> None:
    (images, labels), steps = clean_images(), 1 if name == "fgsm" else 10
    where = blocks(labels)
    # Of fifteen pixels a kernel would leave little of a detector whose pixels are independent.
    options = {"options": {"kernel": 3}} if name == "ti" else {}
    settled = {"goal": goal, "norm": norm, "steps": steps, **options}
    attacked, attack = run_attack(name, Linear(), images, labels, where, **settled)
    moved = (attacked != images).any(1)
    assert not moved[~where].any() and moved[where].float().mean() > 0.8
    assert len(attack.losses) == steps and attack.flat == 0
    before, after = (balanced(Linear()(x), Aim(labels, x)) for x in (images, attacked))
    assert ((after > before) if goal == "any" else (after < before)).all()


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("objective", ["balanced", "cross_entropy", "segpgd", "cospgd"])
@pytest.mark.parametrize(
    ("name", "eps", "goal", "options"),
    [
        ("pgd", "8/255", "any", {}), ("pgd", "4/255", "any", {"decay": True}),
        *((name, "8/255", goal, {}) for name in ("apgd", "mi") for goal in ("any", "hide", "fabricate", "target")),
        *(("pgd", "8/255", goal, {}) for goal in ("hide", "fabricate", "target")),
    ],
)  # fmt: skip
def test_reaches_the_optimum_of_a_linear_detector(name, eps, goal, options, objective, random_start) -> None:
    detector, (images, labels) = Linear(), clean_images()
    settled = {"eps": eps, "goal": goal, "options": options, "objective": objective, "random_start": random_start}
    attacked, attack = run_attack(name, detector, images, labels, **settled)
    reached = share(OBJECTIVES[objective], detector, images, attacked, labels, goal, Fraction(eps))
    assert (reached >= 0.99).all() and (reached <= 1 + 1e-5).all()
    assert (attacked - images).abs().max() <= float(Fraction(eps)) + 1e-6
    assert len(attack.losses) == 10 and attack.flat == 0
    if name == "pgd":
        assert attack.losses == sorted(attack.losses, reverse=goal != "any")


@pytest.mark.parametrize(
    ("kind", "random_start", "settings"),
    [
        (DensePGD, False, {}), (DensePGD, True, {"step_size": 0.5}), (DensePGD, True, {"decay": True, "steps": 20}),
        *((DenseAPGD, start, {"steps": 20}) for start in (False, True)),
    ],
)  # fmt: skip
def test_reaches_the_optimum_in_l2(kind, random_start, settings) -> None:
    """The log-odds are linear, so the best change is along the weights, and all of its length is used.

    From a random start by steps of the whole radius, or twenty that fall: ten of a quarter leave what lies across the
    weights, which only projections shorten, and reach 98 %. Auto-PGD's first, of the ball's width, ends there.
    """
    detector, images = Linear(), torch.full((2, 3, 8, 8), 0.5)
    truth, ball = torch.zeros(2, 8, 8, dtype=torch.bool), ThreatModel(eps=Fraction(1, 2), norm="l2")
    attacked, _ = climb(kind, detector, images, truth, ball, objective=summed, random_start=random_start, **settings)
    gained = (detector(attacked).log_odds - detector(images).log_odds).flatten(1).sum(1)
    best = 0.5 * detector.weight.norm()
    assert (gained >= 0.99 * best).all() and (gained <= best * (1 + 1e-5)).all()


@pytest.mark.parametrize(("name", "after"), [("square", 0), ("patch", 6), ("universal", 6)])
def test_undefined_outputs_are_refused_in_one_line(name, after) -> None:
    with pytest.raises(UserError, match=rf"expected finite outputs .* under the attack {name}") as raised:
        options = {"batch": 3} if name == "universal" else {}
        run_attack(name, Undefined(after), *clean_images(), options=options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "key", "wrong"),
    [
        ("SquareOptions", "area", (0, 1.5)), ("PatchOptions", "area", (0, 1.5)),
        ("UniversalOptions", "batch", (0, 2.5)),
        ("CorruptionOptions", "severity", (0, 6, 2.5)), ("Translation", "kernel", (4,)),
        ("Translation", "diversity", (1.5,)), ("Momentum", "momentum", (-1,)),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_one_line_that_names_them(kind, key, wrong) -> None:
    options = getattr(settings, kind)
    assert key in {field.name for field in fields(options)}
    for table in (*({key: value} for value in wrong), {key[:-1] + "x": 1}):
        with pytest.raises(UserError, match=key) as raised:
            parse(options, table, "options of threat t")
        assert "\n" not in str(raised.value)


def test_no_attack_is_left_out() -> None:
    assert set(ATTACKS) == {*IN_BOTH_NORMS, "minimal", "patch", *CORRUPTIONS}
