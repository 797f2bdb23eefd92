"""Losses that attacks raise, against values worked by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch

from omnial_bench.attacks.aim import HIDDEN, Aim, Objective, Rivals, Stabiliser
from omnial_bench.attacks.objectives import (
    OBJECTIVES,
    STEADY,
    balanced,
    cospgd,
    cross_entropy,
    image_score,
    joint,
    linear,
    peaks,
    pooled,
    ranking,
    reconstruction,
    segpgd,
)
from omnial_bench.attacks.ranks import BEYOND, STRAIGHT, WIDTH, straightened
from omnial_bench.errors import UserError
from omnial_bench.types import Prediction


def prediction(odds: torch.Tensor, **rest) -> Prediction:
    return Prediction(torch.stack((torch.zeros_like(odds), odds), dim=1), **rest)


def rivals(odds: torch.Tensor, truth: torch.Tensor) -> Rivals:
    """Of a detector whose scores a noise moves all alike."""
    before, stirred = ([(scores.flatten(), truth.flatten())] for scores in (odds, odds + odds.std()))
    return Rivals.of(before, before, stirred)


def aim(truth: torch.Tensor, **rest) -> Aim:
    return Aim(truth, rest.pop("images", torch.zeros(len(truth), 3, *truth.shape[1:])), **rest)


def slope(objective: Objective, odds: torch.Tensor, truth: torch.Tensor, pooling: int = 21, **rest) -> torch.Tensor:
    """Gradient to the log-odds."""
    odds = odds.clone().requires_grad_(True)
    return torch.autograd.grad(objective(prediction(odds, pooling=pooling), aim(truth, **rest)).sum(), odds)[0]


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


ODDS = torch.zeros(1, 4, 4).index_put((torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), torch.tensor(2.0))
TRUTH = torch.zeros(1, 4, 4, dtype=torch.bool)
TRUTH[0, 0, 0] = TRUTH[0, 1, 2] = True
"""Two anomalous pixels, of log-odds 0 and 2; fourteen normal ones of log-odds 0."""


LOG2 = math.log(2)
ENDS = (15 * LOG2 + softplus(-2)) / 16, (15 * LOG2 + softplus(2)) / 16
"""Cross-entropy where all pixels are anomalous, and where none is."""


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (cross_entropy, (ENDS[0], ENDS[0], ENDS[1])),
        # The means of the two kinds, or of the one that there is.
        (balanced, ((LOG2 + softplus(-2)) / 2 + LOG2, *ENDS)),
        (linear, (0 - 1, -2 / 16, 2 / 16)),
    ],
)
def test_objectives_of_pixels_are_worked_by_hand(objective, expected) -> None:
    """With two anomalous pixels, with all, and with none."""
    truths = TRUTH, torch.ones_like(TRUTH), torch.zeros_like(TRUTH)
    assert [objective(prediction(ODDS), aim(truth)).item() for truth in truths] == pytest.approx(expected)


MAPS = {"odds": (3, 4, 4), "reconstruction": (3, 3, 4, 4), "images": (3, 3, 4, 4)}


@pytest.mark.parametrize("towards", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_images_do_not_mix(objective, towards) -> None:
    """Neither the values nor the gradients; an image of each kind alone among them, and all of it finite."""
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.rand(shape, generator=generator) for name, shape in MAPS.items()}
    truth = torch.rand(3, 4, 4, generator=generator) > 0.7
    truth[1], truth[2] = False, True
    field = rivals(5 * maps["odds"] - 2, truth)

    def both(rows: slice) -> tuple[torch.Tensor, ...]:
        part = {name: one[rows].clone().requires_grad_(True) for name, one in maps.items()}
        odds = 5 * part["odds"] - 2 + part["images"].square().mean(1)
        shown = prediction(odds, reconstruction=part["reconstruction"], pooling=3)
        value = objective(shown, Aim(truth[rows], part["images"], towards, 0.4, rivals=field))
        assert value.shape == (len(part["odds"]),)
        slopes = torch.autograd.grad(value.sum(), list(part.values()), allow_unused=True)
        return value.detach(), *(torch.zeros(1) if one is None else one for one in slopes)

    together = both(slice(0, 3))
    apart = zip(*(both(slice(i, i + 1)) for i in range(3)), strict=True)
    for one, others in zip(together, apart, strict=True):
        assert torch.isfinite(one).all()
        assert torch.allclose(one, torch.cat(others)) or one.shape == (1,)
    assert any(slopes.any() for slopes in together[1:])


@pytest.mark.parametrize("objective", [segpgd, cospgd])
@pytest.mark.parametrize("progress", [0.0, 0.6])
@pytest.mark.parametrize("towards", [False, True])
def test_weightings_have_the_value_of_balanced(objective, progress, towards) -> None:
    """So that iterates and restarts can be compared by it."""
    values = objective(prediction(ODDS), aim(TRUTH, towards=towards, progress=progress))
    assert torch.equal(values, balanced(prediction(ODDS), aim(TRUTH)))


@pytest.mark.parametrize(
    ("progress", "towards", "right", "wrong"),
    [(0.0, False, 1.0, 0.0), (0.6, False, 0.7, 0.3), (0.0, True, 0.0, 1.0), (0.6, True, 0.3, 0.7)],
)
def test_segpgd_weighs_what_is_still_to_be_won(progress, towards, right, wrong) -> None:
    odds = torch.tensor([[[2.0, -1.0], [-0.5, 3.0]]])
    truth = torch.tensor([[[True, True], [False, False]]])
    weight = torch.tensor([[[right, wrong], [right, wrong]]])
    expected = weight * slope(balanced, odds, truth)
    assert torch.allclose(slope(segpgd, odds, truth, progress=progress, towards=towards), expected)


@pytest.mark.parametrize("towards", [False, True])
def test_cospgd_weighs_by_the_cosine_to_the_label(towards) -> None:
    """Against the cosine as the paper writes it, of softmax and one-hot label."""
    generator = torch.Generator().manual_seed(0)
    odds, truth = 4 * torch.randn(2, 4, 4, generator=generator), torch.rand(2, 4, 4, generator=generator) > 0.5
    label = torch.nn.functional.one_hot(truth.long(), 2).movedim(-1, 1).float()
    cosine = torch.cosine_similarity(prediction(odds).logits.softmax(1), label)
    expected = (1 - cosine if towards else cosine) * slope(balanced, odds, truth)
    assert torch.allclose(slope(cospgd, odds, truth, towards=towards), expected, atol=1e-6)


@pytest.mark.parametrize("objective", [cross_entropy, segpgd, cospgd])
def test_slopes_are_finite_and_not_lost_where_probabilities_saturate(objective) -> None:
    """In the usual form of cross-entropy a sure pixel's is 0 in float32."""
    odds, truth = torch.tensor([[[60.0, -60.0], [60.0, -60.0]]]), torch.tensor([[[True, True], [False, False]]])
    for towards in (False, True):
        found = slope(objective, odds, truth, towards=towards)
        still = (truth == (odds > 0)) ^ towards
        assert torch.isfinite(found).all() and (found[still] != 0).all()


@pytest.mark.parametrize("objective", [image_score, peaks])
def test_an_image_is_ranked_by_its_score(objective) -> None:
    odds = torch.stack((ODDS[0], ODDS[0] - 4))
    truth = torch.stack((TRUTH[0], torch.zeros_like(TRUTH[0])))
    shown = prediction(odds, pooling=1)
    assert objective(shown, aim(truth)).tolist() == pytest.approx([-2, -2])
    own = Prediction(shown.logits, score=torch.tensor([3.0, 1.0]))
    assert objective(own, aim(truth)).tolist() == pytest.approx([-3, 1])


def test_a_score_has_a_gradient_however_sure_it_is() -> None:
    truth = torch.ones(1, 4, 4, dtype=torch.bool)
    assert slope(image_score, torch.full((1, 4, 4), 400.0), truth, pooling=1).any()


def test_a_score_moves_the_pixels_of_the_best_window_alone() -> None:
    odds = ODDS.clone()
    odds[0, :3, 1:] = 2
    found = slope(image_score, odds, TRUTH, pooling=3)
    assert torch.equal(found < 0, odds > 1) and torch.equal(found != 0, odds > 1)


def test_along_peaks_all_that_is_high_falls_or_rises_most_of_all_the_highest() -> None:
    """Towards a label it is the other way about. The value is that of the score, whose gradient has no part in it."""
    noise = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    odds = (torch.where(TRUTH[0], torch.tensor(3.0), ODDS[0]) + noise).expand(2, 4, 4).clone().requires_grad_(True)
    beside = torch.tensor([5.0, -1.0], requires_grad=True)
    shown = replace(prediction(odds), score=beside)
    defect, good = torch.ones(1, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4, dtype=torch.bool)
    for truth, towards in ((torch.cat((defect, good)), False), (torch.cat((good, defect)), True)):
        value = peaks(shown, aim(truth, towards=towards))
        assert torch.equal(value, image_score(shown, aim(truth)))
        turned = -value if towards else value
        found, none = torch.autograd.grad(turned.sum(), (odds, beside), allow_unused=True)
        falls, rises = found.flatten(1)
        assert none is None and torch.allclose(falls, -rises)
        assert (falls < 0).all() and falls.argmin() == odds[0].flatten().argmax()
        assert falls[TRUTH.flatten()].max() < falls[~TRUTH.flatten()].min()


def test_reconstruction_is_high_where_defects_are_copied_and_normal_pixels_are_not() -> None:
    images = torch.full((1, 3, 4, 4), 0.5)
    made = images + torch.where(TRUTH, 0.1, 0.3)[:, None]
    shown = prediction(ODDS, reconstruction=made)
    assert reconstruction(shown, aim(TRUTH, images=images)).tolist() == pytest.approx([0.3**2 - 0.1**2])
    nothing = torch.zeros_like(TRUTH)
    assert reconstruction(shown, aim(nothing, images=images)).tolist() == pytest.approx([(14 * 0.09 + 2 * 0.01) / 16])


def test_reconstruction_reaches_the_input_on_both_sides() -> None:
    images = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    half = prediction(ODDS, reconstruction=images / 2)
    (found,) = torch.autograd.grad(reconstruction(half, aim(TRUTH, images=images)).sum(), images)
    # (x / 2 - x)^2 has the slope x / 2, shared among three channels and the pixels of a kind.
    expected = torch.where(TRUTH, -0.25 / 3 / 2, 0.25 / 3 / 14)[:, None].expand_as(images)
    assert torch.allclose(found, expected)


def test_joint_adds_what_there_is() -> None:
    images = torch.full((1, 3, 4, 4), 0.5)
    shown, pure = prediction(ODDS, reconstruction=images + 0.2), prediction(ODDS)
    goal = aim(TRUTH, images=images)
    both = balanced(pure, goal) + torch.nn.functional.softplus(image_score(pure, goal))
    assert torch.allclose(joint(pure, goal), both)
    assert torch.allclose(joint(shown, goal), both + 10 * reconstruction(shown, goal))


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_only_steady_objectives_have_the_same_gradient_at_any_progress(objective) -> None:
    images = torch.full((1, 3, 4, 4), 0.5)
    slopes = []
    for progress in (0.0, 0.7):
        odds = ODDS.clone().requires_grad_(True)
        made = odds[:, None].sigmoid().expand(-1, 3, -1, -1)
        one = prediction(odds, reconstruction=made)
        value = objective(one, aim(TRUTH, images=images, progress=progress, rivals=rivals(ODDS, TRUTH))).sum()
        slopes.append(torch.autograd.grad(value, odds)[0])
    assert torch.equal(*slopes) == (objective in STEADY)


def test_four_class_heads_are_attacked_through_their_log_odds() -> None:
    logits = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    truth = torch.ones(2, 4, 4, dtype=torch.bool)
    expected = -(1 - logits.softmax(1)[:, 0]).log().flatten(1).mean(1)
    assert torch.allclose(cross_entropy(Prediction(logits), aim(truth)), expected, atol=1e-6)


def test_a_defect_that_is_to_look_normal_is_averaged_apart() -> None:
    """Two hidden pixels weigh as much as the fourteen others; in the plain mean they would be an eighth."""
    labels = HIDDEN * TRUTH.byte()
    hiding = Aim.at(labels, torch.zeros(1, 3, 4, 4), True, 0.0)
    assert not hiding.truth.any() and torch.equal(hiding.apart, TRUTH)
    expected = (math.log(2) + softplus(2)) / 2 + math.log(2)
    for objective in (balanced, segpgd, cospgd):
        assert objective(prediction(ODDS), hiding).tolist() == pytest.approx([expected])
    assert linear(prediction(ODDS), hiding).tolist() == pytest.approx([1 + 0])
    found = torch.autograd.grad(balanced(prediction(odds := ODDS.clone().requires_grad_(True)), hiding).sum(), odds)[0]
    assert found[0, 0, 0].item() == pytest.approx(0.25) and found[0, 3, 3].item() == pytest.approx(0.5 / 14)


def test_ranking_of_one_pair_is_worked_by_hand() -> None:
    """Two pixels lie sqrt(2) deviations apart, and their ranks are the normal distribution's quarters."""
    truth = torch.tensor([[[True, False]]])
    lead = (STRAIGHT * 2 * NormalDist().inv_cdf(3 / 4) + (1 - STRAIGHT) * math.sqrt(2)) / WIDTH
    for odds in (torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[3e-6, 1e-6]]]), torch.tensor([[[2000.0, 1.0]]])):
        lost, lowered, won = (
            ranking(prediction(odds), one) for one in (aim(truth), aim(truth, towards=True), aim(~truth))
        )
        assert lost.tolist() == pytest.approx([-math.log1p(softplus(lead))], rel=1e-5)
        assert lowered.tolist() == pytest.approx([math.log1p(softplus(-lead))], rel=1e-4)
        assert won.tolist() == pytest.approx([-math.log1p(softplus(-lead))], rel=1e-4)


def test_straightened_scores_are_normally_distributed() -> None:
    """Each at the normal quantile of its rank, of whatever distribution they were, and in the same order."""
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(1, 64, 64, generator=generator).exp()
    found, expected = straightened(odds).flatten(), torch.special.ndtri((torch.arange(4096) + 0.5) / 4096)
    assert torch.equal(found.argsort(), odds.flatten().argsort())
    assert (found.sort().values - expected).abs().max() < 0.35
    assert (found.sort().values - expected)[BEYOND:-BEYOND].abs().max() < 0.06


@pytest.mark.parametrize("seed", range(6))
def test_straightened_corners_of_a_coarse_map_do_not_outweigh_all_other_pixels(seed: int) -> None:
    """They are even but for rounding, and among its least and largest values."""
    coarse = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(seed)).square()
    odds = torch.nn.functional.interpolate(coarse, 64, mode="bilinear", align_corners=False)[:, 0].requires_grad_(True)
    (slopes,) = torch.autograd.grad(straightened(odds).sum(), odds)
    assert slopes.flatten().topk(40).values.sum() < 0.3 * slopes.sum()


@pytest.mark.parametrize("towards", [False, True])
@pytest.mark.parametrize("objective", [pooled, ranking])
def test_a_map_that_has_saturated_everywhere_has_no_gradient_and_no_overflow(objective, towards: bool) -> None:
    """Of a sigmoid that has rounded to 1: checks are to say so, and not a NaN."""
    inside, truth = torch.full((1, 16, 16), 60.0, requires_grad=True), torch.zeros(1, 16, 16, dtype=torch.bool)
    odds = torch.sigmoid(inside) * 30
    value = objective(prediction(odds), aim(truth, towards=towards, rivals=rivals(odds.detach(), truth)))
    (found,) = torch.autograd.grad(1e3 * value.sum(), inside)
    assert torch.equal(found, torch.zeros_like(found))


def test_straightened_keeps_a_slope_at_values_that_are_shared() -> None:
    """A largest value of many pixels, as of a coarse map; a map of one value alone; and none that is not finite."""
    for odds in (torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]), torch.zeros(1, 2, 2), torch.full((1, 2, 2), 1e30)):
        odds.requires_grad_(True)
        found = straightened(odds)
        (slopes,) = torch.autograd.grad(found.sum(), odds)
        assert torch.isfinite(found).all() and torch.isfinite(slopes).all() and (slopes > 0).all()
    shared = straightened(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])).flatten()
    assert shared[0] < shared[1] == shared[2] == shared[3]


BENDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exponential": torch.exp,
    "fourth power": lambda odds: (odds + 6) ** 4,
    "sigmoid": lambda odds: torch.sigmoid(2 * odds),
    "logarithm": lambda odds: torch.log(odds + 6),
}


@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
@pytest.mark.parametrize("kinds", [0.1, 0.0])
def test_no_bend_of_the_scores_is_seen_once_they_are_straightened(
    bend: Callable[[torch.Tensor], torch.Tensor], kinds: float
) -> None:
    """The gradient to what is bent keeps its direction; that of `ranking` keeps it better than that of `linear`."""
    generator = torch.Generator().manual_seed(1)
    odds, truth = torch.randn(2, 32, 32, generator=generator), torch.rand(2, 32, 32, generator=generator) < kinds

    def straight(shown: Prediction, goal: Aim) -> torch.Tensor:
        return linear(prediction(straightened(shown.log_odds)), goal)

    def turned(objective: Objective) -> float:
        plain, bent = odds.clone().requires_grad_(True), odds.clone().requires_grad_(True)
        slopes = [
            torch.autograd.grad(objective(prediction(shown), aim(truth)).sum(), one)[0].flatten()
            for one, shown in ((plain, plain), (bent, bend(bent)))
        ]
        return torch.cosine_similarity(*slopes, dim=0).item()

    assert turned(straight) > 0.99
    assert turned(linear) < turned(ranking)


@pytest.mark.parametrize("towards", [False, True])
@pytest.mark.parametrize("kinds", [0.2, 0.9, 0.0, 1.0])
@pytest.mark.parametrize("objective", [pooled, ranking])
def test_every_pixel_is_moved_the_right_way(objective: Objective, towards: bool, kinds: float) -> None:
    generator = torch.Generator().manual_seed(0)
    odds, truth = 30 * torch.randn(2, 9, 7, generator=generator), torch.rand(2, 9, 7, generator=generator) < kinds
    found = slope(objective, odds, truth, towards=towards, rivals=rivals(odds, truth))
    # Raised, or lowered towards a target whose anomalous pixels are to be high: alike in sign.
    assert torch.equal(found > 0, ~truth)


@pytest.mark.parametrize("objective", [linear, pooled, ranking])
@pytest.mark.parametrize(("scale", "shift"), [(30.0, 0.0), (1 / 64, -7.0), (1e4, 1e4)])
@pytest.mark.parametrize("kinds", [0.3, 0.0])
def test_no_scale_of_the_scores_turns_a_step(objective: Objective, scale: float, shift: float, kinds: float) -> None:
    """The gradient keeps its direction under any positive affine change: attacks take the same steps."""
    generator = torch.Generator().manual_seed(1)
    odds, truth = torch.randn(3, 8, 8, generator=generator), torch.rand(3, 8, 8, generator=generator) < kinds
    field, moved = rivals(odds, truth), rivals(scale * odds + shift, truth)
    for towards in (False, True):
        one = slope(objective, odds, truth, towards=towards, rivals=field)
        other = slope(objective, scale * odds + shift, truth, towards=towards, rivals=moved) * scale
        # In float32 an offset rounds neighbouring values of `ranking` onto each other.
        assert torch.cosine_similarity(one.flatten(1), other.flatten(1)).min() > 0.999
        assert torch.equal(one.sign(), other.sign())
    if objective is pooled or (objective is ranking and kinds):
        same = objective(prediction(scale * odds + shift), aim(truth, rivals=moved))
        assert torch.allclose(same, objective(prediction(odds), aim(truth, rivals=field)), atol=1e-3)


@pytest.mark.parametrize("kind", [False, True])
def test_ranking_of_one_kind_has_the_value_of_linear(kind: bool) -> None:
    """Which rises as the attack goes on, where the mean of scores in units of the map would stay 0."""
    odds, truth = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.full((2, 8, 8), kind)
    for towards in (False, True):
        goal = aim(truth, towards=towards)
        assert torch.allclose(ranking(prediction(7 * odds), goal), linear(prediction(7 * odds), goal))


def test_pooled_is_worked_by_hand() -> None:
    """Two images of one anomalous pixel among two: rivals are the same two values of each kind, in equal shares."""
    odds, truth = torch.tensor([[[3.0, 1.0]], [[7.0, 5.0]]]), torch.tensor([[[True, False]], [[True, False]]])
    field = rivals(odds, truth)
    assert field.share == 0.5
    first, third, second, fourth = ((value - 4) / math.sqrt(20 / 3) for value in (1.0, 3.0, 5.0, 7.0))
    for kind, values in ((field.normal, (first, second)), (field.anomalous, (third, fourth))):
        assert kind.unique().tolist() == pytest.approx(values, rel=1e-5) and (kind[:256] == kind[0]).all()
    # Each pixel meets one of the lower half of its rivals and one of the upper.
    low = [softplus((third - rival) / WIDTH) for rival in (first, second)]
    low += [softplus((rival - first) / WIDTH) for rival in (third, fourth)]
    assert pooled(prediction(odds), aim(truth, rivals=field))[0].item() == pytest.approx(-sum(low) / 4, rel=1e-5)


def test_pooled_keeps_its_scale_where_an_attack_has_driven_scores_far_out() -> None:
    """The rivals are those where it begins, in standard deviations from before: that of theirs is a thousand wide."""
    odds, truth = torch.tensor([3.0, 1.0, 7.0, 5.0]), torch.tensor([True, False, True, False])
    begun = torch.tensor([2.0, 4.0, 6.0, 1e3])
    field = Rivals.of([(odds, truth)], [(begun, truth)], [(begun + 0.5, truth)])
    assert field.scores(odds[None, None]).std().item() == pytest.approx(1, rel=1e-4)
    assert field.anomalous.unique().tolist() == pytest.approx(field.scores(begun[None, None, ::2]).flatten().tolist())
    assert field.normal.unique().tolist() == pytest.approx(field.scores(begun[None, None, 1::2]).flatten().tolist())


@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
def test_stabilised_scores_are_those_of_any_copy_also_beyond_where_it_was_made(bend) -> None:
    """In standard deviations, those of the detector itself: the bend of ranks would go on straight ahead."""
    generator = torch.Generator().manual_seed(0)
    odds = 4 * torch.rand(20_000, generator=generator, dtype=torch.float64) - 2
    stirred = odds + 0.02 * torch.randn(20_000, generator=generator, dtype=torch.float64)
    beyond = torch.linspace(-2, 4, 61, dtype=torch.float64)
    unit = Stabiliser.of(bend(odds), bend(stirred))
    heights, own = unit(bend(beyond)), unit(bend(odds))
    heights, expected = (heights - own.mean()) / own.std(), (beyond - odds.mean()) / odds.std()
    inside = beyond < 2
    assert (heights - expected)[inside].abs().max() < 0.1
    assert (heights.diff() > 0).all()
    # To twice as far on the exponential's steep side, where going straight ahead would be 4 deviations off.
    if bend is torch.exp:
        assert (heights - expected).abs().max() < 0.6


def test_the_unit_is_the_slope_of_what_a_noise_moves() -> None:
    """Its derivative is one over the move; a gap without pixels is sixteen moves wide at the most."""
    odds = torch.cat((torch.linspace(0, 1, 5000), torch.linspace(1e6, 1e6 + 100, 5000))).requires_grad_(True)
    unit = Stabiliser.of(odds, odds + 0.5)
    heights = unit(odds)
    (slopes,) = torch.autograd.grad(heights.sum(), odds)
    assert slopes[1000:4000].tolist() == pytest.approx([2.0] * 3000)
    assert (heights[5000] - heights[4999]).item() < 200 and (heights.detach().diff() >= 0).all()


@pytest.mark.parametrize(
    "shown", [[0.0] * 64, [0.0] * 60 + [1.0] * 4, [1e30] * 64, [math.nan] * 64, [1.0, math.inf] * 32]
)
def test_no_map_is_too_odd_for_a_unit(shown: list[float]) -> None:
    """Where no noise moves it; what is not finite is for the attack to say."""
    odds = torch.tensor(shown)
    heights = Stabiliser.of(odds, odds)(odds)
    if math.isfinite(sum(shown)):
        assert torch.isfinite(heights).all()


def test_pooled_goes_on_where_the_order_within_the_image_is_lost() -> None:
    """A defect that most of its own image hides, but that stands above the other: `ranking` sees no difference."""
    odds = torch.tensor([0.0, 9.0])[:, None, None] + torch.linspace(0, 1, 64).view(8, 8)
    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[:, 2, :2] = True
    low, high = slope(ranking, odds, truth).abs()[truth].view(2, 2).mean(1)
    assert low.item() == pytest.approx(high.item(), rel=1e-3)
    low, high = slope(pooled, odds, truth, rivals=rivals(odds, truth)).abs()[truth].view(2, 2).mean(1)
    assert high > 1.5 * low


@pytest.mark.parametrize("objective", [pooled, ranking])
def test_ranks_are_those_of_the_map_that_is_scored(objective) -> None:
    """A detector that smooths its probabilities is attacked on the smoothed map, by which its pixels are ranked."""
    shown = prediction(ODDS, smoothing=3)
    assert not torch.equal(shown.score_map, ODDS)
    field = rivals(shown.score_map, TRUTH)
    value = objective(shown, aim(TRUTH, rivals=field))
    assert torch.equal(value, objective(prediction(shown.score_map), aim(TRUTH, rivals=field)))


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (reconstruction, "without; try objective balanced or joint"),
        (pooled, "make the victim with rivals, or try objective ranking"),
    ],
)
def test_what_an_objective_lacks_is_told(objective: Objective, told: str) -> None:
    with pytest.raises(UserError, match=told):
        objective(prediction(ODDS), aim(TRUTH))
