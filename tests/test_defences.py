"""Defences against a linear detector, whose defended scores are known in closed form; and what cannot be one."""

from pathlib import Path

import pytest
import torch
from linear_detector import Linear, clean_images

from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import read_recipe
from omnial_bench.defences.registry import defence_code, defended
from omnial_bench.defences.smoothing import SEED, Smoothing
from omnial_bench.errors import UserError
from omnial_bench.evaluation.suited import check_gradient, has_gradient
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.models.outside.gradients import ForwardOnly

IMAGES, TRUTH = clean_images()
SIGMA, SAMPLES = 0.1, 65


@pytest.fixture
def smoothed() -> Smoothing:
    return Smoothing(Linear(), sigma=SIGMA, samples=SAMPLES).eval()


def test_a_linear_score_is_moved_by_the_median_of_the_noise_alone(smoothed: Smoothing) -> None:
    weight, generator = smoothed.detector.weight, torch.Generator().manual_seed(SEED)
    noise = torch.stack([torch.randn(3, 8, 8, generator=generator) for _ in range(SAMPLES)])
    shift = SIGMA * (noise * weight).sum(1).sort(0).values[SAMPLES // 2]
    torch.testing.assert_close(smoothed(IMAGES).log_odds, (IMAGES * weight).sum(1) + shift)
    # The median of n normal numbers is off 0 by 1.25 / sqrt(n) of their spread, and here nowhere by four times that.
    assert (shift.abs() < 4 * 1.25 * SAMPLES**-0.5 * SIGMA * weight.square().sum(0).sqrt()).all()


def test_a_prediction_is_that_of_the_image_alone(smoothed: Smoothing) -> None:
    every, alone = smoothed(IMAGES), smoothed(IMAGES[2:3])
    assert torch.equal(every.log_odds[2:3], alone.log_odds) and torch.equal(every.image_score[2:3], alone.image_score)
    assert every.reconstruction is None


def test_its_gradient_is_whole(smoothed: Smoothing) -> None:
    assert check_gradient(smoothed, IMAGES) > 0.99
    with victim([Linear()]) as plain, victim([smoothed]) as behind:
        one, other = (target.gradient(IMAGES, TRUTH, balanced)[1] for target in (plain, behind))
    assert torch.equal(one.sign(), other.sign())


def test_no_noise_is_no_defence() -> None:
    assert torch.equal(Smoothing(Linear(), sigma=0, samples=2)(IMAGES).log_odds, Linear()(IMAGES).log_odds)


def test_what_has_no_gradient_has_none_in_a_defence() -> None:
    assert has_gradient(Smoothing(Smoothing(Linear())))
    assert not has_gradient(Smoothing(Adapted(ForwardOnly(Linear()))))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"name": "smothing"}, "unknown defence of here 'smothing'; did you mean 'smoothing'?"),
        ({"sigma": 0.1}, "here: expected the name of its defence, got ''; try smoothing"),
        ({"name": "smoothing", "sigm": 0.1}, "smoothing failed to build: TypeError: .* 'sigm'"),
        (
            {"name": "smoothing", "sigma": "much"},
            "^here: sigma of smoothing: expected a number from 0 to 1, got 'much'",
        ),
        ({"name": "smoothing", "sigma": True}, "sigma of smoothing: expected a number from 0 to 1, got True"),
        ({"name": "smoothing", "samples": 0}, "samples of smoothing: expected a whole number above 0, got 0"),
        ({"name": "os:mkdir"}, "of Python's standard library"),
        ({"name": "linear_detector:Linear"}, "add --trust linear_detector:Linear"),
        ({"name": "linear_detector:threat"}, "here: expected a class of omnial_bench.Defence, got linear_detector:thr"),
    ],
)
def test_what_cannot_be_one_is_said_in_one_line(table: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        defended(Linear(), table, trusted=["linear_detector:threat"], where="here")


def test_a_record_keeps_it_and_its_code_is_in_the_key(tmp_path: Path) -> None:
    path = tmp_path / "smooth.toml"
    path.write_text('base = "draem"\n[defence]\nname = "smoothing"\nsamples = 2\n')
    plain, recipe = read_recipe("draem", "tiny"), read_recipe(str(path), "tiny")
    assert recipe == plain.model_copy(update={"defence": {"name": "smoothing", "samples": 2}})
    assert recipe.model_dump()["defence"] and "defence" not in plain.model_dump()
    assert defended(detector := Linear(), plain.defence, trusted=(), where="here") is detector
    assert not defence_code({}) and len(defence_code(recipe.defence)["defence"]) == 16
