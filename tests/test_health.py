"""The checks on figures written by hand, and on detectors that mask their gradients on purpose."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from masked import SIDE, Capped, Cut, Detached, Floored, Honest, Quantised, Rounded, Saturated, toy_images

import omnial_bench as ob
from omnial_bench.attacks.building import BUILDERS
from omnial_bench.attacks.conduct import REWEIGHTED
from omnial_bench.attacks.evidence import DENSE
from omnial_bench.attacks.health import CHECKS, COLUMNS, doubts, health
from omnial_bench.attacks.objectives import OBJECTIVES
from omnial_bench.attacks.settings import CORRUPTIONS
from omnial_bench.attacks.specs import AIMS, Spec
from omnial_bench.attacks.threats import ATTACKS
from omnial_bench.config.load import read_suite
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.evaluation.class_means import with_means
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.target import Labels, Outcome, Target
from omnial_bench.reports.origins import unlearnt_of
from omnial_bench.results import ATTEMPT_COLUMNS, Attempt, Result, attempts_frame, frame

Settings = dict[str, Any]
PGD: Settings = {"attack": "pgd", "steps": 10}
MORE: Settings = {"attack": "pgd", "steps": 20}
LONG: Settings = {"attack": "pgd", "steps": 50}
ONE: Settings = {"attack": "pgd", "steps": 1}
NOISE: Settings = {"attack": "noise"}
OTHER: Settings = {"attack": "pgd", "objective": "linear"}
SQUARE: Settings = {"attack": "square", "steps": 200}
L2: Settings = {"norm": "l2", "eps": "1/2"}
BLUR: Settings = {"attack": "blur", "eps": "255/255", "steps": 1}
AFTER: Settings = {"options": "decay, after = b"}
HIDE: Settings = {"goal": "hide", "direction": "down"}


def attempt(name: str, **changes: Any) -> Attempt:
    plain: Settings = {
        "suite": "health", "set": name, "detector": "a", "paradigm": "unified", "category": "nut", "source": "self",
        "attack": "pgd", "objective": "balanced", "goal": "any", "norm": "linf", "eps": "8/255", "where": "frame",
        "steps": 10, "restarts": 1, "n": 10, "attacked": 10, "flat": 0, "largest_change": 8.0, "direction": "up",
        "losses": "0.5 1.0 1.5", "seed": 0, "run": "r",
    }  # fmt: skip
    return Attempt(**(plain | changes))


def result(name: str, value: float | None, *, source: str = "self", n: int = 10, category: str = "mean") -> Result:
    return Result(
        detector="a", paradigm="unified", preset="tiny", dataset="toy", category=category, set=name, threat="",
        source=source, metric="pixel_auroc", value=value, n=n, seed=0, run="r",
    )  # fmt: skip


def checked(rows: Iterable[Result], attempts: Iterable[Attempt]) -> pd.DataFrame:
    return health(frame(rows), attempts_frame(attempts))


def one(table: pd.DataFrame, check: str) -> pd.Series:
    (row,) = [row for _, row in table.iterrows() if row["check"] == check]
    return row


Case = tuple[float, Settings]
"""Pixel AUROC and what differs from PGD at 8/255 in ten steps."""


@pytest.mark.parametrize(
    ("check", "cases", "status", "judged"),
    [
        ("iterative beats one-step", {"p": (0.3, PGD), "o": (0.4, ONE)}, "passed", ("p", 0.3, 0.4)),
        ("iterative beats one-step", {"p": (0.41, PGD), "o": (0.4, ONE)}, "passed", ("p", 0.41, 0.4)),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE)}, "failed", ("p", 0.6, 0.4)),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, {"attack": "fgsm"})}, "failed", ("p", 0.6, 0.4)),
        ("iterative beats one-step", {"p": (0.3, PGD), "l": (0.5, LONG), "o": (0.4, ONE)}, "failed", ("l", 0.5, 0.4)),
        ("iterative beats one-step", {"p": (0.6, PGD)}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE | {"eps": "4/255"})}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE | {"options": "start = p"})}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE | {"n": 9})}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE | {"norm": "l2"})}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE | {"where": "foreground"})}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD), "o": (0.4, ONE | {"objective": "joint"})}, "not run", None),
        ("iterative beats one-step", {"p": (0.6, PGD | HIDE), "o": (0.4, ONE | HIDE)}, "not run", None),
        ("PGD beats noise", {"p": (0.3, PGD), "n": (0.9, NOISE)}, "passed", ("p", 0.3, 0.9)),
        ("PGD beats noise", {"p": (0.9, PGD), "n": (0.8, NOISE)}, "failed", ("p", 0.9, 0.8)),
        ("PGD beats noise", {"p": (0.801, PGD), "n": (0.8, NOISE)}, "failed", ("p", 0.801, 0.8)),
        ("PGD beats noise", {"o": (0.9, ONE), "n": (0.8, NOISE)}, "not run", None),
        ("PGD beats noise", {"p": (0.9, PGD | {"objective": "image_score"}), "n": (0.8, NOISE)}, "not run", None),
        ("Square does not beat PGD", {"p": (0.3, PGD), "s": (0.6, SQUARE)}, "passed", ("p", 0.3, 0.6)),
        ("Square does not beat PGD", {"p": (0.6, PGD), "s": (0.3, SQUARE)}, "failed", ("p", 0.6, 0.3)),
        ("Square does not beat PGD", {"s": (0.3, SQUARE)}, "not run", None),
        ("larger eps never helps", {"a": (0.6, PGD | {"eps": "4/255"}), "p": (0.3, PGD)}, "passed", ("p", 0.3, 0.6)),
        ("larger eps never helps", {"a": (0.3, PGD | {"eps": "4/255"}), "p": (0.6, PGD)}, "failed", ("p", 0.6, 0.3)),
        ("larger eps never helps", {"a": (0.3, LONG | {"eps": "4/255"}), "p": (0.6, PGD)}, "not run", None),
        ("larger eps never helps", {"p": (0.3, PGD), "h": (0.6, PGD | {"eps": "64/255"})}, "not run", None),
        ("larger eps never helps", {"p": (0.3, L2), "h": (0.6, L2 | {"eps": "1"})}, "failed", ("h", 0.6, 0.3)),
        ("larger eps never helps", {"b": (0.6, BLUR), "p": (0.3, AFTER), "q": (0.7, PGD)}, "passed", ("p", 0.3, 0.6)),
        ("larger eps never helps", {"b": (0.6, BLUR), "p": (0.7, AFTER), "q": (0.3, PGD)}, "failed", ("p", 0.7, 0.6)),
        ("nothing else harms more", {"p": (0.7, PGD), "a": (0.05, OTHER | AFTER)}, "not run", None),
        ("nothing else harms more", {"p": (0.3, PGD), "l": (0.4, OTHER)}, "passed", ("p", 0.3, 0.4)),
        ("nothing else harms more", {"p": (0.3, PGD), "l": (0.29, OTHER)}, "passed", ("p", 0.3, 0.29)),
        ("nothing else harms more", {"p": (0.7, PGD), "l": (0.05, OTHER)}, "failed", ("p", 0.7, 0.05)),
        ("nothing else harms more", {"p": (0.7, PGD), "h": (0.05, PGD | HIDE)}, "failed", ("p", 0.7, 0.05)),
        ("nothing else harms more", {"p": (0.7, PGD), "l": (0.05, OTHER | {"eps": "4/255"})}, "not run", None),
        ("nothing else harms more", {"p": (0.7, PGD), "l": (0.05, LONG)}, "not run", None),
        ("huge eps breaks", {"h": (0.5, PGD | {"eps": "64/255"})}, "passed", ("h", 0.5, 0.5)),
        ("huge eps breaks", {"h": (0.51, PGD | {"eps": "64/255"})}, "failed", ("h", 0.51, 0.5)),
        ("huge eps breaks", {"h": (0.9, PGD | {"eps": "1", "norm": "l2"}), "p": (0.9, PGD)}, "not run", None),
        ("more steps change little", {"p": (0.30, PGD), "l": (0.26, LONG)}, "passed", ("p", 0.04, 0.05)),
        ("more steps change little", {"p": (0.40, PGD), "l": (0.30, LONG)}, "failed", ("p", 0.10, 0.05)),
        ("more steps change little", {"p": (0.30, PGD), "l": (0.40, LONG)}, "failed", ("l", -0.10, 0.05)),
        ("more steps change little", {"p": (0.5, PGD), "t": (0.4, MORE), "l": (0.3, LONG)}, "failed", ("t", 0.1, 0.05)),
        ("more steps change little", {"p": (0.5, PGD), "t": (0.3, MORE), "l": (0.3, LONG)}, "failed", ("p", 0.2, 0.05)),
        ("more steps change little", {"p": (0.4, PGD), "l": (0.3, LONG | {"options": "decay"})}, "not run", None),
        ("more steps change little", {"o": (0.40, ONE), "l": (0.30, LONG)}, "not run", None),
        ("more steps change little", {"p": (0.4, PGD), "l": (0.3, LONG | {"restarts": 5})}, "not run", None),
    ],
)  # fmt: skip
def test_figures(check: str, cases: dict[str, Case], status: str, judged: tuple[str, float, float] | None) -> None:
    rows = [result(name, value, n=changes.get("n", 10)) for name, (value, changes) in cases.items()]
    found = one(checked(rows, [attempt(name, **changes) for name, (_, changes) in cases.items()]), check)
    assert found["status"] == status, found["note"]
    assert found["category"] == "mean"
    if judged is None:
        assert pd.isna(found["figure"]) and pd.isna(found["reference"])
        assert found["note"].startswith("needs ") and "suite" in found["note"]
    else:
        assert (found["set"], found["figure"], found["reference"]) == (judged[0], *map(pytest.approx, judged[1:]))
        assert ("in doubt" in found["note"]) == (status == "failed")


@pytest.mark.parametrize(("control", "status"), [(0.95, "passed"), (0.5, "failed")])
def test_an_attack_that_helps_is_seen_against_no_attack_too(control: float, status: str) -> None:
    rows = [result("health-unattacked", control, source="none"), result("a", 0.7), result("p", 0.6)]
    found = one(checked(rows, [attempt("a", eps="4/255"), attempt("p")]), "larger eps never helps")
    assert (found["status"], found["set"]) == (status, "a" if status == "failed" else "p")
    assert ("no attack" in found["note"]) == (status == "failed")


@pytest.mark.parametrize(
    ("transferred", "n", "status"), [(0.6, 10, "passed"), (0.1, 10, "failed"), (0.1, 5, "not run")]
)
def test_transfer(transferred: float, n: int, status: str) -> None:
    """The second source decides; images of another number are other images."""
    rows = [result("t", 0.4), result("t", 0.8, source="b-unified", n=n), result("t", transferred, source="c", n=n)]
    found = one(checked(rows, [attempt("t", suite="transfer")]), "white-box beats transfer")
    assert found["status"] == status
    if status == "failed":
        assert (found["figure"], found["reference"]) == (0.4, 0.1) and "from c " in found["note"]


def test_white_box_and_transfer_may_lie_in_two_suites() -> None:
    attempts = [attempt("w", suite="white-box"), attempt("t", suite="transfer", detector="b", source="b-unified")]
    found = checked([result("w", 0.4), result("t", 0.1, source="b-unified")], attempts)
    assert one(found[found["detector"] == "a"], "white-box beats transfer")["status"] == "failed"


LOSSES: tuple[tuple[str, Settings, str, float | None], ...] = (
    ("0 1 2 3 4 5", {}, "passed", 1.0),
    ("5 4 3 2 1 0", {}, "failed", 0.0),
    ("5 4 3 2 1 0", HIDE, "passed", 1.0),
    ("0 1 2 3 4 5", HIDE, "failed", 0.0),
    ("1 1 1 1 1 1", {}, "failed", 0.0),
    ("0 5 4.6 4.9 4.5 4.8", {}, "passed", 1.0),
    ("0 5 4 5 4 5", {}, "failed", 0.6),
    ("0 5 5 5 5 -1", {}, "failed", 0.8),
    ("0 3 2 4", {"steps": 4}, "passed", 2 / 3),
    ("0 3 2 1", {"steps": 4}, "failed", 1 / 3),
    ("0 1 2 3 2 5", {}, "passed", 0.8),
    ("5 4 3 2 1 0", {"eps": "64/255"}, "not run", None),
    ("5 4 3 2 1 0", {"eps": "1", "norm": "l2"}, "failed", 0.0),
    ("5 4 3 2 1 0", {"attack": "apgd"}, "not run", None),
    ("5 4 3 2 1 0", {"objective": "segpgd"}, "not run", None),
    ("5 4 3 2 1 0", {"attacked": 0}, "not run", None),
    ("5", {"steps": 1}, "not run", None),
    # The first is of the random start, the second of the other attack's images, in which all may be won.
    ("-9 5 4 5 5", {"options": "start = q", "objective": "image_score", "steps": 4}, "passed", 1),
    ("-9 5 -8 -7 -6", {"options": "start = q", "objective": "image_score", "steps": 4}, "passed", 1),
    ("-9 5 -8 -9 -10", {"options": "start = q", "objective": "image_score", "steps": 4}, "failed", 1 / 3),
    ("", {"attack": "noise", "flat": None}, "not run", None),
)
BOUNDS: tuple[tuple[Settings, str, float | None], ...] = (
    ({"largest_change": 8}, "passed", 8),
    ({"largest_change": 9}, "failed", 9),
    ({"largest_change": 2, "eps": "2/255"}, "passed", 2),
    ({"largest_change": 3, "eps": "2/255"}, "failed", 3),
    ({"largest_change": 127.5, "eps": "1/2", "norm": "l2"}, "passed", 127.5),
    ({"largest_change": 127.6, "eps": "1/2", "norm": "l2"}, "failed", 127.6),
    ({"largest_change": 300, "eps": "1", "norm": "l2"}, "failed", 300),
    ({"largest_change": 255, "eps": "1", "attack": "patch"}, "not run", None),
    ({"largest_change": 0, "attacked": 0}, "not run", None),
)
# Those of three attempts; gradients are summed, of the others the worst counts.
COUNTS: tuple[tuple[str, str, tuple[float | None, ...], str, float | None], ...] = (
    ("no zero gradients", "flat", (0, 0, 0), "passed", 0),
    ("no zero gradients", "flat", (0, 1, 2), "failed", 0.1),
    ("no zero gradients", "flat", (None, None, None), "not run", None),
    ("scores do not saturate", "saturated", (None, 0.001, 0.02), "passed", 0.02),
    ("scores do not saturate", "saturated", (0.021, 0.001, 0.0), "failed", 0.021),
    ("scores do not saturate", "saturated", (None, None, None), "not run", None),
    ("gradient is whole", "agreement", (None, 0.99, 0.98), "passed", 0.98),
    ("gradient is whole", "agreement", (0.99, 0.979, 0.99), "failed", 0.979),
    ("gradient is whole", "agreement", (None, None, None), "not run", None),
    ("gradient reaches all pixels", "unfelt", (None, 0.0, 0.05), "passed", 0.05),
    ("gradient reaches all pixels", "unfelt", (0.0, 0.051, None), "failed", 0.051),
    ("gradient reaches all pixels", "unfelt", (None, None, None), "not run", None),
)


@pytest.mark.parametrize(
    ("check", "attempts", "status", "figure"),
    [
        *(("loss rises", ({"losses": losses, **changes},), *found) for losses, changes, *found in LOSSES),
        *(("bound holds", (changes,), *found) for changes, *found in BOUNDS),
        *((check, tuple({name: value} for value in values), *found) for check, name, values, *found in COUNTS),
    ],
)
def test_what_attempts_tell(check: str, attempts: tuple[Settings, ...], status: str, figure: float | None) -> None:
    found = one(checked([], [attempt(name, **each) for name, each in zip("pqr", attempts, strict=False)]), check)
    assert found["status"] == status
    assert found["category"] == ("mean" if figure is None else "all")
    assert (pd.isna(found["figure"]) and figure is None) or found["figure"] == pytest.approx(figure)
    assert check != "no zero gradients" or status != "failed" or (found["set"] == "r" and "3 of 30" in found["note"])


def test_a_score_that_nothing_moves_is_named() -> None:
    told = {"losses": "-0.1 -0.1 -0.1", "objective": "image_score", "options": "start = q"}
    found = one(checked([], [attempt("p", **told)]), "loss rises")
    assert found["status"] == "failed" and "scaled by its own largest value or cut off" in found["note"]
    assert "scaled by" not in one(checked([], [attempt("p", losses="3 3 3")]), "loss rises")["note"]


def test_one_step_undone_of_three_hides_no_longer_attack_that_lost_more() -> None:
    attempts = [attempt("short", losses="0 3 2 4", steps=4), attempt("long", losses="0 3 2 4 3 5 4 6")]
    found = one(checked([], attempts), "loss rises")
    assert (found["status"], found["set"]) == ("failed", "long")


def test_a_score_that_rises_along_its_own_gradient_or_its_maps_is_enough() -> None:
    comes_back, rises = "0 3 1 3 1 3", "0 1 2 3 4 5"
    for losses, status in (
        ({"image_score": rises}, "passed"),
        ({"peaks": comes_back}, "failed"),
        ({"image_score": comes_back, "peaks": rises}, "passed"),
        ({"image_score": rises, "peaks": comes_back}, "passed"),
        ({"image_score": comes_back, "peaks": comes_back}, "failed"),
        ({"balanced": comes_back, "peaks": rises}, "failed"),
    ):
        attempts = [attempt(name, losses=each, objective=name, steps=6) for name, each in losses.items()]
        assert one(checked([], attempts), "loss rises")["status"] == status


def test_losses_are_weighted_by_attacked_images_and_the_worst_threat_is_shown() -> None:
    falls = {"losses": "2 1 0", "category": "grid"}
    few = [attempt("p", attacked=30), attempt("p", attacked=10, **falls), attempt("q")]
    many = [attempt("p", attacked=10), attempt("p", attacked=30, **falls), attempt("q")]
    assert one(checked([], few), "loss rises")["status"] == "passed"
    found = one(checked([], many), "loss rises")
    assert (found["status"], found["set"]) == ("failed", "p")
    assert "loss 1.625 to 0.375" in found["note"]


def test_every_model_gets_every_check_where_nothing_was_attacked() -> None:
    found = health(frame([result("clean", 0.9, source="none")]), attempts_frame([]))
    assert tuple(found.columns) == COLUMNS
    assert list(found["check"]) == list(CHECKS)
    assert set(found["status"]) == {"not run"}
    assert found["figure"].dtype == found["reference"].dtype == float
    assert doubts(found).empty
    assert health(frame([]), attempts_frame([])).empty


def test_undefined_figures_and_single_categories_are_not_compared() -> None:
    attempts = [attempt("p"), attempt("o", **ONE)]
    for rows in ([result("p", None), result("o", 0.1)], [result(name, 0.5, category="nut") for name in "po"]):
        assert one(checked(rows, attempts), "iterative beats one-step")["status"] == "not run"


def test_frames_read_from_files_give_the_same(tmp_path) -> None:
    """Numbers come back as float, and an empty count as NaN."""
    attempts = attempts_frame([attempt("p", flat=1), attempt("l", **LONG), attempt("n", attack="noise", flat=None)])
    rows = frame([result("p", 0.9), result("l", 0.5), result("n", 0.4)])
    attempts.to_csv(tmp_path / "attacks.csv", index=False)
    read = pd.read_csv(tmp_path / "attacks.csv", dtype=str, keep_default_na=False)
    for name in (
        "n",
        "attacked",
        "flat",
        "largest_change",
        "steps",
        "restarts",
        "seed",
        "agreement",
        "unfelt",
        "saturated",
    ):
        read[name] = pd.to_numeric(read[name].replace("", None)).astype("float64")
    assert tuple(read.columns) == ATTEMPT_COLUMNS
    pd.testing.assert_frame_equal(health(rows, attempts), health(rows, read))


def test_doubts_have_a_row_a_model() -> None:
    table = checked([result("p", 0.9), result("l", 0.5)], [attempt("p", flat=1), attempt("l", **LONG)])
    (found,) = doubts(table).to_dict("records")
    assert (found["detector"], found["paradigm"]) == ("a", "unified")
    assert found["checks"] == "more steps change little, no zero gradients"
    assert found["notes"].count("in doubt") == 2


@pytest.mark.parametrize(
    ("ssim", "ap", "status", "words"),
    [
        (0.7, 0.3, "passed", "SSIM 0.70"), (0.59, 0.3, "failed", "SSIM 0.59 on nut"),
        (None, 0.3, "passed", "3.0 times"),
        (None, 0.14, "failed", "pixel AP 0.140 on nut"), (0.9, 0.14, "failed", "pixel AP 0.140 on nut"),
        (0.9, None, "not run", "needs"),
    ],
)  # fmt: skip
def test_a_network_that_has_not_learnt_is_told(ssim: float | None, ap: float | None, status: str, words: str) -> None:
    """By the poorest category: of a second one every figure is good."""
    values = {("nut", "ssim"): ssim, ("nut", "pixel_ap"): ap, ("nut", "pixel_ap_chance"): None if ap is None else 0.1}
    if ap is not None:
        values |= {("cap", "ssim"): ssim and 0.95, ("cap", "pixel_ap"): 0.9, ("cap", "pixel_ap_chance"): 0.1}
    rows = [
        replace(result("clean", value, source="none", category=category), metric=metric)
        for (category, metric), value in values.items()
    ]
    found = one(checked(rows, [attempt("p")]), "has learnt")
    assert found["status"] == status and words in found["note"], found["note"]


@pytest.mark.parametrize(
    ("folder", "paradigm", "values", "status", "place"),
    [
        ("a-unified", "unified", [0.10, None, 0.14], "failed", {("a", "unified"): ("nut", "cap")}),
        ("a-unified", "unified", [0.10, 0.05, 0.16], "passed", {}),
        ("a-separate-cap", "separate", [0.10, 0.14], "failed", {("a", "separate"): ("cap",)}),
        ("a-separate-cap", "unified", [0.10, 0.14], "passed", {}),
        ("ab-unified", "unified", [0.10, 0.14], "passed", {}),
        ("a-unified", "unified", [None, 0.10, 0.10], "passed", {}),
    ],
)  # fmt: skip
def test_a_training_that_left_its_validation_where_it_began_is_told(
    folder: str, paradigm: str, values: list[float | None], status: str, place: dict[tuple[str, str], tuple[str, ...]]
) -> None:
    """All figures on the test split are good, as of a network whose untrained features tell defects apart."""
    good = {"ssim": 0.9, "pixel_ap": 0.6, "pixel_ap_chance": 0.1}
    rows = [
        replace(result("clean", value, source="none", category=category), metric=metric, paradigm=paradigm)
        for category in ("nut", "cap") for metric, value in good.items()
    ]  # fmt: skip
    log = pd.DataFrame({"iteration": range(len(values)), "validation_ap": values})
    checks = health(frame(rows), attempts_frame([attempt("p", paradigm=paradigm)]), {folder: log})
    assert one(checks, "has learnt")["status"] == status
    assert unlearnt_of(checks) == place


def test_steps_that_stand_still_are_told_of_any_attack() -> None:
    """Each of these has a gradient, and the check of rising losses looks at PGD alone."""
    moved = [attempt("p"), attempt("m", attack="mi", losses="0.1 0.2")]
    assert one(checked([], moved), "loss moves")["status"] == "passed"
    found = checked([], [*moved, attempt("a", attack="apgd", losses="0.0 0.0 0.0")])
    row = one(found, "loss moves")
    assert (row["status"], row["set"], row["figure"]) == ("failed", "a", pytest.approx(1 / 3))
    assert set(found["check"][found["status"] == "failed"]) == {"loss moves"}
    assert one(checked([], [attempt("n", attack="noise", losses="")]), "loss moves")["status"] == "not run"


def test_every_attack_says_what_it_is() -> None:
    assert {name for name, kind in ATTACKS.items() if kind.spec == Spec()} == set(CORRUPTIONS)
    assert set(BUILDERS) == set(ATTACKS) and set(AIMS) == set(OBJECTIVES)
    # A check that asks for a name which nothing has would never be run.
    assert set(DENSE) | set(REWEIGHTED) <= set(OBJECTIVES) and {"pgd", "noise", "square"} <= set(ATTACKS)


@cache
def examined(name: str) -> pd.DataFrame:
    """The health of a toy detector by the real path and suites; the honest and a masked one are each other's source."""
    labels = [
        Labels(detector=each, paradigm="unified", preset="", dataset="toy", seed=0, run="r") for each in ("other", name)
    ]
    first = "quantised" if name == "honest" else "honest"
    kinds = {
        kind.__name__.lower(): kind for kind in (Honest, Detached, Quantised, Saturated, Cut, Floored, Capped, Rounded)
    }
    other, own = (Target(detector=kinds[k](), labels=one) for k, one in zip((first, name), labels, strict=True))
    images = toy_images()
    found = Outcome()
    for suite in ("health", "curve", "transfer"):
        found.extend(evaluate(own, read_suite(suite), images, "noise", seed=0))
    found.extend(evaluate(other, read_suite("transfer"), images, "noise", [own], seed=0))
    table = health(frame(with_means(found.rows)), attempts_frame(found.attempts))
    # Nothing here was trained.
    return table[(table["detector"] == name) & (table["check"] != "has learnt")]


def failed(name: str) -> set[str]:
    table = examined(name)
    return set(table["check"][table["status"] == "failed"])


def test_an_honest_detector_fails_nothing() -> None:
    assert set(examined("honest")["status"]) == {"passed"}


TRACES = {
    "detached": {"gradient is whole"},
    "quantised": {"gradient is whole", "no zero gradients"},
    "saturated": {"no zero gradients"},
}


@pytest.mark.parametrize("name", TRACES)
def test_masked_detectors_work_and_are_caught_and_each_leaves_its_own_trace(name: str) -> None:
    caught = failed(name)
    assert {"white-box beats transfer", "huge eps breaks", "Square does not beat PGD", *TRACES[name]} <= caught
    assert name != "detached" or "no zero gradients" not in caught
    assert "not run" not in set(examined(name)["status"])


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        # Attacks succeed; the second needs another model, and alone with this one nothing else would tell.
        ("cut", {"gradient is whole", "white-box beats transfer"}),
        ("floored", {"scores do not saturate"}),
        ("capped", {"scores do not saturate"}),
        ("rounded", {"gradient reaches all pixels", "white-box beats transfer"}),
    ],
)
def test_other_faults_are_caught_by_their_checks_alone(name: str, checks: set[str]) -> None:
    assert failed(name) == checks


def test_a_module_in_hand_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    draw_toy(tmp_path / "data", size=SIDE, train=8, test_good=2, test_defect=1)
    settings: Settings = {"suite": "health", "categories": ["cap"], "size": (SIDE, SIDE), "limit": 4, "device": "cpu"}
    with pytest.warns(UserWarning, match=r"^masked: .*no zero gradients"):
        ob.benchmark(Quantised(), tmp_path / "data", name="masked", **settings)
