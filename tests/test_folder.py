import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_images import noise, save

from omnial_bench.data import cache, decode
from omnial_bench.data.dataset import find_dataset, scan
from omnial_bench.errors import UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def square(side: int = 8) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[:4, :4] = 255
    return mask


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    root = tmp_path / "mvtec"
    for number, category in enumerate(("bottle", "grid")):
        for index in range(3):
            save(root / category / f"train/good/{index:03d}.png", noise(10 * number + index, 8, 8, 3))
        save(root / category / "test/good/000.png", noise(50 + number, 8, 8, 3))
        save(root / category / "test/cut/000.png", noise(60 + number, 8, 8))
        save(root / category / "ground_truth/cut/000_mask.png", square())
    (root / "readme.txt").write_text("not a category")
    return root


def test_mvtec_layout_gives_images_masks_and_names_and_what_lies_beside_is_none(mvtec: Path) -> None:
    dataset = find_dataset(mvtec)
    assert (dataset.name, dataset.layout, dataset.categories) == ("mvtec_ad", "mvtec", ("bottle", "grid"))
    assert dataset.counts()["grid"] == {"train": {"good": 3}, "test": {"cut": 1, "good": 1}}
    test = dataset.load("test", None, (8, 8))
    assert test.ids == ("bottle/test/cut/000", "bottle/test/good/000", "grid/test/cut/000", "grid/test/good/000")
    assert test.masks.sum((1, 2)).tolist() == [16, 0, 16, 0] and test.masks[0, :4, :4].all()
    train = dataset.load("train", ["bottle"], (8, 8))
    assert train.defects == ("good",) * 3 and not train.masks.any()
    # An image of the network's size passes through to the bit.
    assert np.array_equal(train.images[1].permute(1, 2, 0).numpy(), noise(1, 8, 8, 3))
    with pytest.raises(UserError, match="is not a folder"):
        find_dataset(mvtec / "readme.txt")


def test_non_square_size_and_area_averaging_downscale(mvtec: Path) -> None:
    test = find_dataset(mvtec).load("test", ["bottle"], (2, 4))
    assert test.images.shape == (2, 3, 2, 4)
    assert test.masks[0].tolist() == [[True, True, False, False], [False] * 4]


def test_masks_are_cut_at_half_of_a_pixel() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True  # half of the upper left pixel
    mask[2, 2] = True  # a quarter of the lower right one
    assert decode.shrink_mask(mask, (2, 2)).tolist() == [[True, False], [False, False]]
    thirds = np.zeros((3, 3), bool)
    thirds[:, 0] = True  # two thirds of the left column, none of the right
    assert decode.shrink_mask(thirds, (2, 2)).tolist() == [[True, False], [True, False]]


def test_every_kind_of_pixel_becomes_rgb_bytes(tmp_path: Path) -> None:
    grey, rgb = noise(0, 6, 5), noise(1, 6, 5, 3)
    three = np.stack([grey] * 3, -1)
    palette = Image.fromarray(grey % 4)
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]])
    cases = {
        "grey.png": (Image.fromarray(grey), three),
        "rgba.png": (Image.fromarray(np.concatenate([rgb, grey[..., None]], -1)), rgb),
        "16.png": (Image.fromarray(grey.astype(np.uint16) * 257), three),
        "16.tif": (Image.fromarray(grey.astype(np.uint16) * 257), three),
        "32.tif": (Image.fromarray(grey.astype(np.int32) * 257), three),
        "one.png": (Image.fromarray(grey > 127), np.where(three > 127, 255, 0)),
        "palette.png": (palette, colours[grey % 4]),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        pixels, size = decode.read_image(tmp_path / name)
        assert size == (6, 5) and pixels.dtype == np.uint8, name
        assert np.array_equal(pixels, expected), name


def test_images_that_cannot_be_used_are_named(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = mvtec / "grid/train/good/001.png"
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot decode .*grid/train/good/001\.png"):
        find_dataset(mvtec).load("train", None, (8, 8))
    victim.write_text("not an image")
    with pytest.raises(UserError, match=r"cannot decode .*001\.png: it is in no known image format"):
        find_dataset(mvtec).load("train", None, (8, 8))
    with pytest.raises(UserError, match="floating point"):
        decode.read_image(save(tmp_path / "float.tif", np.zeros((4, 4), np.float32)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UserError, match="more than 50 pixels"):
        decode.read_image(mvtec / "bottle/train/good/000.png")


def test_masks_that_do_not_fit_are_named(mvtec: Path) -> None:
    mask = mvtec / "grid/ground_truth/cut/000_mask.png"
    save(mask, square(9))
    with pytest.raises(UserError, match=r"000_mask\.png is 9x9, expected its image's 8x8"):
        find_dataset(mvtec).load("test", None, (8, 8))
    mask.unlink()
    with pytest.raises(UserError, match=r"no mask for .*grid/test/cut/000\.png"):
        find_dataset(mvtec)
    assert len(scan(mvtec).samples) == 10
    assert find_dataset(mvtec, ["bottle"]).load("test", None, (8, 8)).masks.any()


def test_labels_come_from_the_folder_and_not_from_the_mask(mvtec: Path) -> None:
    save(mvtec / "grid/ground_truth/cut/000_mask.png", np.zeros((8, 8), np.uint8))
    test = find_dataset(mvtec).load("test", ["grid"], (8, 8))
    assert test.batch([0, 1]).anomalous.tolist() == [True, False] and not test.masks.any()


def test_a_category_without_anomalies_or_without_training_images(mvtec: Path) -> None:
    shutil.rmtree(mvtec / "grid/test/cut")
    shutil.rmtree(mvtec / "bottle/train")
    dataset = find_dataset(mvtec)
    assert dataset.load("test", ["grid"], (8, 8)).defects == ("good",)
    with pytest.raises(UserError, match="category 'bottle' has no train images"):
        dataset.load("train", None, (8, 8))


@pytest.mark.parametrize(
    "name", [b"bottle/train/good/\xff.png", b"bottle/test/a\x1b[2J/1.png", b"g\nrid/test/good/1.png"]
)
def test_names_that_cannot_be_printed_are_refused(mvtec: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(mvtec) + b"/" + name))
    save(path, noise(1, 8, 8, 3))
    with pytest.raises(UserError, match="its name holds characters that cannot be printed") as caught:
        find_dataset(mvtec)
    assert str(caught.value).isprintable()


def test_names_of_any_script_are_read(mvtec: Path) -> None:
    name = "格子\u3000e\u0301 می\u200cشود \U0001f468\u200d\U0001f52c\ufe0f\u00ad\uf03a"
    (mvtec / "grid").rename(mvtec / name)
    assert find_dataset(mvtec).categories == ("bottle", name)


def test_two_images_of_one_name_are_refused(mvtec: Path) -> None:
    save(mvtec / "grid/train/good/000.bmp", noise(0, 8, 8))
    with pytest.raises(UserError, match="two images have one name"):
        find_dataset(mvtec)


def test_fingerprint_follows_the_bytes_and_not_the_place(mvtec: Path, tmp_path: Path) -> None:
    first = find_dataset(mvtec).fingerprint
    shutil.copytree(mvtec, tmp_path / "copy")
    assert find_dataset(tmp_path / "copy").fingerprint == first
    assert find_dataset(mvtec, ["grid"]).fingerprint != first
    save(mvtec / "grid/ground_truth/cut/000_mask.png", 255 - square())
    assert find_dataset(mvtec).fingerprint != first


def test_images_are_decoded_once_and_again_after_a_change(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find_dataset(mvtec).load("test", None, (8, 8))
    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_image", lambda *_: pytest.fail("decoded again"))
        second = find_dataset(mvtec).load("test", None, (8, 8))
    assert torch.equal(first.images, second.images) and torch.equal(first.masks, second.masks)
    changed = save(mvtec / "bottle/test/good/000.png", noise(99, 8, 8, 3))
    third = find_dataset(mvtec).load("test", None, (8, 8)).images
    assert np.array_equal(third[1].permute(1, 2, 0).numpy(), np.asarray(Image.open(changed)))


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_cache_is_made_again(mvtec: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = find_dataset(mvtec).load("train", ["grid"], (8, 8)).images.clone()
    (kept,) = cache.cache_folder().glob("grid-train-8x8-*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 255
    kept.unlink()
    kept.write_bytes(content if damage == "flip" else content[:-50])
    with caplog.at_level(logging.WARNING):
        again = find_dataset(mvtec).load("train", ["grid"], (8, 8)).images
    assert torch.equal(first, again) and "is damaged" in caplog.text
    assert kept.with_name(f"{kept.name}.damaged").is_file()
    caplog.clear()
    find_dataset(mvtec).load("train", ["grid"], (8, 8))
    assert not caplog.text


def test_a_damaged_fingerprint_is_made_again(mvtec: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = find_dataset(mvtec).fingerprint
    kept = sorted(cache.cache_folder().glob("*-hashes-*.json"))[0]
    digest = next(iter(json.loads(json.loads(kept.read_text())["text"]).values()))
    for text in (kept.read_text().replace(digest, "0" * 64), "{}", "[", ""):
        kept.write_text(text)
        caplog.clear()
        assert find_dataset(mvtec).fingerprint == first
        assert "is damaged" in caplog.text


def test_a_cache_folder_that_cannot_be_written_costs_a_warning(
    mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "file" / "cache"))
    dataset = find_dataset(mvtec)
    with caplog.at_level(logging.WARNING):
        assert len(dataset.load("train", None, (8, 8))) == 6
        assert len(dataset.fingerprint) == 64
    assert "is not kept" in caplog.text
