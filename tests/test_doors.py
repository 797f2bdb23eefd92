"""Attacks and metrics from elsewhere: what runs, what is refused in one line, and what decides a task's key."""

import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch
from conftest import Command
from linear_detector import Linear

import omnial_bench as ob
from omnial_bench.attacks.building import build_attack
from omnial_bench.attacks.checks import check_suite
from omnial_bench.attacks.sets.sealed import load_set
from omnial_bench.attacks.specs import Spec
from omnial_bench.attacks.threats import aim_of, kind_of
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.io.whole import write_text
from omnial_bench.results import read_rows

CODE = """
from pathlib import Path

import torch

import omnial_bench as ob

Path("imported").touch()


class Push(ob.Attack):
    title = "Push"
    spec = ob.Spec(iterative=True, uses_gradient=True, bound=True)
    norms = ("linf",)
    goals = ("any", "hide")

    def __init__(self, does: str = "right"):
        self.does = does

    def __call__(self, victim, images, target, region, threat, generator):
        losses, zero = [], 0
        attacked = images
        for _ in range(threat.steps):
            loss, gradient = victim.gradient(attacked, target, threat.objective, towards=threat.towards)
            losses.append(loss.mean())
            zero = (gradient == 0).flatten(1).all(1).sum()
            step = threat.sign * threat.step_size * gradient.sign() * region
            attacked = threat.project(attacked + step, images)
        if self.does == "far":
            images += 0.2
            attacked = images
        if self.does == "shape":
            attacked = attacked[..., :4]
        if self.does == "nan":
            attacked = attacked * float("nan")
        if self.does == "outside":
            attacked = threat.project(images + float(threat.eps), images)
        if self.does == "tuple":
            return attacked, losses
        if self.does == "losses":
            losses = losses[:1]
        if self.does == "zero":
            zero = 1000
        if self.does == "fails":
            raise ValueError("two\\nlines")
        if self.does == "leaves":
            raise SystemExit(0)
        return ob.Attacked(attacked, losses, zero)


class Still(ob.Attack):
    def __call__(self, victim, images, target, region, threat, generator):
        noise = 2 * torch.rand(images.shape, generator=generator) - 1 + 0 * torch.rand(1)
        return ob.Attacked(threat.project(images + float(threat.eps) * noise * region, images))


class Boast(ob.Attack):
    norms = ("l1",)

    def __call__(self, *_):
        raise NotImplementedError


class Share(ob.Accumulator):
    metric = ob.Metric(name="share", title="Share above 0", kind="pixel", better="lower")

    def __init__(self):
        self.above, self.count = 0, 0

    def update(self, maps, masks, scores, labels):
        assert maps.shape == masks.shape and scores.shape == labels.shape and masks.dtype == torch.bool
        self.above, self.count = self.above + int((maps > 0).sum()), self.count + maps.numel()

    def compute(self):
        return self.above / self.count


class Wide(Share):
    metric = ob.Metric(name="wide", title="Wide", kind="pixel")

    def compute(self):
        return 7


class Undefined(Share):
    metric = ob.Metric(name="undefined", title="Undefined", kind="image", unit="")

    def compute(self):
        return float("nan")


class Taken(Share):
    metric = ob.Metric(name="psnr", title="Mine", kind="pixel")


class Nameless(Share):
    metric = "share"


number = 3
"""
PUSH, SHARE = "traced_doors:Push", "traced_doors:Share"
SUITE = {
    "name": "push", "title": "Push", "against": "self", "limit": 3,
    "threats": [{"name": "push-any", "eps": "8/255", "attack": PUSH, "steps": 2}],
}  # fmt: skip
PLAN = {
    "name": "doors", "title": "Doors", "dataset": "toy", "categories": ["cap"], "detectors": ["mini.toml"],
    "paradigms": ["unified"], "preset": "tiny", "suites": ["push.toml", "sets.toml"], "metrics": [SHARE],
}  # fmt: skip


@pytest.fixture
def place(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module, suites and a plan that name its classes, and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "traced_doors", raising=False)
    write_text(tmp_path / "traced_doors.py", CODE)
    write_text(tmp_path / "push.toml", tomli_w.dumps(SUITE))
    fixed = {**SUITE, "name": "sets", "against": "sources", "threats": [{**SUITE["threats"][0], "name": "push-set"}]}  # type: ignore[index]
    write_text(tmp_path / "sets.toml", tomli_w.dumps(fixed))
    write_text(tmp_path / "plan.toml", tomli_w.dumps(PLAN))
    shutil.copy(mini / "mini.toml", tmp_path)
    (tmp_path / "data").symlink_to(mini / "data")
    yield tmp_path
    sys.modules.pop("traced_doors", None)


def threat(attack: str = PUSH, *, trusted: bool = True, **changes: Any) -> Threat:
    made = Threat(name="t", eps="8/255", attack=attack, steps=2, **changes)  # type: ignore[arg-type]
    return made.trusting([attack] if trusted else [])


def attacked(one: Threat, where: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:2, 2:5, 2:5] = True
    with victim([Linear()]) as target:
        attack = build_attack(target, one, torch.Generator().manual_seed(0))
        return attack(images, masks, where) - images, attack


@pytest.mark.usefixtures("place")
def test_it_attacks_inside_its_ball_and_says_how_it_went() -> None:
    change, attack = attacked(threat())
    assert change.abs().max() <= 8 / 255 + 1e-6 and change.abs().max() > 7 / 255
    assert len(attack.losses) == 2 and attack.losses[1] > attack.losses[0] and attack.flat == 0
    hidden, attack = attacked(threat(goal="hide"))
    assert attack.losses[1] < attack.losses[0] and not torch.equal(hidden, change)
    where = torch.zeros(3, 8, 8, dtype=torch.bool)
    where[:, :4] = True
    change, _ = attacked(threat(), where)
    assert change[:, :, :4].any() and not change[:, :, 4:].any()


@pytest.mark.usefixtures("place")
def test_its_random_numbers_come_from_the_seed_and_move_no_other() -> None:
    before = torch.get_rng_state()
    (first, attack), (again, _) = attacked(threat("traced_doors:Still")), attacked(threat("traced_doors:Still"))
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), before)
    assert attack.losses == [] and attack.flat is None
    with pytest.raises(ob.UserError, match="does not keep its bound"):
        attacked(threat(options={"does": "far"}))


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("far", "traced_doors:Push does not keep its bound: expected images within linf 0.03137 of those that it was"),
        ("shape", r"expected images of shape \(3, 3, 8, 8\), got Tensor of shape \(3, 3, 8, 4\)"),
        ("nan", r"expected images in \[0, 1\]"),
        ("outside", "expected pixels to change in the region alone"),
        ("tuple", r"expected Attacked\(images, losses, zero_gradient\), got tuple"),
        ("losses", "expected 2 finite losses, one before each step, or none, got 1"),
        ("zero", "expected zero_gradient from 0 to its 3 images, got 1000"),
        ("fails", "traced_doors:Push failed to attack: ValueError: two lines"),
        ("leaves", "traced_doors:Push failed to attack: SystemExit"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_an_attack_does_wrong_is_one_line_that_names_it(does: str, words: str) -> None:
    with pytest.raises(ob.UserError, match=words) as caught:
        attacked(threat(options={"does": does}), torch.zeros(3, 8, 8, dtype=torch.bool) if does == "outside" else None)
    assert "traced_doors:Push" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"norm": "l2"}, "expected norm linf for traced_doors:Push, got l2"),
        ({"goal": "fabricate"}, "expected goal any or hide for traced_doors:Push, got fabricate"),
        ({"options": {"dose": "far"}}, "unknown option of traced_doors:Push in threat t: 'dose'; did you mean 'does'?"),
        ({"attack": "traced_doors:Boast"}, r"expected norms as a tuple out of linf, l2, got \('l1',\)"),
        ({"attack": "traced_doors:Share"}, "expected a class that derives from omnial_bench.Attack"),
        ({"attack": "traced_doors:number"}, "expected a class that derives from omnial_bench.Attack"),
        ({"attack": "traced_doors:Gone"}, "cannot load the attack 'traced_doors:Gone': AttributeError"),
        ({"attack": "os:system"}, "Python's standard library, which holds no attack"),
        ({"attack": "traced_doors:Push; touch ran"}, "names the attack .* expected package.module:object"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_suite_that_does_not_fit_is_refused_before_any_work(changes: dict[str, Any], words: str) -> None:
    one = threat(**{"attack": PUSH, **changes})
    with pytest.raises(ob.UserError, match=words):
        check_suite(Suite(name="s", title="s", threats=(one,)))


def test_no_file_trusts_its_own_code(place: Path) -> None:
    suite = read_suite("push.toml")
    with pytest.raises(ob.UserError, match=f"threat push-any asks to run the code {PUSH}; if you know and trust it"):
        check_suite(suite)
    write_text(place / "bold.toml", tomli_w.dumps(SUITE) + "_trusted = true\n")
    with pytest.raises(ob.UserError, match="unknown key"):
        read_suite("bold.toml")
    assert check_suite(suite, looking=True) == [PUSH] and not (place / "imported").exists()
    trusted = read_suite("push.toml", [PUSH])
    check_suite(trusted)
    (one,) = trusted.threats
    assert kind_of(one).spec.bound and aim_of(one) == "pixel"
    assert kind_of(threat("traced_doors:Still")).spec == Spec()
    assert not Suite.model_validate(trusted.model_dump()).threats[0].trusted
    # To the processes that do its tasks trust goes along.
    assert pickle.loads(pickle.dumps(one)).trusted and not pickle.loads(pickle.dumps(suite.threats[0])).trusted


def test_a_run_wants_trust_looks_without_importing_and_keys_hold_the_code(place: Path, command: Command) -> None:
    line, attack, metric = "run plan.toml --data data --out out --device cpu", f"--trust {PUSH}", f"--trust {SHARE}"
    for trust, missing in (("", PUSH), (metric, PUSH), (attack, SHARE)):
        status, _, said = command(f"{line} {trust}")
        assert (status, said.count("\n")) == (2, 1) and said.endswith(f"add --trust {missing}\n")
    assert not (place / "out").exists()
    sys.modules.pop("traced_doors", None)
    (place / "imported").unlink()
    for looking in (f"{line} --dry-run", "show attacks push.toml", "show plans plan.toml"):
        assert command(looking).status == 0
    assert not (place / "imported").exists()
    assert command(f"{line} {attack} {metric}").status == 0
    rows, attempts = read_rows(place / "out"), pd.read_csv(place / "out/attacks.csv")
    assert set(rows.loc[rows["metric"] == "share", "set"]) == {"clean", "push-set", "push-unattacked", "push-any"}
    assert rows.loc[rows["metric"] == "share", "value"].between(0, 1).all()
    assert set(attempts["spec"]) == {"iterative uses_gradient bound"} and set(attempts["title"]) == {"Push"}
    assert attempts["flat"].notna().all() and (attempts["largest_change"] <= 8).all()
    assert load_set(place / "out/sets/push-set").manifest.largest_change <= 8
    told = json.loads((place / "out/environment.json").read_text(encoding="utf-8"))["metrics"]["share"]
    assert (told["title"], told["better"], told["high"]) == ("Share above 0", "lower", 1.0)
    text = (place / "out/report.md").read_text(encoding="utf-8")
    assert "Share above 0 (lower is better)" in text and "Not known here" not in text
    write_text(place / "traced_doors.py", CODE + "\nlater = 1\n")
    listed = {one["name"]: one for one in json.loads(command(f"{line} --dry-run --json").out)}
    due = {name: one["why"] for name, one in listed.items() if one["status"] == "due"}
    assert {"train-mini-unified"} == set(listed) - set(due)
    assert due["set-push-set"] == ["attacks changed"]
    assert due["evaluate-push-mini-unified-cap"] == ["attacks changed", "metrics changed"]
    assert due["score-mini-unified-clean-cap"] == ["metrics changed"]


def test_from_python(place: Path) -> None:
    given: dict[str, Any] = {"categories": ["cap"], "size": (32, 32), "device": "cpu", "limit": 3}
    with pytest.raises(ob.UserError, match=f"add --trust {PUSH}"):
        ob.benchmark(Linear(32), "data", "push.toml", **given)
    with pytest.raises(ob.UserError, match="expected trusted as a list"):
        ob.benchmark(Linear(32), "data", "push.toml", trusted=PUSH, **given)
    undefined = import_module("traced_doors").Undefined
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = ob.benchmark(
            Linear(32), "data", "push.toml", trusted=[PUSH], metrics=[SHARE, undefined],
            save=place / "kept", **given,
        )  # fmt: skip
    shares = found[found["metric"] == "share"]
    assert set(shares["set"]) == {"clean", "push-unattacked", "push-any"} and shares["value"].notna().all()
    assert found.loc[found["metric"] == "undefined", "value"].isna().all()
    assert set(found.health.loc[found.health["check"] == "loss moves", "status"]) == {"passed"}
    environment = json.loads((place / "kept/environment.json").read_text(encoding="utf-8"))
    assert set(environment["metrics"]) == {"share", "undefined"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Wide", "the metric wide: expected a figure from 0 to 1, as it says of itself, got 7"),
        ("Taken", "expected a name of its own and no level of chance, got psnr"),
        ("Nameless", r"Nameless: expected metric = Metric\(name=..., title=..., kind=...\), got 'share'"),
        ("Push", "expected a metric, a class of omnial_bench.Accumulator"),
        ("Gone", "cannot load the metric 'traced_doors:Gone'"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_metric_that_is_none_is_one_line(name: str, words: str) -> None:
    metrics = [f"traced_doors:{name}"]
    with pytest.raises(ob.UserError, match=words):
        ob.benchmark(
            Linear(32), "data", "corruptions", categories=["cap"], size=(32, 32), device="cpu", metrics=metrics
        )
