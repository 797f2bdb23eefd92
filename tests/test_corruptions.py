"""Common corruptions: what each does in closed form, and that more of it is more."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from linear_detector import Linear, blocks, threat
from scipy.ndimage import gaussian_filter

from omnial_bench.attacks.corruptions import BLUR, CORRUPTIONS, build
from omnial_bench.attacks.settings import CorruptionOptions as Options
from omnial_bench.attacks.settings import corruption_label as label
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import parse
from omnial_bench.errors import UserError


def scenes(n: int = 3, side: int = 48) -> torch.Tensor:
    """Waves with some grain, on the 8-bit grid: images with edges, flat ground and texture."""
    generator = torch.Generator().manual_seed(0)
    at = torch.arange(side) / side
    waves = torch.stack([torch.sin((k + 1) * 5 * at)[:, None] * torch.cos((k + 2) * 5 * at) for k in range(n)])
    tint = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    grain = 0.03 * torch.randn(n, 1, side, side, generator=generator)
    return ((tint + 0.3 * waves[:, None] + grain).clamp(0, 1) * 255).round() / 255


def corrupt(kind, images, where=None, severity=3, seed=0, **settings):
    detector = Linear(images.shape[-1])
    with victim([detector]) as target:
        record = threat(kind, **{"eps": 1, **settings})
        attack = build(target, record, torch.Generator().manual_seed(seed), Options(severity=severity))
        corrupted = attack(images, torch.zeros_like(images[:, 0], dtype=torch.bool), where)
    assert detector.calls == 0
    assert attack.losses == []
    assert attack.flat is None
    return corrupted


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_more_severe_is_further_away(kind) -> None:
    images = scenes()
    errors = [(corrupt(kind, images, severity=severity) - images).square().mean((1, 2, 3)) for severity in range(1, 6)]
    assert (errors[0] > 0).all()
    assert all((later > 1.1 * earlier).all() for earlier, later in pairwise(errors))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_images_stay_images_and_apart(kind) -> None:
    images = scenes()
    corrupted = corrupt(kind, images, severity=5)
    assert corrupted.shape == images.shape
    assert corrupted.dtype == torch.float32
    assert corrupted.min() >= 0
    assert corrupted.max() <= 1
    assert torch.equal(corrupted, corrupt(kind, images, severity=5))
    assert torch.allclose(corrupted[:1], corrupt(kind, images[:1], severity=5), atol=1e-6)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_region_bounds_the_change(kind) -> None:
    images = scenes()
    where = blocks(torch.zeros(3, 48, 48, dtype=torch.bool))
    moved = (corrupt(kind, images, where, severity=5) != images).any(1)
    assert not moved[~where].any()
    assert moved[where].float().mean() > 0.9


def test_noise_has_its_deviation_and_its_own_seed() -> None:
    images = torch.full((4, 3, 48, 48), 0.5)
    noise = corrupt("gaussian_noise", images) - images
    assert noise.std().item() == pytest.approx(0.06, rel=0.02)
    assert noise.mean().abs() < 0.001
    state = torch.random.get_rng_state()
    assert not torch.equal(noise, corrupt("gaussian_noise", images, seed=1) - images)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("severity", [2, 4, 5])
def test_blur_is_scipy_s(severity) -> None:
    images, sigma = scenes(1), BLUR[severity - 1]
    blurred = corrupt("blur", images, severity=severity)
    radius = int(np.ceil(3 * sigma))
    expected = gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, radius, radius))
    assert np.allclose(blurred.numpy(), expected, atol=1e-5)


def test_blur_of_a_image_smaller_than_its_kernel() -> None:
    images = torch.full((1, 3, 8, 8), 0.25)
    assert torch.allclose(corrupt("blur", images, severity=5), images)


def test_light_and_contrast_by_hand() -> None:
    images = torch.tensor([0.0, 0.2, 0.4, 1.0]).view(1, 1, 2, 2).repeat(1, 3, 1, 1)
    assert corrupt("brightness", images)[0, 1].flatten().tolist() == pytest.approx([0.15, 0.35, 0.55, 1.0])
    assert corrupt("contrast", images)[0, 1].flatten().tolist() == pytest.approx([0.2, 0.3, 0.4, 0.7])


def test_jpeg_is_on_the_grid_and_keeps_flat_grounds() -> None:
    corrupted = corrupt("jpeg", scenes()) * 255
    assert torch.allclose(corrupted, corrupted.round(), atol=1e-4)
    flat = torch.full((2, 3, 16, 16), 128 / 255)
    assert torch.equal(corrupt("jpeg", flat), flat)


@pytest.mark.parametrize("goal", ["any", "hide"])
def test_goal_and_objective_say_nothing(goal) -> None:
    images = scenes(1)
    assert torch.equal(corrupt("jpeg", images, goal=goal, objective="cross_entropy"), corrupt("jpeg", images))


def test_label_tells_the_severity() -> None:
    assert label(threat("blur", eps=1, options={"severity": 4})) == "blur severity 4"
    assert label(threat("jpeg", eps=1)) == "jpeg severity 3"


@pytest.mark.parametrize("table", [{"severity": 0}, {"severity": 6}, {"severity": 2.5}, {"severty": 3}])
def test_bad_options_are_one_line(table) -> None:
    with pytest.raises(UserError, match="severity") as raised:
        parse(Options, table, "options of threat t")
    assert "\n" not in str(raised.value)


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(UserError, match="did you mean 'blur'"):
        corrupt("blurr", scenes(1))
    with pytest.raises(UserError, match='expected eps = "1" for blur'):
        corrupt("blur", scenes(1), eps="8/255")
