"""Models attacked on the spot: which images, which rows, and what the worst of several attacks is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from marked_images import mark_images
from masked import Honest
from torch import Tensor, nn

from omnial_bench.attacks.aim import Rivals
from omnial_bench.attacks.attacking import Looks
from omnial_bench.attacks.conduct import WHOLE
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.attempt import _measure
from omnial_bench.evaluation.evaluate import _alike, evaluate, spread
from omnial_bench.evaluation.target import Labels, Outcome, Target
from omnial_bench.evaluation.worst import Harm
from omnial_bench.metrics.metric import METRICS
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.types import Prediction

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
    """Every third one is good."""
    return mark_images(tuple("good" if index % 3 == 0 else ("spot", "blot")[index % 2] for index in range(n)))


def threat(name: str, eps: str = "8/255", **settings: object) -> Threat:
    return Threat(name=name, eps=eps, steps=3, **settings)  # type: ignore[arg-type]


def suite(*threats: Threat, **settings: object) -> Suite:
    return Suite(name="wb", title="t", **{"against": "self", "threats": threats, **settings})  # type: ignore[arg-type]


FIRST, RANKS = threat("a"), threat("a", objective="ranking")
HIDE, INVENT = threat("hide", goal="hide"), threat("invent", goal="fabricate")
SHORT = Threat(name="short", eps="8/255", steps=1, step_size="1/255", random_start=False)  # type: ignore[arg-type]
"""One step of an eighth of its ball."""


def target(module: nn.Module | None = None, **labels: str) -> Target:
    return Target(detector=Adapted(module or Bright()), labels=replace(LABELS, **labels))  # type: ignore[arg-type]


def attacked(*threats: Threat, given: Target | None = None, images: Images | None = None, **how: Any) -> Outcome:
    """What evaluate finds with seed 0; `how` goes to the suite."""
    return evaluate(given or target(), suite(*threats, **how), images or clean_images(), "cap", seed=0)


def value(found: Outcome, name: str, metric: str = "pixel_auroc", detector: str = "bright") -> float:
    (row,) = (r for r in found.rows if (r.set, r.metric, r.detector) == (name, metric, detector))
    assert row.value is not None
    return row.value


class TestRows:
    def test_every_threat_and_the_images_before_it_are_scored(self) -> None:
        found = attacked(threat("any", options={"decay": True}), HIDE, INVENT)
        said = {(row.set, row.threat, row.source, row.attack, row.norm, row.eps, row.goal) for row in found.rows}
        assert said == {
            ("wb-unattacked", "none", "none", "", "", "", ""),
            ("any", "linf 8/255", "self", "pgd", "linf", "8/255", "any"),
            ("hide", "linf 8/255 hide", "self", "pgd", "linf", "8/255", "hide"),
            ("invent", "linf 8/255 fabricate", "self", "pgd", "linf", "8/255", "fabricate"),
        }
        assert {row.metric for row in found.rows if row.set == "any"} >= set(METRICS)
        for metric, n in (("pixel_auroc", 9), ("psnr", 3)):
            assert {row.n for row in found.rows if row.metric == metric} == {n}
        assert [(one.set, one.attacked, one.flat, one.direction, one.options) for one in found.attempts] == [
            ("any", 9, 0, "up", "decay"), ("hide", 6, 0, "down", ""), ("invent", 3, 0, "down", ""),
        ]  # fmt: skip
        assert {one.largest_change for one in found.attempts} == {8.0}
        for one in found.attempts:
            first, *_, last = (float(loss) for loss in one.losses.split())
            assert last > first if one.direction == "up" else last < first
        # Reconstructions are held against the image before the attack.
        assert value(found, "any", "psnr") < value(found, "wb-unattacked", "psnr")

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
        far = Threat(name="far", steps=1, eps="1", attack="shift", options={"severity": 5})  # type: ignore[arg-type]
        found = attacked(far, threat("still", eps="1/255", after="far"), threat("pgd", after="far"))
        figures = [value(found, name) for name in ("far", "still", "pgd")]
        assert figures[0] == pytest.approx(value(found, "wb-unattacked"), abs=0.01)
        assert figures == sorted(figures, reverse=True) and figures[0] > figures[1]
        assert [one.largest_change for one in found.attempts][1:] == [1.0, 8.0]
        assert [one.options for one in found.attempts] == ["severity = 5", "after = far", "after = far"]
        assert {(row.threat, row.eps) for row in found.rows if row.set == "pgd"} == {
            ("linf 8/255 after far", "8/255"),
        }  # fmt: skip


class TestWorst:
    def test_it_is_no_better_than_any_of_them(self) -> None:
        threats = (FIRST, HIDE, INVENT, threat("weak", "1/255"))
        found = attacked(*threats, worst=True)
        for metric in ("image_auroc", "image_ap", "pixel_auroc"):
            assert value(found, "wb-worst", metric) <= min(value(found, each.name, metric) for each in threats)
        worst = [row for row in found.rows if row.set == "wb-worst"]
        assert {row.threat for row in worst} == {"worst of 4"}
        assert not {row.metric for row in worst} & {"psnr", "ssim"}

    def test_it_takes_the_worst_of_every_image(self) -> None:
        threats = (threat("hide", "26/255", goal="hide"), threat("invent", "26/255", goal="fabricate"))
        found = attacked(*threats, worst=True)
        both, *each = (value(found, name, "image_auroc") for name in ("wb-worst", "hide", "invent"))
        assert both < min(each)

    def test_any_harm_is_never_weaker_than_another_goal_or_objective_of_its_ball(self) -> None:
        """A first attack of one short step, parts of several: image by image the worse, and in its own ball alone."""
        parts = (HIDE, INVENT, threat("line", objective="linear"))
        others = (threat("large", "16/255", goal="hide"), threat("other", norm="l2", eps="9", goal="hide"))
        alone, whole = attacked(SHORT), attacked(SHORT, *parts)
        assert value(whole, "short") <= min(value(whole, part.name) for part in parts) < value(alone, "short")
        for apart in (attacked(SHORT, *others), attacked(SHORT, *parts, composed=False)):
            assert value(apart, "short") == value(alone, "short")

    @pytest.mark.parametrize("changes", [{"attack": "apgd"}, {"where": "foreground"}])
    def test_another_attack_and_the_foreground_alone_are_parts_of_any_harm(
        self, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
    ) -> None:
        """Of the same goal and objective; a foreground is a smaller set inside the ball of the frame, not more."""
        monkeypatch.setattr(
            "omnial_bench.evaluation.attempt.foreground", lambda images, _: torch.ones_like(images[:, 0]).bool()
        )
        found = attacked(SHORT, threat("part", **changes))
        assert value(found, "short") <= value(found, "part")
        found = attacked(SHORT.model_copy(update={"name": "weak", "where": "foreground"}), threat("strong"))
        assert value(found, "weak") > value(found, "strong")

    @pytest.mark.parametrize("changes", [{"attack": "square"}, {"attack": "fgsm", "steps": 1}, {"steps": 6}])
    def test_what_an_attack_is_compared_with_is_no_part_of_it(self, changes: dict[str, object]) -> None:
        part = threat("part").model_copy(update=changes)
        assert value(attacked(SHORT, part), "short") == value(attacked(SHORT), "short")

    def test_the_score_is_the_worse_of_both_attacks_image_by_image(self) -> None:
        found = attacked(threat("score", objective="image_score"), HIDE)
        assert value(found, "score", "image_auroc") <= value(found, "hide", "image_auroc")

    def test_harm_is_the_share_of_wrong_pairs(self) -> None:
        masks = torch.tensor([[[True, False, False, False]]])
        harm = Harm(torch.tensor([[[0.5, 0.1, 0.2, 0.9]]]), masks)
        # The anomalous pixel lies under one of three normal ones; one of three normal pixels lies over it.
        for odds, share in (
            ([0.5, 0.1, 0.2, 0.9], 1 / 3 + 1 / 3), ([0.0, 0.0, 0.0, 0.0], 1), ([2.0, 0.0, 0.0, 0.0], 0),
            ([0.0, 2.0, 2.0, 2.0], 2),
        ):  # fmt: skip
            assert harm(torch.tensor([[odds]]), masks).item() == pytest.approx(share)


class TestTransfer:
    def test_other_models_see_what_the_source_made(self) -> None:
        other = target(Bright(channel=0), detector="red")
        found = evaluate(target(), suite(threat("any"), against="each"), clean_images(), "cap", [other], seed=0)
        said = {(row.detector, row.set, row.source) for row in found.rows}
        assert said == {
            ("bright", "wb-unattacked", "none"), ("bright", "any", "self"), ("red", "any", "bright-unified"),
        }  # fmt: skip
        assert [one.source for one in found.attempts] == ["bright-unified"]
        clean = attacked(threat("none", eps="0"), given=other)
        before = value(clean, "wb-unattacked", detector="red")
        assert value(found, "any", detector="red") < before


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
        two, six = attacked(*parts[:2], images=images), attacked(parts[2], images=images)
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
            attacked(*threats)
        (before, same, _), (again, begun, stirred) = seen
        assert same is before
        for (odds, truth), (alike, _), (moved, _), (noisy, _) in zip(before, again, begun, stirred, strict=True):
            assert torch.equal(odds, alike)
            torch.testing.assert_close(moved - odds, 20 * 8 / 255 * (1 - 2 * truth.float()), atol=1e-4, rtol=0)
            assert 0 < (noisy - moved).abs().max() < 20 * 0.5 / 255 + 1e-4


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
        found = attacked(*threats, given=target(module), slopes=True)
        told.append([None if one.agreement is None else one.agreement > WHOLE for one in found.attempts])
    assert told == [[True, None], [True, True], [True, False]]


class TestPasses:
    """Attack and score: what passes the network, and what need not pass it again."""

    @pytest.mark.parametrize(
        ("threats", "with_gradient", "without"),
        [
            # The last step's image is scored as bytes, which no step has seen: that pass is the score's alone.
            ([FIRST], 3 * 60, 60 + 60),
            ([threat("best", options={"best": True})], 3 * 60, 60 + 60 + 60),
            ([FIRST.model_copy(update={"attack": "noise", "steps": 1})], 0, 120),
            # An objective looks at all images and at these under a small noise, once for a ball, also where it aims at
            # a part; where an attack begins, and with noise, for what goes on. Another ball has a noise of its own.
            ([RANKS], 3 * 60, 60 + 60 + 2 * 60),
            ([RANKS, threat("b", where="foreground", objective="ranking")], 6 * 60, 60 + 2 * 60 + 2 * 60),
            ([RANKS, threat("c", "4/255", objective="ranking")], 6 * 60, 60 + 2 * 60 + 3 * 60),
            # What goes on stands in the corner of its ball, and looks at each image once.
            ([RANKS, threat("on", objective="pooled", start="a")], 4 * 60, 60 + 2 * 60 + 4 * 60),
            # Not again at what is seen in choosing where to begin: at the random start, and in the corner where the one
            # before has come, from where it can move no further.
            ([FIRST, threat("score", objective="image_score", start="a")], 3 * 60 + 2 * 60, 60 + 2 * 60),
            # In batches of 16 the 20 normal images fill one and share one: `hide` leaves 16, `fabricate` 28 alone.
            ([HIDE], 3 * 40, 60 + 44),
            ([INVENT], 3 * 20, 60 + 32),
            ([threat("none", eps="0")], 0, 60),
            ([FIRST, HIDE], 3 * 100, 60 + 60 + 44),
        ],
    )
    def test_an_image_passes_no_more_often_than_it_must(
        self, threats: list[Threat], with_gradient: int, without: int
    ) -> None:
        counting = Counting()
        # The worst of several threats needs no pass of its own.
        attacked(*threats, given=target(counting), images=by_kind(), worst=len(threats) > 1)
        assert counting.passed == {True: with_gradient, False: without}

    def test_no_row_is_moved_by_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        threats = (FIRST, HIDE, INVENT, threat("no", "0"))
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
        attacked(threat("fg", where="foreground"), threat("frame"))
        inside, everywhere = seen
        assert inside[..., :12].any() and not inside[..., 12:].any()
        assert everywhere[..., 12:].any()

    def test_the_most_and_the_least_harmed_are_kept(self, tmp_path: Path) -> None:
        found = evaluate(target(), suite(threat("any"), threat("more")), clean_images(), "cap", seed=0, out=tmp_path)
        assert {(one.set, one.note) for one in found.examples} == {("any", "strongest"), ("any", "weakest")}
        assert {one.role for one in found.examples} == {"input", "original", "truth", "map", "reconstruction"}
        assert all((tmp_path / "examples" / one.path).is_file() for one in found.examples)

    def test_an_image_outside_its_ball_is_refused(self) -> None:
        before = clean_images(2)
        images = before.images.clone()
        images[1, 0, 0, 0] += 8
        for ball in (threat("pgd"), threat("pgd", eps="1/2", norm="l2")):
            assert _measure(ball, images, before) == 8
        images[1, 0, 0, 0] += 1
        with pytest.raises(UserError, match=r"within linf 8/255 of its original"):
            _measure(threat("pgd"), images, before)


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
def test_a_detector_that_cannot_be_attacked_is_one_line(change: Any, message: str, objective: str) -> None:
    class Odd(Bright):
        def forward(self, images: Tensor) -> Prediction:
            return Prediction(change(super().forward(images).logits), pooling=1)

    with pytest.raises(UserError, match=message) as caught:
        attacked(threat("any", objective=objective), given=target(Odd()))
    assert "\n" not in str(caught.value)


def test_the_eps_of_an_attempt_is_written_in_grey_levels() -> None:
    found = attacked(threat("a", "16/255"), threat("b", "1/3"), images=clean_images(3))
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
