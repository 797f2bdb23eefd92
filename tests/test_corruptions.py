"""Common corruptions: what each does in closed form, and that more of it is more."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_detector import Linear, run_attack
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from omnial_bench.attacks.corruptions import GAMMA, STREAK
from omnial_bench.attacks.settings import CORRUPTIONS
from omnial_bench.errors import UserError

STILL, MOVING = ([name for name, kind in CORRUPTIONS.items() if kind.moves == moves] for moves in (False, True))


def scenes(n: int = 3, side: int = 48) -> torch.Tensor:
    """Waves with some grain, on the 8-bit grid: images with edges, flat ground and texture."""
    generator = torch.Generator().manual_seed(0)
    at = torch.arange(side) / side
    waves = torch.stack([torch.sin((k + 1) * 5 * at)[:, None] * torch.cos((k + 2) * 5 * at) for k in range(n)])
    tint = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    grain = 0.03 * torch.randn(n, 1, side, side, generator=generator)
    return ((tint + 0.3 * waves[:, None] + grain).clamp(0, 1) * 255).round() / 255


def run(kind, images, severity=3, labels=None, **settings):
    """What it made, and the attack."""
    detector = Linear(images.shape[-1])
    labels = torch.zeros_like(images[:, 0], dtype=torch.bool) if labels is None else labels
    record = {"eps": 1, "steps": 1, "options": {"severity": severity}, **settings}
    corrupted, attack = run_attack(kind, detector, images, labels, **record)
    assert (detector.shown, attack.losses, attack.flat) == ([], [], None)
    return corrupted, attack


def corrupt(*given, **settings):
    return run(*given, **settings)[0]


def size(kind, severity=3) -> float:
    return CORRUPTIONS[kind].sizes[severity - 1]


def constant(value=0.5, n=32, side=64) -> torch.Tensor:
    return torch.full((n, 3, side, side), value)


def spread(images) -> torch.Tensor:
    """Variance in place of each image's first channel along both axes, added."""
    mass, at = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True), torch.arange(images.shape[-1])
    return sum((m * at**2).sum(1) - (m * at).sum(1) ** 2 for m in (mass.sum(1), mass.sum(2)))


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
    assert corrupted.shape == images.shape and corrupted.dtype == torch.float32
    assert corrupted.min() >= 0 and corrupted.max() <= 1
    assert torch.equal(corrupted, corrupt(kind, images, severity=5))
    assert torch.allclose(corrupted[:1], corrupt(kind, images[:1], severity=5), atol=1e-6)


def test_noise_has_its_deviation() -> None:
    images = constant(n=4, side=48)
    noise = corrupt("gaussian_noise", images) - images
    assert noise.std().item() == pytest.approx(0.06, rel=0.02)
    assert noise.mean().abs() < 0.001


@pytest.mark.parametrize("severity", [2, 4, 5])
def test_blur_is_scipy_s(severity) -> None:
    images, sigma = scenes(1), size("blur", severity)
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


def test_light_falls_across_the_frame_and_is_what_it_was_in_the_middle() -> None:
    logs = corrupt("light_gradient", constant())[:, 0].log2() + 1
    assert torch.allclose(logs.amax((1, 2)) - logs.amin((1, 2)), torch.tensor(size("light_gradient") / GAMMA))
    assert torch.allclose(logs.mean((1, 2)), torch.tensor(0.0), atol=1e-6)


def test_white_balance_parts_red_and_blue_either_way() -> None:
    red, green, blue = corrupt("white_balance", constant()).mean((2, 3)).T
    assert torch.allclose(green, torch.tensor(0.5))
    stops = GAMMA * (red / blue).log2()
    assert torch.allclose(stops.abs(), torch.tensor(size("white_balance")), atol=1e-5)
    assert {-1.0, 1.0} == set(stops.sign().tolist())


def test_glare_is_a_gaussian_of_its_size_and_leaves_white_alone() -> None:
    assert torch.equal(corrupt("glare", constant(1.0)), constant(1.0))
    light = corrupt("glare", constant(0.0))[:, 0]
    assert torch.allclose(light.amax((1, 2)), torch.tensor(size("glare")), rtol=0.03)
    # The curvature of its logarithm is the same at every place and in every direction that the streak takes.
    logs, inside = light.log(), slice(1, -1)
    around = logs[:, 2:, inside] + logs[:, :-2, inside] + logs[:, inside, 2:] + logs[:, inside, :-2]
    bent = (4 * logs[:, inside, inside] - around)[light[:, inside, inside] > 0.1]
    assert torch.allclose(bent, torch.tensor(sum((side * 64 / 256) ** -2 for side in STREAK)), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "variance"), [("defocus", size("defocus", 5) ** 2 / 2), ("motion_blur", size("motion_blur", 5) ** 2 / 12)]
)
def test_a_point_is_smeared_over_a_disc_or_a_way(kind, variance) -> None:
    """Of a disc's radius r the variances add up to r squared / 2, of a way's length l to l squared / 12; bilinear
    interpolation adds up to 1/3. A ramp stays a ramp."""
    point = torch.zeros(8, 3, 256, 256)
    point[:, :, 120, 130] = 1
    smeared = corrupt(kind, point, severity=5)
    assert torch.allclose(smeared.sum((2, 3)), torch.tensor(1.0), atol=1e-4)
    more = spread(smeared) - variance
    assert more.min() > -0.01 * variance and more.max() < 1 / 3 + 0.01 * variance
    ramp = torch.linspace(0, 1, 256).expand(8, 3, 256, 256)
    inside = (..., slice(20, -20))
    assert torch.allclose(corrupt(kind, ramp, severity=5)[inside], ramp[inside], atol=1e-5)


@pytest.mark.parametrize("kind", MOVING)
def test_what_moves_takes_its_truth_along(kind) -> None:
    """A bright square on black, which is the defect: afterwards labels are where it is bright, at the distance that the
    severity says, and either way by chance; a constant image has no black border."""
    images, labels = torch.zeros(32, 3, 256, 256), torch.zeros(32, 256, 256, dtype=torch.bool)
    images[:, :, 40:60, 120:140], labels[:, 40:60, 120:140] = 1, True
    moved, attack = run(kind, images, labels=labels, severity=5)
    assert ((moved[:, 0] > 0.5) != attack.truth).flatten(1).sum(1).max() <= 20
    at = torch.arange(256.0)
    places = torch.stack([(attack.truth.sum(axis) * at).sum(1) / attack.truth.sum((1, 2)) for axis in (1, 2)], 1)
    ways = (places - torch.tensor([129.5, 49.5])).round()
    # 78 pixels above the middle, five degrees are 6.8 pixels to a side.
    expected = {"rotation": {(7, 0), (-7, 0)}, "shift": {(16, 0), (-16, 0), (0, 16), (0, -16)}}
    assert {tuple(way) for way in ways.tolist()} == expected[kind]
    assert torch.allclose(corrupt(kind, constant(), severity=5), constant(), atol=1e-6)


def test_a_shift_mirrors_the_frame_and_leaves_a_lost_defect_where_it_was() -> None:
    image = scenes(1, 256)
    around = F.pad(image, (16,) * 4, mode="reflect")
    cuts = [around[..., y : y + 256, x : x + 256] for y, x in ((16, 0), (16, 32), (0, 16), (32, 16))]
    shifted = corrupt("shift", image.repeat(16, 1, 1, 1), severity=5)
    hits = [[torch.allclose(one, cut[0], atol=1e-4) for cut in cuts].index(True) for one in shifted]
    assert set(hits) == {0, 1, 2, 3}
    labels = torch.zeros(16, 256, 256, dtype=torch.bool)
    labels[:, 100:104, 252:] = True
    moved, attack = run("shift", image.repeat(16, 1, 1, 1), labels=labels, severity=5)
    lost = torch.tensor(hits) == 0
    assert torch.equal(attack.truth[lost], labels[lost]) and torch.equal(moved[lost], image.expand_as(moved)[lost])
    assert attack.truth.flatten(1).any(1).all()


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(UserError, match="did you mean 'blur'"):
        corrupt("blurr", scenes(1))
    with pytest.raises(UserError, match="expected eps = 1 for blur"):
        corrupt("blur", scenes(1), eps="8/255")


def test_the_protocol_says_the_sizes() -> None:
    text = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:3] == "| `"]
    told = {row[0]: tuple(map(float, row[2:7])) for row in rows if len(row) == 8}
    assert told == {name: kind.sizes for name, kind in CORRUPTIONS.items()}
