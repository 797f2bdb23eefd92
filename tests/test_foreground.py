"""Foreground rules on drawn objects."""

import logging

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage
from skimage.draw import disk

from omnial_bench.cli.data import data
from omnial_bench.data.catalog import AUTO, ForegroundRule
from omnial_bench.errors import UserError
from omnial_bench.synthesis.foreground import foreground, object_mask
from omnial_bench.synthesis.morphology import closed, opened


def drawn(size: int = 64, background: int = 220, level: int = 60) -> tuple[torch.Tensor, np.ndarray]:
    """A disc with a small bright hole, and a speck apart; and the disc's own mask."""
    image = np.full((size, size), background, dtype=np.uint8)
    body = np.zeros((size, size), dtype=bool)
    body[disk((size / 2, size / 2), size / 4)] = True
    image[body] = level
    image[disk((size / 2, size / 2), size / 16)] = background
    image[2:4, 2:4] = level
    return torch.from_numpy(np.stack([image] * 3))[None], body


@pytest.mark.parametrize("method", ["otsu", "triangle"])
@pytest.mark.parametrize("side", ["dark", "bright"])
def test_finds_the_object_on_its_side(method, side) -> None:
    images, body = drawn()
    images = images if side == "dark" else 255 - images
    rule = ForegroundRule(method=method, side=side, fill_holes=True, largest=True)
    assert np.array_equal(foreground(images, rule)[0].numpy(), body)


def test_each_step_does_its_part() -> None:
    images, body = drawn()
    bare = foreground(images, ForegroundRule(method="otsu"))[0]
    assert not bare[32, 32]
    assert bare[2, 2]
    assert foreground(images, ForegroundRule(method="otsu", fill_holes=True))[0, 32, 32]
    assert not foreground(images, ForegroundRule(method="otsu", largest=True))[0, 2, 2]
    # At a height of 64 a square of 12 is 3 pixels wide: enough for the speck of 2, too little for the hole of 8.
    smooth = foreground(images, ForegroundRule(method="otsu", open=12))[0]
    assert not smooth[2, 2]
    assert not smooth[32, 32]
    assert (smooth.numpy() & body).sum() > 0.9 * bare.sum()


def test_bytes_and_floats_give_the_same() -> None:
    images, _ = drawn()
    rule = ForegroundRule(method="otsu", close=6, open=6)
    assert torch.equal(foreground(images, rule), foreground(images.float() / 255, rule))


def test_blue_channel_alone_counts_where_the_rule_says_so() -> None:
    images, body = drawn()
    images[:, :2] = 128
    rule = ForegroundRule(method="otsu", channel="blue", fill_holes=True, largest=True)
    assert np.array_equal(foreground(images, rule)[0].numpy(), body)


def test_whole_takes_every_pixel() -> None:
    assert foreground(drawn()[0], ForegroundRule()).all()


@pytest.mark.parametrize("failing", ["flat", "speck"])
def test_guard_takes_the_whole_frame_and_says_so(failing, caplog) -> None:
    good, body = drawn()
    bad = torch.full_like(good, 200)
    if failing == "speck":
        bad[..., 10:13, 10:13] = 0
    with caplog.at_level(logging.WARNING):
        masks = foreground(torch.cat((good, bad)), ForegroundRule(method="otsu", fill_holes=True, largest=True))
    assert np.array_equal(masks[0].numpy(), body)
    assert masks[1].all()
    assert "1 of 2 images" in caplog.text


@pytest.mark.parametrize("side", [2, 3, 5, 6])
def test_closing_and_opening_are_scipys_away_from_the_frame(side) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(side).standard_normal((48, 48)), 2) > 0
    noise[:12] = noise[-12:] = noise[:, :12] = noise[:, -12:] = False
    square = np.ones((side, side), dtype=bool)
    assert np.array_equal(closed(noise, side), ndimage.binary_closing(noise, square))
    assert np.array_equal(opened(noise, side), ndimage.binary_opening(noise, square))
    assert (closed(noise, side) != noise).any()


def test_object_at_the_frame_keeps_its_border() -> None:
    mask = np.zeros((32, 32), dtype=bool)
    mask[:, :10] = True
    assert np.array_equal(closed(mask, 6), mask)
    assert np.array_equal(opened(mask, 6), mask)


def test_a_shadow_is_left_out_by_three_classes() -> None:
    """Grey levels 40 object, 140 shadow, 220 background: two classes join the shadow to the object here."""
    generator = np.random.default_rng(0)
    levels = np.full((64, 64), 220)
    levels[20:50, 20:50] = 140
    levels[20:30, 20:50] = 40
    image = np.clip(levels + generator.integers(-6, 7, levels.shape), 0, 255).astype(np.uint8)
    rule = ForegroundRule(method="multi_otsu", side="dark")  # type: ignore[arg-type]
    assert np.array_equal(object_mask(image, rule), levels == 40)
    assert np.array_equal(object_mask(image, ForegroundRule(method="otsu", side="dark")), levels <= 140)


def parts(count: int = 8, *, busy: bool = False) -> tuple[torch.Tensor, np.ndarray]:
    """Dark rectangles at places of their own; `busy`: on a background with stripes and spots of their colour."""
    generator = np.random.default_rng(0)
    images, bodies = [], []
    for number in range(count):
        levels = np.full((96, 96, 3), (190, 120, 90)) + generator.integers(-8, 9, (96, 96, 3))
        if busy:
            levels[:, (8, 9, 60, 61)] = levels[:, (8, 9, 60, 61)] // 6
            for row, column in ((12, 24), (70, 80), (80, 30)):
                levels[disk((row, column), 3)] = (22, 20, 20)
        body = np.zeros((96, 96), bool)
        body[30 + number : 62 + number, 34 - number : 72 - number] = True
        levels[body] = (20, 21, 24)
        levels[44:46, 44:46] = (190, 120, 90)
        images.append(levels.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))
        bodies.append(body)
    return torch.from_numpy(np.stack(images)), np.stack(bodies)


@pytest.mark.parametrize("busy", [False, True])
def test_the_automatic_rule_finds_what_is_unlike_the_border(busy) -> None:
    images, bodies = parts(busy=busy)
    masks = foreground(images, AUTO).numpy()
    shared = (masks & bodies).sum((1, 2)) / (masks | bodies).sum((1, 2))
    assert shared.min() > (0.85 if busy else 0.999)


def stripes() -> torch.Tensor:
    images = torch.full((4, 3, 64, 64), 190, dtype=torch.uint8)
    images[..., 10:30, :] = 20
    return images


def textures() -> torch.Tensor:
    generator = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(generator.standard_normal((6, 3, 64, 64)), (0, 0, 3, 3))
    return torch.from_numpy((128 + 800 * noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("images", "why"),
    [
        (torch.full((3, 3, 64, 64), 90, dtype=torch.uint8), "covers 0.0% of the frame"),
        (textures(), "what stands out"),
        (torch.cat([parts()[0][:2], 255 - torch.zeros(4, 3, 96, 96, dtype=torch.uint8)]), "varies by"),
        (stripes(), "of the border"),
    ],
)
def test_the_automatic_rule_takes_the_frame_where_it_trusts_nothing(images, why, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assert foreground(images, AUTO).all()
    assert why in caplog.text and "the whole frame is taken" in caplog.text


def test_foregrounds_are_drawn(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    images, _ = parts()
    for number, image in enumerate(images):
        (tmp_path / "data/block/train/good").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"data/block/train/good/{number}.png")
    arguments = ["verify", str(tmp_path / "data"), "--foreground", str(tmp_path / "seen.png"), "--size", "96x96"]
    shown = CliRunner().invoke(data, arguments)
    assert "foreground of block: 13.2% of the frame, by the automatic rule" in shown.output
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == (6 * 96, 96)
    with pytest.raises(UserError, match="is there already and would be lost"):
        CliRunner().invoke(data, arguments, catch_exceptions=False)
