"""Damaged copies of good data: each is found, with its file, a number, and what to do."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from small_images import save

from omnial_bench.data import decode
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.duplicates import pairs_alike, turned_alike
from omnial_bench.data.verify import Verification, verify
from omnial_bench.errors import UserError

HEIGHT, WIDTH = 72, 96


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH, 3))
    return np.clip(128 + 90 * ndimage.gaussian_filter(noise, (1, 1, 0)) * 4, 0, 255).astype(np.uint8)


def disc(at: int, radius: int = 10) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return np.where((rows - 30) ** 2 + (columns - 20 - 5 * at) ** 2 < radius**2, 255, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good") / "data"
    for number in range(20):
        save(root / f"nut/train/good/{number:02d}.png", texture(number))
    for number in range(5):
        save(root / f"nut/test/good/{number}.png", texture(100 + number))
        save(root / f"nut/test/cut/{number}.png", texture(200 + number))
        save(root / f"nut/ground_truth/cut/{number}_mask.png", disc(number))
    return root


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "data")
    return tmp_path / "data/nut"


Damage = Callable[[Path], object]
MASK = "ground_truth/cut/2_mask.png"
IMAGE = "test/cut/2.png"


def mask(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda nut: save(nut / MASK, change(disc(2)))


def every_mask(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(nut: Path) -> None:
        for number in range(5):
            save(nut / f"ground_truth/cut/{number}_mask.png", change(disc(number)))

    return damage


def turned(path: str, pixels: np.ndarray) -> Damage:
    exif = Image.Exif()
    exif[0x0112] = 3
    return lambda nut: save(nut / path, pixels, exif=exif)


def copied(of: str, to: str) -> Damage:
    def damage(nut: Path) -> None:
        (nut / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(nut / of, nut / to)

    return damage


def mirrored_category(nut: Path, name: str) -> None:
    shutil.copytree(nut, nut.parent / name)
    for path in (nut.parent / name).glob("t*/*/*"):
        save(path, np.asarray(Image.open(path))[:, ::-1])


def cut_off(path: str) -> Damage:
    return lambda nut: (nut / path).write_bytes((nut / path).read_bytes()[:-400])


def lose(*names: str) -> Damage:
    def damage(nut: Path) -> None:
        for name in names:
            (nut / name).unlink()

    return damage


DAMAGES: dict[str, tuple[Damage, bool, str, str]] = {
    "a black mask": (mask(np.zeros_like), False, MASK, "marks nothing"),
    "a white mask": (mask(lambda mask: np.full_like(mask, 255)), False, MASK, "marks 100% of the image"),
    "an inverted mask": (mask(lambda mask: 255 - mask), True, MASK, "marks 9[0-9]% of the image and its frame, as an"),
    "all masks inverted": (every_mask(lambda mask: 255 - mask), True, "", "5 of 5 masks mark the frame"),
    "a mask in alpha": (
        mask(lambda mask: np.dstack([mask * 0] * 3 + [mask])), True, MASK, "its marks in the alpha channel",
    ),
    "a mask that is turned by its tag": (turned(MASK, disc(2)), True, MASK, "mask: its EXIF says orientation 3"),
    "a mask without black": (mask(lambda mask: mask // 2 + 50), True, MASK, "no pixel of 0"),
    "a mask of colours alone": (mask(lambda mask: np.dstack([mask, 255 - mask, mask])), True, MASK, "no pixel of 0"),
    "a second mask": (copied(MASK, "ground_truth/cut/2.png"), True, "ground_truth/cut/2.png", "mask without an image"),
    "masks in another folder": (
        lambda nut: (nut / "ground_truth").rename(nut / "Masks"), True, "Masks/cut/0_mask.png",
        "mask without an image, as are 4 more in its folder",
    ),
    "a mask among the images": (
        copied(MASK, "test/cut/2_mask.png"), True, "test/cut/2_mask.png", "has 4 colours at most, as a mask has",
    ),
    "a photograph for a mask": (mask(lambda _: texture(5)), True, MASK, "grey levels"),
    "a mask of another size": (mask(lambda mask: mask[:50]), True, MASK, "mask is 96x50, expected its image's 96x72"),
    "a mask of the turned view": (mask(np.rot90), True, MASK, "mask is 72x96.* as a viewer turns it"),
    "an image that is turned by its tag": (turned(IMAGE, texture(202)), True, IMAGE, "EXIF says orientation 3"),
    "a defect of one pixel": (
        mask(lambda _: disc(2, radius=1)), False, MASK, "marks 0.0145% of the image, of which at 32x32 nothing",
    ),
    "a mask of another image": (copied("ground_truth/cut/1_mask.png", MASK), False, MASK, "same as .*/1_mask.png"),
    "a mask that is lost": (lose(MASK), True, IMAGE, "no mask in ground_truth/cut"),
    "an image that is lost": (lose(IMAGE), True, MASK, "mask without an image"),
    "an image that is cut off": (cut_off(IMAGE), True, IMAGE, "cannot decode"),
    "a training image in the test": (
        copied("train/good/07.png", "test/good/9.png"), True, "test/good/9.png", "same as .*/07.png, which is trained",
    ),
    "nearly a training image": (
        lambda nut: save(nut / "test/good/9.jpg", texture(7), quality=95, subsampling=0), False, "test/good/9.jpg",
        r"alike to 0\.999\d with .*/07.png, which",
    ),
    "a training image mirrored": (
        lambda nut: save(nut / "test/good/4.png", texture(7)[:, ::-1]), False, "test/good/4.png",
        r"turned or mirrored alike to 0\.999\d with nut/train/good/07.png, which is trained on",
    ),
    "an image of another category": (
        lambda nut: mirrored_category(nut, "bolt") or copied("train/good/07.png", "../bolt/test/good/0.png")(nut), True,
        "train/good/07.png", "the same as bolt/test/good/0.png",
    ),
    "a defect among the normals": (copied(IMAGE, "test/good/9.png"), True, "test/good/9.png", "2.png, which is cut"),
    "a training image twice": (copied("train/good/07.png", "train/good/a.png"), False, "train/good/a.png", "the same"),
    "an image of another size": (
        lambda nut: save(nut / "train/good/07.png", texture(7)[:60]), False, "train/good/07.png",
        "pixels 96x60, unlike 29 of 30 images, 96x72",
    ),
    "a grey image": (
        lambda nut: save(nut / "train/good/07.png", texture(7)[..., 0]), False, "train/good/07.png", "mode L, unlike",
    ),
    "an image of one level": (
        lambda nut: save(nut / "train/good/07.png", np.full((HEIGHT, WIDTH, 3), 9, np.uint8)), False,
        "train/good/07.png", "every pixel has level 9",
    ),
    "normal test images in another format": (
        lambda nut: [save(nut / f"test/good/{n}.bmp", texture(100 + n)) for n in range(5)]
        and lose(*(f"test/good/{n}.png" for n in range(5)))(nut), False, "", "format BMP of normal .* PNG of others",
    ),
    "twelve bits in sixteen": (
        lambda nut: [save(path, texture(n)[..., 0].astype(np.uint16) * 16) for n, path in enumerate(nut.glob("t*/*/*"))]
       , False, "", "brightest of its images has level 16 of 255",
    ),
    "normal images called ok": (
        lambda nut: save(nut / "test/ok/0.png", texture(9)) or save(nut / "ground_truth/ok/0.png", disc(9)), True, "",
        "'ok', a name of normal images, is read as a defect",
    ),
    "a mask that marks a normal image": (
        copied(MASK, "ground_truth/good/0_mask.png"), False, "ground_truth/good/0_mask.png", "and its image is normal",
    ),
    "an image that ends too early": (
        lambda nut: save(nut / IMAGE, texture(202) * (np.arange(HEIGHT) < 40)[:, None, None].astype(np.uint8)), False,
        IMAGE, "black from edge to edge",
    ),
    "normal test images in less light": (
        lambda nut: [save(nut / f"test/good/{n}.png", texture(100 + n) // 2) for n in range(5)], False, "",
        "mean of red .* in all normal test images, .* in training images",
    ),
    "images in a deeper folder": (
        copied(IMAGE, "train/good/day 2/07.PNG"), False, "train/good/day 2/07.PNG", "not read; see docs/layouts.md",
    ),
    "an empty folder": (lambda nut: (nut / "test/burr").mkdir(), False, "test/burr", "holds nothing"),
    "few training images": (
        lose(*(f"train/good/{number:02d}.png" for number in range(4, 20))), False, "train/good", "only 4 training",
    ),
    "no normal test image": (
        lose(*(f"test/good/{number}.png" for number in range(5))), True, "test/good", "no normal test images",
    ),
}  # fmt: skip


def look(nut: Path) -> Verification:
    return verify(nut.parent, size=(32, 32))


def test_good_data_has_neither_problems_nor_warnings(copy: Path) -> None:
    # Masks of normal images are there in some copies of data sets.
    save(copy / "ground_truth/good/0_mask.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    found = look(copy)
    assert (found.problems, found.warnings, found.images) == ((), (), 30)


@pytest.mark.parametrize(("damage", "wrong", "path", "what"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_with_its_file_and_what_to_do(
    copy: Path, damage: Damage, wrong: bool, path: str, what: str
) -> None:
    damage(copy)
    found = look(copy)
    mine = found.problems if wrong else found.warnings
    assert found.problems if wrong else not found.problems
    place = f"nut/{path}".rstrip("/")
    (problem,) = [one for one in mine if one.path == place and re.search(what, f"{one.what}; {one.remedy}")]
    assert problem.remedy and "\n" not in problem.what
    assert len(found.problems) + len(found.warnings) <= 3


def test_pairs_beyond_those_that_are_all_compared_are_found_where_they_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signatures = [np.random.default_rng(seed % 6).integers(0, 256, 64 * 64, np.uint8).tobytes() for seed in range(8)]
    assert pairs_alike(signatures) == [(0, 6, 1.0), (1, 7, 1.0)]
    monkeypatch.setattr("omnial_bench.data.duplicates.MOST", 4)
    assert pairs_alike(signatures) == [(0, 6, 1.0), (1, 7, 1.0)]
    assert pairs_alike([b"", b""]) == []


def test_an_image_is_known_however_it_is_turned_or_mirrored() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 64, 64), np.uint8)
    turned = [np.rot90(images[turn][:, ::-1] if turn >= 4 else images[turn], turn) for turn in range(8)]
    signatures = [image.tobytes() for image in (*images, *turned)]
    pairs = turned_alike(signatures, range(9), range(9, 17))
    # Turned by nothing it is the same image, which `pairs_alike` finds.
    assert [pair[:2] for pair in pairs] == [(turn, 9 + turn) for turn in range(1, 8)]
    assert pairs_alike(signatures) == [(0, 9, 1.0)]


def test_what_verify_decodes_is_kept_for_runs_and_what_it_cannot_is_not(
    copy: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_mask(lambda mask: np.where(mask > 0, 240, np.roll(mask, 4, 1) // 28).astype(np.uint8))(copy)
    before = find_dataset(copy.parent).load("test", None, (24, 24))
    shutil.rmtree(own_cache)
    look(copy)
    verify(copy.parent, size=(24, 24))
    with monkeypatch.context() as patch:
        patch.setattr(decode, "open_image", lambda *_: pytest.fail("decoded again"))
        after = find_dataset(copy.parent).load("test", None, (24, 24))
        find_dataset(copy.parent).load("train", None, (32, 32))
    assert torch.equal(before.images, after.images) and torch.equal(before.masks, after.masks)
    cut_off(IMAGE)(copy)
    verify(copy.parent, size=(24, 24))
    with pytest.raises(UserError, match="cannot decode"):
        find_dataset(copy.parent).load("test", None, (24, 24))
