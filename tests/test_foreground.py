"""Foreground rules on drawn objects."""

import logging

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.draw import disk

from omnial_bench.data.catalog import ForegroundRule
from omnial_bench.synthesis.foreground import _close, _open, foreground, object_mask


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
    opened = foreground(images, ForegroundRule(method="otsu", open=12))[0]
    assert not opened[2, 2]
    assert not opened[32, 32]
    assert (opened.numpy() & body).sum() > 0.9 * bare.sum()


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
    assert np.array_equal(_close(noise, side), ndimage.binary_closing(noise, square))
    assert np.array_equal(_open(noise, side), ndimage.binary_opening(noise, square))
    assert (_close(noise, side) != noise).any()


def test_object_at_the_frame_keeps_its_border() -> None:
    mask = np.zeros((32, 32), dtype=bool)
    mask[:, :10] = True
    assert np.array_equal(_close(mask, 6), mask)
    assert np.array_equal(_open(mask, 6), mask)


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
