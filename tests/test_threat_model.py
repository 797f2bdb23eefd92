"""Balls, labels and bounds: what a threat may do, in floats and in bytes."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks
from linear_detector import EPS, Linear, clean_images, run_attack, threat

from omnial_bench.attacks.attacking import aims
from omnial_bench.attacks.building import build_attack
from omnial_bench.attacks.checks import check_suite
from omnial_bench.attacks.levels import keeps, largest_change, quantise
from omnial_bench.attacks.settings import CORRUPTIONS
from omnial_bench.attacks.threats import columns_of, label_of, step_size, threat_model
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import parse, read_suite
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import to_bytes, to_float
from omnial_bench.errors import UserError
from omnial_bench.types import ThreatModel


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"eps": "0"}, ("none", "", "", "", "")),
        ({"eps": "8/255", "attack": "mi"}, ("linf 8/255", "mi", "linf", "8/255", "any")),
        ({"eps": "16/510", "goal": "target"}, ("linf 8/255 targeted", "pgd", "linf", "8/255", "target")),
        ({"eps": "0.5", "norm": "l2", "goal": "hide"}, ("l2 0.5 hide", "pgd", "l2", "1/2", "hide")),
        ({"eps": "1", "attack": "patch", "goal": "fabricate"}, ("patch 5 % fabricate", "patch", "", "", "fabricate")),
        (
            {"eps": "8/255", "attack": "patch", "goal": "hide", "where": "foreground", "options": {"area": 0.025}},
            ("patch 2.5 % 8/255 hide foreground", "patch", "", "", "hide"),
        ),
        (
            {"eps": "4/255", "goal": "hide", "where": "foreground"},
            ("linf 4/255 hide foreground", "pgd", "linf", "4/255", "hide"),
        ),
        ({"eps": "1", "attack": "jpeg", "options": {"severity": 3}}, ("jpeg severity 3", "jpeg", "", "", "any")),
    ],
)
def test_rows_say_what_attacked_in_columns(record, told) -> None:
    threat = Threat(name="a", **record)
    found = columns_of(threat, label_of(threat))
    assert tuple(found.get(name, "") for name in ("threat", "attack", "norm", "eps", "goal")) == told


def test_a_threat_of_several_severities_or_origins_stands_for_one_each() -> None:
    table = {"name": "s", "title": "s", "against": "self", "threats": [
        {"name": "blur", "attack": "blur", "severities": [1, 4], "where": "foreground"},
        {"name": "pgd", "eps": "8/255", "after": ["blur-4", "blur-1"]},
    ]}  # fmt: skip
    suite = parse(Suite, table, "s.toml")
    check_suite(suite)
    assert [(threat.name, threat.eps, threat.steps, threat.after) for threat in suite.threats] == [
        ("blur-1", 1, 1, None), ("blur-4", 1, 1, None),
        ("pgd-blur-4", Fraction(8, 255), 10, "blur-4"), ("pgd-blur-1", Fraction(8, 255), 10, "blur-1"),
    ]  # fmt: skip
    assert [label_of(threat) for threat in suite.threats][1:3] == ["blur severity 4", "linf 8/255 after blur-4"]
    assert parse(Suite, suite.model_dump(), "again") == suite


def test_projection_by_hand() -> None:
    clean = torch.zeros(1, 3, 1, 1)
    clean[0, :, 0, 0] = torch.tensor([0.5, 0.02, 0.99])
    far = clean + torch.tensor([0.3, -0.3, 0.3]).view(1, 3, 1, 1)
    inside = ThreatModel(eps=Fraction(1, 10)).project(far, clean)
    assert inside.flatten().tolist() == pytest.approx([0.6, 0.0, 1.0])
    change = torch.tensor([0.3, 0.4, 0.0]).view(1, 3, 1, 1)
    half = torch.full((1, 3, 1, 1), 0.5)
    round_ball = ThreatModel(eps=Fraction(1, 4), norm="l2")
    assert (round_ball.project(half + change, half) - half).flatten().tolist() == pytest.approx([0.15, 0.2, 0.0])
    assert round_ball.distance(half + change, half).tolist() == pytest.approx([0.5])
    assert ThreatModel(eps=Fraction(1, 4)).distance(half + change, half).tolist() == pytest.approx([0.4])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_idempotent_and_leaves_the_inside_alone(norm) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, other = torch.rand(2, 8, 3, 5, 7, generator=generator)
    threat = ThreatModel(eps=Fraction(1, 3), norm=norm)
    once = threat.project(other, clean)
    assert (threat.distance(once, clean) <= 1 / 3 + 1e-6).all()
    assert torch.allclose(threat.project(once, clean), once, atol=1e-6)
    near = clean + (other - clean) * 1e-3
    assert torch.allclose(threat.project(near, clean), near, atol=1e-7)


@pytest.mark.parametrize("levels", [1, 4, 8, 255])
def test_bytes_keep_a_whole_number_of_levels(levels) -> None:
    """Truncated instead of rounded, 8/255 becomes 9/255."""
    generator = torch.Generator().manual_seed(levels)
    originals = torch.randint(0, 256, (4, 3, 16, 16), generator=generator, dtype=torch.uint8)
    threat = ThreatModel(eps=Fraction(levels, 255))
    clean = to_float(originals)
    sign = torch.rand(clean.shape, generator=generator).round() * 2 - 1
    attacked = threat.project(clean + sign, clean)
    saved = quantise(attacked, originals, threat)
    assert all(keeps(threat, one, other) for one, other in zip(saved.numpy(), originals.numpy(), strict=True))
    assert largest_change(saved.numpy(), originals.numpy()) == min(levels, 255)
    assert torch.equal(saved, to_bytes(attacked))


def test_bytes_of_a_fractional_bound_are_held_to_the_level_below() -> None:
    originals = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    assert (quantise(to_float(originals) + 1.5 / 255, originals, ThreatModel(eps=Fraction(3, 510))) == 101).all()


def test_a_bound_that_is_passed_by_one_level_is_seen() -> None:
    original = np.full((3, 4, 4), 100, dtype=np.uint8)
    saved = original.copy()
    saved[1, 2, 3] = 109
    assert largest_change(saved, original) == 9
    assert not keeps(ThreatModel(eps=Fraction(8, 255)), saved, original)
    assert keeps(ThreatModel(eps=Fraction(9, 255)), saved, original)
    saved[0, 0, 0] = 88
    assert keeps(ThreatModel(eps=Fraction(15, 255), norm="l2"), saved, original)
    saved[0, 0, 1] = 101
    assert not keeps(ThreatModel(eps=Fraction(15, 255), norm="l2"), saved, original)


def test_rounding_in_l2_is_shrunk_into_the_ball() -> None:
    """768 changes of 0.6 levels have length 16.6 levels; rounded to whole levels they would have 27.7."""
    originals = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
    threat = ThreatModel(eps=Fraction(20, 255), norm="l2")
    ramp = torch.linspace(0, 1.2, 768).view(1, 3, 16, 16) / 255
    attacked = to_float(originals) + ramp
    assert threat.distance(attacked, to_float(originals)).item() < float(threat.eps)
    assert not keeps(threat, to_bytes(attacked)[0].numpy(), originals[0].numpy())
    saved = quantise(attacked, originals, threat)
    assert keeps(threat, saved[0].numpy(), originals[0].numpy())
    assert largest_change(saved.numpy(), originals.numpy()) == 1


def test_aims_of_each_goal() -> None:
    masks = torch.zeros(2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = True
    regions = torch.zeros_like(masks)
    regions[1, 1, 1] = True
    anomalous = torch.tensor([True, False])
    labels, chosen = aims("any", masks, regions, anomalous)
    assert torch.equal(labels, masks)
    assert chosen.tolist() == [True, True]
    for goal, expected in (("target", [True, True]), ("hide", [True, False]), ("fabricate", [False, True])):
        labels, chosen = aims(goal, masks, regions, anomalous)
        assert torch.equal(labels == 1, regions)
        assert torch.equal(labels == 2, masks)
        assert chosen.tolist() == expected


def test_paper_suite_holds_the_three_sets_and_their_control() -> None:
    suite = read_suite("paper")
    check_suite(suite)
    assert suite.anomalous == 0.8
    labels = {threat.name: str(threat_model(threat)) for threat in suite.threats if threat.eps}
    assert labels == {"pgd-4": "linf 4/255", "pgd-8": "linf 8/255", "pgd-8-targeted": "linf 8/255 targeted"}
    assert [threat.name for threat in suite.threats if not threat.eps] == ["unattacked"]
    for one in suite.threats:
        assert one.steps == 10
        assert step_size(one) == (Fraction(5, 2) * one.eps / 10 if one.eps else None)


PGD = {"name": "first", "eps": "8/255"}
MINIMAL = {"attack": "minimal", "goal": "hide", "objective": "image_score", "eps": "8/255"}
WRONG: tuple[tuple[dict[str, object], str], ...] = (
    ({"attack": "pdg"}, "pgd"),
    ({"objective": "balance"}, "balanced"),
    ({"eps": "1/510"}, "1/255"),
    ({"options": {"bets": True}}, "'best'"),
    ({"options": {"together": 0}}, "together"),
    ({"attack": "apgd", "options": {"rho": 2}}, "rho"),
    ({"attack": "square", "step_size": "1/255"}, "expected no step_size for square, .* got 1/255; leave it out"),
    ({"attack": "noise", "steps": 1, "step_size": "1/255"}, "no step_size for noise"),
    ({"attack": "blur", "eps": "1", "steps": 1, "step_size": "1/255"}, "no step_size for blur"),
    ({"attack": "fgsm"}, "steps = 1 for fgsm, got 10"),
    ({"attack": "fgsm", "steps": 1, "restarts": 2}, "restarts = 1 for fgsm, got 2"),
    ({"attack": "fgsm", "steps": 1, "options": {"best": True}}, "unknown key 'best'"),
    ({"step_size": "0"}, "step_size above 0"),
    (MINIMAL | {"steps": 3}, "expected at least 4 steps for minimal, got 3"),
    ({"norm": "l1"}, r"norm: .*'linf' or 'l2', got 'l1'"),
    ({"step_size": "8"}, "step_size: expected a size from 0 to 5/2, .* 8/255, got '8'"),
    ({"step_size": "-1/255"}, "step_size: expected a size from 0 to 5/2"),
    ({"start": "none"}, "expected start to name an earlier threat of the same norm, eps, where and after"),
    ({"start": "first", "eps": "4/255"}, "expected start to name an earlier threat"),
    ({"start": "odd"}, "expected start to name an earlier threat"),
    ({"start": "first", "attack": "square"}, "expected no start for square"),
    ({"start": "first", "restarts": 2}, "expected no start for pgd with 2 restarts"),
    *(
        (
            {"attack": name, "norm": "l2", "eps": "1", "steps": 1},
            f"expected norm linf for {name}, got l2; try norm = 'linf'",
        )
        for name in ("minimal", "patch", *CORRUPTIONS)
    ),
)


@pytest.mark.parametrize(
    ("threats", "settings", "message"),
    [
        *(([PGD, PGD | {"name": "odd"} | wrong], {}, hint) for wrong, hint in WRONG),
        ([{"name": "p", "eps": "8/255", "after": "q"}], {}, "after to name an earlier .* got q; leave it out"),
        ([{"name": "b", "attack": "jpeg", "severities": [2]}, {"name": "p", "eps": 1, "after": "b"}], {}, "try b-2"),
        ([{"name": "r", "attack": "rotation", "severities": [3]}], {"worst": True}, "takes no worst over its threats"),
        ([{"name": "r", "attack": "shift", "severities": [3]}], {"against": "sources"}, "attacks test images"),
        ([{"name": "r", "attack": "shift", "severities": [3], "where": "foreground"}], {}, "where = frame for shift"),
        ([PGD, PGD | {"name": "on", "start": PGD["name"]}], {"against": "sources"}, 'no start = .*against = "self"'),
        ([MINIMAL | {"name": "m", "steps": 40}], {"against": "sources"}, "expected no minimal in sets"),
        ([{"name": "b", "attack": "blur", "severities": [6]}], {}, "threat b-6: severity"),
        ([{"name": "b", "attack": "blur", "severities": [2, 2]}], {}, "threat names repeat"),
        ([{"severities": [2]}], {}, "unknown key 'threats.0.severities'"),
    ],
)  # fmt: skip
def test_a_suite_that_cannot_be_run_is_refused_in_one_line(threats, settings, message) -> None:
    table = {"name": "s", "title": "s", "against": "self", "threats": threats} | settings
    with pytest.raises(UserError, match=message) as raised:
        check_suite(parse(Suite, table, "s.toml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("threats", "given"),
    [
        ([PGD, PGD | {"name": "on", "start": PGD["name"]}], f"start = {PGD['name']}"),
        ([{"name": "b", "attack": "jpeg", "severities": [2]}, {"name": "p", "eps": 1, "after": "b-2"}], "after = b-2"),
        ([{"name": "r", "attack": "shift", "severities": [3]}], "shift"),
    ],
)
def test_a_set_is_made_of_its_images_as_they_are(threats, given) -> None:
    suite = parse(Suite, {"name": "s", "title": "s", "against": "self", "threats": threats}, "s.toml")
    check_suite(suite)
    with pytest.raises(UserError, match=f"expected no {given} in sets.*score --white-box s"):
        check_suite(suite, as_sets=True)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_is_one_step_of_eps_from_the_image(norm) -> None:
    images, labels = clean_images()
    images = 0.2 + 0.6 * images
    attacked, _ = run_attack("fgsm", Linear(), images, labels, norm=norm, steps=1)
    if norm == "linf":
        with victim([Linear()]) as target:
            expected = torchattacks.FGSM(target, eps=8 / 255)(images, labels.long())
        assert torch.allclose(attacked, expected, atol=1e-6)
    else:
        # 192 values below 1 are rounded by up to 3e-8: of the length that is 4e-7.
        length = threat_model(threat("fgsm", norm="l2")).distance(attacked, images)
        assert length.tolist() == pytest.approx([EPS] * 4, abs=1e-6)


@pytest.mark.parametrize("name", ["apgd", "di", "mi", "patch", "pgd", "ti", "universal"])
@pytest.mark.parametrize("given", [None, "3/255"])
def test_step_size_is_what_the_attack_takes(name, given) -> None:
    record = threat(name, step_size=given)
    assert built(name, step_size=given).alpha == float(step_size(record))
    assert given is None or step_size(record) == Fraction(3, 255)


def built(name: str, **settings):
    """A record's attack on the linear detector."""
    with victim([Linear()]) as target:
        return build_attack(target, threat(name, **settings), torch.Generator())


def test_what_takes_no_step_has_no_step_size() -> None:
    assert {step_size(threat(name)) for name in ("square", "noise", *CORRUPTIONS)} == {None}
    assert step_size(threat("pgd", eps=0)) is None
    assert step_size(threat("fgsm", steps=1)) == Fraction(8, 255)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("pgd", {}, {"restarts": 1, "best": False, "decay": False}),
        ("pgd", {"restarts": 3, "random_start": False, "options": {"best": True, "together": 5}},
         {"restarts": 3, "random_start": False, "best": True, "together": 5}),
        ("pgd", {"options": {"decay": True}}, {"decay": True, "alpha": 4 / 255}),
        ("apgd", {"options": {"rho": 0.5}}, {"rho": 0.5, "alpha": 16 / 255}),
        ("ti", {"options": {"kernel": 5}}, {"kernel": 5, "momentum": 1.0, "diversity": 0.0}),
    ],
)  # fmt: skip
def test_settings_of_the_record_reach_the_attack(name, settings, expected) -> None:
    attack = built(name, **settings)
    assert {key: getattr(attack, key) for key in expected} == expected
