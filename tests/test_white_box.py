"""Models attacked on the spot: which images, which rows, and what the worst of several attacks is."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from masked import Honest
from one_task import remembered
from torch import Tensor, nn

from omnial_bench.attacks.aim import Rivals
from omnial_bench.attacks.attacking import Looks
from omnial_bench.attacks.conduct import WHOLE
from omnial_bench.attacks.threats import check_suite
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.attempt import _measure
from omnial_bench.evaluation.evaluate import _alike, evaluate, spread
from omnial_bench.evaluation.target import Labels, Outcome, Target
from omnial_bench.evaluation.worst import Harm
from omnial_bench.metrics.metric import METRICS
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.results import Result
from omnial_bench.types import Detector, Prediction

SIDE = 24
LABELS = Labels(detector="bright", paradigm="unified", preset="given", dataset="none", seed=3, run="r")


class Bright(nn.Module):
    """Bright pixels are anomalous: linear in the image, so eps adds just `gain` eps to every log-odds."""

    def __init__(self, gain: float = 20.0, channel: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3) / 3 if channel is None else torch.eye(3)[channel])
        self.gain = gain

    def forward(self, images: Tensor) -> Prediction:
        odds = self.gain * (torch.einsum("bchw,c->bhw", images, self.weight) - 0.6)
        return Prediction(
            torch.stack((torch.zeros_like(odds), odds), dim=1),
            reconstruction=images.mean(1, True).expand_as(images),
            pooling=1,
        )


pytestmark = pytest.mark.usefixtures("one_thread")


def clean_images(n: int = 9) -> Images:
    """Noise with a brighter square in all but every third one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(60, 140, (n, 3, SIDE, SIDE), generator=generator)
    masks = torch.zeros(n, SIDE, SIDE, dtype=torch.bool)
    defects = tuple("good" if index % 3 == 0 else ("spot", "blot")[index % 2] for index in range(n))
    for index, defect in enumerate(defects):
        if defect != "good":
            masks[index, 4:10, 5:12] = True
    images = (images + 45 * masks[:, None]).to(torch.uint8)
    return Images(images, masks, ("cap",) * n, defects, tuple(f"cap/test/{d}/{i:03}" for i, d in enumerate(defects)))


def threat(name: str, eps: str = "8/255", **settings: object) -> Threat:
    return Threat(name=name, eps=eps, steps=3, **settings)  # type: ignore[arg-type]


def suite(*threats: Threat, **settings: object) -> Suite:
    return Suite(name="wb", title="t", **{"against": "self", "threats": threats, **settings})  # type: ignore[arg-type]


def target(module: nn.Module | None = None, **labels: str) -> Target:
    return Target(detector=Adapted(module or Bright()), labels=replace(LABELS, **labels))  # type: ignore[arg-type]


def values(rows: list[Result], name: str, metric: str, detector: str = "bright") -> float:
    (row,) = (r for r in rows if (r.set, r.metric, r.detector) == (name, metric, detector))
    assert row.value is not None
    return row.value


class TestRows:
    def test_every_threat_and_the_images_before_it_are_scored(self) -> None:
        threats = (
            threat("any", options={"decay": True}), threat("hide", goal="hide"), threat("invent", goal="fabricate"),
        )  # fmt: skip
        found = evaluate(target(), suite(*threats), clean_images(), "cap", seed=0)
        said = {(row.set, row.threat, row.source) for row in found.rows}
        assert said == {
            ("wb-unattacked", "none", "none"),
            ("any", "linf 8/255", "self"),
            ("hide", "linf 8/255 hide", "self"),
            ("invent", "linf 8/255 fabricate", "self"),
        }
        assert {(row.set, row.attack, row.norm, row.eps, row.goal) for row in found.rows} == {
            ("wb-unattacked", "", "", "", ""),
            *((name, "pgd", "linf", "8/255", goal) for name, goal in (("any", "any"), ("hide", "hide"))),
            ("invent", "pgd", "linf", "8/255", "fabricate"),
        }
        assert {row.metric for row in found.rows if row.set == "any"} >= set(METRICS)
        assert {row.n for row in found.rows if row.metric == "pixel_auroc"} == {9}
        assert {row.n for row in found.rows if row.metric == "psnr"} == {3}
        assert [(one.set, one.attacked, one.flat, one.direction) for one in found.attempts] == [
            ("any", 9, 0, "up"), ("hide", 6, 0, "down"), ("invent", 3, 0, "down"),
        ]  # fmt: skip
        assert {one.largest_change for one in found.attempts} == {8.0}
        assert [one.options for one in found.attempts] == ["decay", "", ""]
        for one in found.attempts:
            first, *_, last = (float(loss) for loss in one.losses.split())
            assert last > first if one.direction == "up" else last < first

    def test_reconstructions_are_held_against_the_image_before_the_attack(self) -> None:
        found = evaluate(target(), suite(threat("any")), clean_images(), "cap", seed=0)
        assert values(found.rows, "any", "psnr") < values(found.rows, "wb-unattacked", "psnr")

    def test_the_same_seed_gives_the_same_rows(self) -> None:
        one, two, other = (
            evaluate(target(), suite(threat("any", random_start=True)), clean_images(), "cap", seed=seed, limit=4)
            for seed in (5, 5, 6)
        )
        assert one == two
        assert one.rows != other.rows

    def test_what_comes_after_a_corruption_is_measured_from_its_images_and_their_truth(self) -> None:
        """The square moves by a pixel and a half and is found as before; the balls around the moved images are kept,
        though these lie far from where they were."""
        move = {"eps": "1", "attack": "shift", "options": {"severity": 5}}
        threats = [
            Threat(name="far", steps=1, **move), threat("still", eps="1/255", after="far"), threat("pgd", after="far"),
        ]  # fmt: skip
        images = clean_images()
        found = evaluate(target(), suite(*threats), images, "cap", seed=0)
        assert values(found.rows, "far", "pixel_auroc") == pytest.approx(
            values(found.rows, "wb-unattacked", "pixel_auroc"), abs=0.01
        )
        figures = [values(found.rows, name, "pixel_auroc") for name in ("far", "still", "pgd")]
        assert figures == sorted(figures, reverse=True) and figures[0] > figures[1]
        assert [one.largest_change for one in found.attempts] == [found.attempts[0].largest_change, 1.0, 8.0]
        assert [one.options for one in found.attempts] == ["severity = 5", "after = far", "after = far"]
        assert {row.threat for row in found.rows if row.set == "pgd"} == {"linf 8/255 after far"}
        assert {row.eps for row in found.rows if row.set == "pgd"} == {"8/255"}


class TestWorst:
    def test_it_is_no_better_than_any_of_them(self) -> None:
        threats = (
            threat("any"),
            threat("hide", goal="hide"),
            threat("invent", goal="fabricate"),
            threat("weak", "1/255"),
        )
        found = evaluate(target(), suite(*threats, worst=True), clean_images(), "cap", seed=0)
        for metric in ("image_auroc", "image_ap", "pixel_auroc"):
            assert values(found.rows, "wb-worst", metric) <= min(values(found.rows, t.name, metric) for t in threats)
        (label,) = {row.threat for row in found.rows if row.set == "wb-worst"}
        assert label == "worst of 4"
        assert not [row for row in found.rows if row.set == "wb-worst" and row.metric in ("psnr", "ssim")]

    def test_any_harm_is_never_weaker_than_another_goal_or_objective_of_its_ball(self) -> None:
        """A first attack of one short step, parts of several: image by image the worse, and in its own ball alone."""
        short = Threat(name="short", eps="8/255", steps=1, step_size="1/255", random_start=False)  # type: ignore[arg-type]
        parts = (threat("hide", goal="hide"), threat("invent", goal="fabricate"), threat("line", objective="linear"))
        others = (threat("large", "16/255", goal="hide"), threat("other", norm="l2", eps="9", goal="hide"))
        alone = evaluate(target(), suite(short), clean_images(), "cap", seed=0)
        whole = evaluate(target(), suite(short, *parts), clean_images(), "cap", seed=0)
        least = min(values(whole.rows, part.name, "pixel_auroc") for part in parts)
        figure = values(whole.rows, "short", "pixel_auroc")
        assert figure <= least < values(alone.rows, "short", "pixel_auroc")
        for apart in (suite(short, *others), suite(short, *parts, composed=False)):
            rows = evaluate(target(), apart, clean_images(), "cap", seed=0).rows
            assert values(rows, "short", "pixel_auroc") == values(alone.rows, "short", "pixel_auroc")
        assert [row for row in alone.rows if row.set == "short"] != [row for row in whole.rows if row.set == "short"]

    @pytest.mark.parametrize("changes", [{"attack": "apgd"}, {"where": "foreground"}])
    def test_another_attack_and_the_foreground_alone_are_parts_of_any_harm(
        self, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
    ) -> None:
        """Of the same goal and objective; a foreground is a smaller set inside the ball of the frame, not more."""
        monkeypatch.setattr(
            "omnial_bench.evaluation.attempt.foreground", lambda images, _: torch.ones_like(images[:, 0]).bool()
        )
        short = Threat(name="short", eps="8/255", steps=1, step_size="1/255", random_start=False)  # type: ignore[arg-type]
        part = threat("part", **changes)
        rows = evaluate(target(), suite(short, part), clean_images(), "cap", seed=0).rows
        assert values(rows, "short", "pixel_auroc") <= values(rows, "part", "pixel_auroc")
        strong, weak = threat("strong"), short.model_copy(update={"name": "weak", "where": "foreground"})
        rows = evaluate(target(), suite(weak, strong), clean_images(), "cap", seed=0).rows
        assert values(rows, "weak", "pixel_auroc") > values(rows, "strong", "pixel_auroc")

    @pytest.mark.parametrize("changes", [{"attack": "square"}, {"attack": "fgsm", "steps": 1}, {"steps": 6}])
    def test_what_an_attack_is_compared_with_is_no_part_of_it(self, changes: dict[str, object]) -> None:
        short = Threat(name="short", eps="8/255", steps=1, step_size="1/255", random_start=False)  # type: ignore[arg-type]
        part = threat("part").model_copy(update=changes)
        alone, both = (
            evaluate(target(), suite(*them), clean_images(), "cap", seed=0) for them in ((short,), (short, part))
        )
        assert values(both.rows, "short", "pixel_auroc") == values(alone.rows, "short", "pixel_auroc")

    def test_the_score_is_the_worse_of_both_attacks_image_by_image(self) -> None:
        score = threat("score", objective="image_score")
        rows = evaluate(target(), suite(score, threat("hide", goal="hide")), clean_images(), "cap", seed=0).rows
        assert values(rows, "score", "image_auroc") <= values(rows, "hide", "image_auroc")

    def test_it_takes_the_worst_of_every_image(self) -> None:
        threats = (threat("hide", "26/255", goal="hide"), threat("invent", "26/255", goal="fabricate"))
        found = evaluate(target(), suite(*threats, worst=True), clean_images(), "cap", seed=0)
        both = values(found.rows, "wb-worst", "image_auroc")
        assert both < values(found.rows, "hide", "image_auroc")
        assert both < values(found.rows, "invent", "image_auroc")

    def test_harm_is_the_share_of_wrong_pairs(self) -> None:
        masks = torch.tensor([[[True, False, False, False]]])
        harm = Harm(torch.tensor([[[0.5, 0.1, 0.2, 0.9]]]), masks)
        # The anomalous pixel lies under one of three normal ones; one of three normal pixels lies over it.
        assert harm(torch.tensor([[[0.5, 0.1, 0.2, 0.9]]]), masks).item() == pytest.approx(1 / 3 + 1 / 3)
        assert harm(torch.tensor([[[0.0, 0.0, 0.0, 0.0]]]), masks).item() == pytest.approx(1)
        assert harm(torch.tensor([[[2.0, 0.0, 0.0, 0.0]]]), masks).item() == 0
        assert harm(torch.tensor([[[0.0, 2.0, 2.0, 2.0]]]), masks).item() == 2


class TestTransfer:
    def test_other_models_see_what_the_source_made(self) -> None:
        other = target(Bright(channel=0), detector="red")
        found = evaluate(target(), suite(threat("any"), against="each"), clean_images(), "cap", [other], seed=0)
        said = {(row.detector, row.set, row.source) for row in found.rows}
        assert said == {
            ("bright", "wb-unattacked", "none"), ("bright", "any", "self"), ("red", "any", "bright-unified"),
        }  # fmt: skip
        assert [one.source for one in found.attempts] == ["bright-unified"]
        clean = evaluate(other, suite(threat("none", eps="0")), clean_images(), "cap", seed=0)
        before = values(clean.rows, "wb-unattacked", "pixel_auroc", "red")
        assert values(found.rows, "any", "pixel_auroc", "red") < before


class Counting(Bright):
    """Counts the images that pass it, with a gradient and without."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = {True: 0, False: 0}

    def forward(self, images: Tensor) -> Prediction:
        self.passed[torch.is_grad_enabled()] += len(images)
        return super().forward(images)


def by_kind(n: int = 60) -> Images:
    """As a test split is read: one defect after the other; 20 normal images first."""
    every = clean_images(n)
    return every.select(sorted(range(n), key=lambda index: every.defects[index] != "good"))


class TestStart:
    """A threat that goes on from where an earlier one has come."""

    def test_an_attack_that_goes_on_adds_its_steps(self) -> None:
        """Twice three short steps from one random start reach, on a linear detector, what six reach."""
        short = {"objective": "linear", "step_size": "1/1020"}
        first = threat("first", **short)
        parts = first, threat("on", start="first", **short), first.model_copy(update={"name": "first", "steps": 6})
        images = by_kind(16)
        two = evaluate(target(), suite(*parts[:2]), images, "cap", seed=0)
        six = evaluate(target(), suite(parts[2]), images, "cap", seed=0)
        losses = [[float(word) for word in one.losses.split()] for one in (*two.attempts, *six.attempts)]
        # Between the two parts lies the rounding to bytes, of at most half a grey level.
        at_random, *further = losses[1]
        assert losses[0] + further == pytest.approx(losses[2], abs=0.1 * (losses[2][-1] - losses[2][0]) + 2 / 255)
        assert further[0] > losses[0][-1] and two.attempts[1].options == "start = first"
        # The random start that was not taken: as good as the first attack's own, and below all that its steps reach.
        assert losses[0][0] == pytest.approx(at_random, abs=0.05) and at_random < losses[0][1]

    def test_rivals_are_those_of_the_images_it_goes_on_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All normal pixels of these were raised, and all anomalous ones lowered, by the gain times eps."""
        seen, original = list[tuple[Any, ...]](), Rivals.of
        monkeypatch.setattr(Rivals, "of", lambda *parts: seen.append(parts) or original(*parts))
        for start in ({}, {"start": "first"}):
            threats = threat("first", objective="linear"), threat("on", objective="pooled", **start)
            evaluate(target(), suite(*threats), clean_images(), "cap", seed=0)
        (before, same, _), (again, begun, stirred) = seen
        assert same is before
        for (odds, truth), (alike, _), (moved, _), (noisy, _) in zip(before, again, begun, stirred, strict=True):
            assert torch.equal(odds, alike)
            torch.testing.assert_close(moved - odds, 20 * 8 / 255 * (1 - 2 * truth.float()), atol=1e-4, rtol=0)
            assert 0 < (noisy - moved).abs().max() < 20 * 0.5 / 255 + 1e-4

    @pytest.mark.parametrize(
        ("second", "why"),
        [
            ({"start": "none"}, "expected start to name an earlier threat of the same norm, eps, where and after"),
            ({"start": "first", "eps": "4/255"}, "expected start to name an earlier threat"),
            ({"start": "second"}, "expected start to name an earlier threat"),
            ({"start": "first", "attack": "square"}, "expected no start for square"),
            ({"start": "first", "restarts": 2}, "expected no start for pgd with 2 restarts"),
        ],
    )
    def test_a_start_that_cannot_be_is_told(self, second: dict[str, Any], why: str) -> None:
        with pytest.raises(UserError, match=why):
            check_suite(suite(threat("first"), threat("second", **second)))


class Apart(nn.Module):
    """A map, and an image score of another branch, of which a part is cut off where that is asked for."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.bright, self.cut = Bright(), cut

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        red = images[:, 0].flatten(1).square().mean(1)
        return self.bright(images).log_odds, (red.detach() if self.cut else red) + 0.1 * images.mean((1, 2, 3))


@pytest.mark.parametrize("begins", [{}, {"start": "any"}])
def test_the_gradient_of_an_image_score_is_held_against_forward_passes_as_well(begins: dict[str, str]) -> None:
    """Of one that is the map's own it says nothing that the map's does not."""
    threats = threat("any"), threat("score", objective="image_score", **begins)
    told = []
    for module in (Bright(), Apart(cut=False), Apart(cut=True)):
        found = evaluate(target(module), suite(*threats, slopes=True), clean_images(), "cap", seed=0)
        told.append([None if one.agreement is None else one.agreement > WHOLE for one in found.attempts])
    assert told == [[True, None], [True, True], [True, False]]


class TestPasses:
    """Attack and score: what passes the network, and what need not pass it again."""

    def passed(self, *threats: Threat, **settings: object) -> dict[bool, int]:
        counting = Counting()
        evaluate(target(counting), suite(*threats, **settings), by_kind(), "cap", seed=0)
        return counting.passed

    def test_an_attack_takes_one_pass_a_step_and_the_score_one_more(self) -> None:
        """The last step's image is scored as bytes, which no step has seen: that pass is the score's alone."""
        assert self.passed(threat("any")) == {True: 3 * 60, False: 60 + 60}
        assert self.passed(threat("best", options={"best": True})) == {True: 3 * 60, False: 60 + 60 + 60}
        assert self.passed(threat("noise").model_copy(update={"attack": "noise", "steps": 1})) == {True: 0, False: 120}

    def test_what_an_objective_looks_at_besides_is_looked_at_once_for_a_ball(self) -> None:
        """All images and these under a small noise, for the first; where an attack begins, and with noise, for what
        goes on. One that aims at a part sees all too; another ball has a noise of its own."""
        ranks = {"objective": "ranking"}
        first, other = threat("a", **ranks), threat("b", where="foreground", **ranks)
        assert self.passed(first) == {True: 3 * 60, False: 60 + 60 + 2 * 60}
        assert self.passed(first, other) == {True: 6 * 60, False: 60 + 2 * 60 + 2 * 60}
        assert self.passed(first, threat("c", "4/255", **ranks)) == {True: 6 * 60, False: 60 + 2 * 60 + 3 * 60}
        on = threat("on", objective="pooled", start="a")
        # What goes on stands in the corner of its ball, and looks at each image once.
        assert self.passed(first, on) == {True: 4 * 60, False: 60 + 2 * 60 + 4 * 60}

    def test_what_is_seen_in_choosing_where_to_begin_is_not_looked_at_again(self) -> None:
        """At the random start and in the corner where the one before has come, from where it can move no further."""
        first, score = threat("any"), threat("score", objective="image_score", start="any")
        assert self.passed(first) == {True: 3 * 60, False: 60 + 60}
        assert self.passed(first, score) == {True: 3 * 60 + 2 * 60, False: 60 + 2 * 60}

    def test_batches_that_a_goal_leaves_alone_do_not_pass_again(self) -> None:
        """In batches of 16 the 20 normal images fill one and share one: `hide` leaves 16, `fabricate` 28 alone."""
        assert self.passed(threat("hide", goal="hide")) == {True: 3 * 40, False: 60 + 44}
        assert self.passed(threat("invent", goal="fabricate")) == {True: 3 * 20, False: 60 + 32}
        assert self.passed(threat("none", eps="0")) == {True: 0, False: 60}

    def test_the_worst_of_all_threats_needs_no_pass_of_its_own(self) -> None:
        threats = (threat("any"), threat("hide", goal="hide"))
        assert self.passed(*threats, worst=True) == self.passed(*threats) == {True: 3 * 100, False: 60 + 60 + 44}

    def test_no_row_is_moved_by_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        threats = (threat("any"), threat("hide", goal="hide"), threat("invent", goal="fabricate"), threat("no", "0"))
        for detector in (Adapted(Bright()), Honest()):
            found = []
            for alike in (_alike, lambda *_: frozenset()):
                monkeypatch.setattr("omnial_bench.evaluation.evaluate._alike", alike)
                model = Target(detector=detector, labels=LABELS)
                found.append(evaluate(model, suite(*threats, worst=True), by_kind(), "cap", seed=0, out=tmp_path))
            assert found[0] == found[1]


class TestImages:
    def test_a_limit_takes_from_every_defect_in_turn(self) -> None:
        every = clean_images(30)
        some = spread(every, 7, torch.Generator().manual_seed(0))
        counts = sorted(some.defects.count(name) for name in ("good", "spot", "blot"))
        assert counts == [2, 2, 3]
        assert list(some.ids) == [name for name in every.ids if name in some.ids]
        assert spread(every, None, torch.Generator()) is every
        assert spread(every, 30, torch.Generator()) is every

    def test_only_the_foreground_changes_where_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        left = torch.zeros(9, SIDE, SIDE, dtype=torch.bool)
        left[:, :, :12] = True
        monkeypatch.setattr("omnial_bench.evaluation.attempt.foreground", lambda images, _: left[: len(images)])
        seen: list[Tensor] = []
        monkeypatch.setattr(
            "omnial_bench.evaluation.attempt._measure",
            lambda _, images, before: seen.append(images != before.images) or 8.0,
        )
        evaluate(target(), suite(threat("fg", where="foreground"), threat("frame")), clean_images(), "cap", seed=0)
        inside, everywhere = seen
        assert inside[..., :12].any() and not inside[..., 12:].any()
        assert everywhere[..., 12:].any()

    def test_the_most_and_the_least_harmed_are_kept(self, tmp_path: Path) -> None:
        found = evaluate(target(), suite(threat("any"), threat("more")), clean_images(), "cap", seed=0, out=tmp_path)
        assert {(one.set, one.note) for one in found.examples} == {("any", "strongest"), ("any", "weakest")}
        assert {one.role for one in found.examples} == {"input", "original", "truth", "map", "reconstruction"}
        assert all((tmp_path / "examples" / one.path).is_file() for one in found.examples)

    def test_a_image_outside_its_ball_is_refused(self) -> None:
        before = clean_images(2)
        images = before.images.clone()
        images[1, 0, 0, 0] += 9
        with pytest.raises(UserError, match=r"within linf 8/255 of its original"):
            _measure(threat("pgd"), images, before)
        images[1, 0, 0, 0] -= 1
        assert _measure(threat("pgd"), images, before) == 8
        assert _measure(threat("pgd", eps="1/2", norm="l2"), images, before) == 8


class Odd(Detector):
    """A detector whose map is made by `change` from an honest one."""

    def __init__(self, change: object) -> None:
        super().__init__()
        self.inner, self.change = Bright(), change

    def forward(self, images: Tensor) -> Prediction:
        logits = self.inner(images).logits
        return Prediction(self.change(logits), pooling=1)  # type: ignore[operator]


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda logits: logits * torch.nan, "NaN|infinite|finite"),
            (lambda logits: logits * torch.inf, "NaN|infinite|finite"),
            (lambda logits: logits[..., ::2, ::2], "12x12|(12, 12)"),
            (lambda logits: logits.detach(), "gradient"),
        ],
    )
    @pytest.mark.parametrize("objective", ["balanced", "pooled", "ranking"])
    def test_a_detector_that_cannot_be_attacked_is_one_line(self, change: object, message: str, objective: str) -> None:
        odd = Target(detector=Odd(change), labels=LABELS)
        with pytest.raises(UserError, match=message) as caught:
            evaluate(odd, suite(threat("any", objective=objective)), clean_images(), "cap", seed=0)
        assert "\n" not in str(caught.value)


class TestRemembered:
    def test_a_task_is_done_once_and_again_when_its_images_are_gone_or_damaged(self, tmp_path: Path) -> None:
        made: list[int] = []

        def make() -> Outcome:
            made.append(1)
            return evaluate(target(), suite(threat("any")), clean_images(), "cap", seed=0, out=tmp_path)

        first, again = (remembered(tmp_path, "t", make) for _ in range(2))
        assert first == again and len(made) == 1
        image = tmp_path / "examples" / first.examples[0].path
        image.unlink()
        remembered(tmp_path, "t", make)
        assert len(made) == 2
        image.write_bytes(image.read_bytes()[:-9])
        remembered(tmp_path, "t", make)
        assert len(made) == 3 and image.with_name(f"{image.name}.damaged").is_file()
        remembered(tmp_path, "t", make, seed=1)
        assert len(made) == 4


def test_the_eps_of_an_attempt_is_written_in_grey_levels() -> None:
    found = evaluate(target(), suite(threat("a", "16/255"), threat("b", "1/3")), clean_images(3), "cap", seed=0)
    assert [Fraction(one.eps) for one in found.attempts] == [Fraction(16, 255), Fraction(1, 3)]
    assert [one.eps for one in found.attempts] == ["16/255", "85/255"]


def test_rivals_are_pixels_whose_truth_is_known() -> None:
    """A defect that nobody marked is left out, but where there is nothing else."""
    images = by_kind(8)
    pooled = threat("pooled", objective="pooled")
    unmarked = replace(images, masks=torch.zeros_like(images.masks), defects=("scratch",) * 8)
    both = Images(
        *(torch.cat((getattr(images, name), getattr(unmarked, name))) for name in ("images", "masks")),
        images.categories * 2, images.defects + unmarked.defects, images.ids * 2,
    )  # fmt: skip

    def rivals(given: Images) -> Rivals:
        (found,) = Looks([Adapted(Bright())], given, seed=0, device="cpu", batch=4).rivals(pooled, "cap")
        return found

    alone, beside = rivals(images), rivals(both)
    assert torch.equal(alone.normal, beside.normal) and torch.equal(alone.anomalous, beside.anomalous)
    none = rivals(unmarked)
    assert torch.equal(none.normal, none.anomalous) and none.share == 0.5
