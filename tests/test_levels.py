"""What the levels of masks mean, on each way of drawing them that published sets have."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from small_images import noise, save

from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.levels import choose_cut, measure, together
from omnial_bench.data.verify import verify
from omnial_bench.errors import UserError

SIDE = 64
pytestmark = pytest.mark.usefixtures("own_cache")


def drawn(number: int) -> np.ndarray:
    """Where the defect of one of four images is: a disc, a thin scratch, a corner, a speck."""
    image = Image.new("1", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    shape, places = (
        (pen.ellipse, (9, 14, 30, 41)),
        (pen.line, (4, 50, 55, 20)),
        (pen.rectangle, (50, 0, 63, 12)),
        (pen.point, ((33, 21), (34, 21))),
    )[number]
    shape(places, fill=1)
    return np.asarray(image)


def noisy(truth: np.ndarray, number: int) -> np.ndarray:
    """Levels 1 to 25 within three pixels of a defect and 230 to 255 on it."""
    draw = np.random.default_rng(number)
    near = np.asarray(Image.fromarray(truth).convert("L").resize((SIDE // 4,) * 2, Image.Resampling.BOX)) > 0
    near = np.kron(near, np.ones((4, 4), bool))
    return np.where(truth, draw.integers(230, 256, truth.shape), near * draw.integers(1, 26, truth.shape))


def as_jpeg(truth: np.ndarray, number: int, white: int = 255) -> Image.Image:
    content = io.BytesIO()
    Image.fromarray(np.where(truth, white, 0).astype(np.uint8)).save(content, "JPEG", quality=(30, 75, 90, 95)[number])
    return Image.open(content)


def smaller(truth: np.ndarray, _: int) -> Image.Image:
    """Drawn at twice the size, one row and column off, and averaged."""
    large = np.roll(np.kron(truth, np.ones((2, 2))), (1, 1), (0, 1)) * 255
    return Image.fromarray(large.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX)


def painted(truth: np.ndarray, colour: tuple[int, ...]) -> Image.Image:
    return Image.fromarray((truth[..., None] * np.array(colour)).astype(np.uint8))


def indexed(truth: np.ndarray, palette: list[int], *, swapped: bool = False) -> Image.Image:
    image = Image.fromarray((truth ^ swapped).astype(np.uint8))
    image.putpalette(palette)
    return image


def layered(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([*[np.broadcast_to(colour, alpha.shape)] * 3, alpha]).astype(np.uint8))


Drawing = Callable[[np.ndarray, int], Image.Image | np.ndarray]
WAYS: dict[str, tuple[Drawing, str]] = {
    "{0, 255}": (lambda truth, _: truth * 255, "levels 0, 255: anomalous is all but 0"),
    "one bit": (lambda truth, _: Image.fromarray(truth), "levels 0, 255: anomalous is all but 0"),
    "{0, 1}": (lambda truth, _: truth * 1, "levels 0, 1, as of classes"),
    "{0, 1, 2}": (lambda truth, number: truth * (1 + number % 2), "levels 0, 1, 2, as of classes"),
    "classes 1 to 9": (lambda truth, number: truth * (9, 1, 4, 7)[number], "levels 0, 1, 4, 7, 9, as of classes"),
    "{0, 128, 255}": (lambda truth, number: truth * (128, 255)[number % 2], "levels 0, 128, 255: anomalous is all but"),
    "{0, 85, 255}": (lambda truth, number: truth * (85, 255)[number % 2], "levels 0, 85, 255, as of classes"),
    "some {0, 1}, some {0, 255}": (lambda truth, number: truth * (255, 1, 255, 1)[number], "levels 0, 1, 255, as of"),
    "one colour": (lambda truth, _: painted(truth, (200, 0, 0)), "levels 0, 200: anomalous is all but 0"),
    "alpha is opaque": (
        lambda truth, _: layered(truth * 255, np.full(truth.shape, 255)), "levels 0, 255: anomalous is all but 0",
    ),
    "palette": (lambda truth, _: indexed(truth, [0, 0, 0, 64, 0, 0]), "levels 0, 255: anomalous is all but 0"),
    "palette, white first": (
        lambda truth, _: indexed(truth, [255, 255, 255, 0, 0, 0], swapped=True), "levels 0, 255: anomalous is all but",
    ),
    "palette that only numbers": (lambda truth, _: indexed(truth, [0] * 768), "levels 0, 1, as of classes"),
    "16 bits, white": (lambda truth, _: truth * np.uint16(65535), "levels 0, 255: anomalous is all but 0"),
    "16 bits, classes": (lambda truth, n: (truth * (n + 1)).astype(np.uint16), "levels 0, 1, 2, 3, 4, as of classes"),
    "floating point": (lambda truth, _: Image.fromarray(truth.astype(np.float32)), "levels 0, 255: anomalous is"),
    "noise of 1 to 25 and 230 to 255": (noisy, "cut at 128: 4 of 4 files hold grey edges"),
    "JPEG": (as_jpeg, "cut at 128: 4 of 4 files hold grey edges"),
}  # fmt: skip


def bolts(root: Path, draw: Drawing, suffix: str = ".png") -> Path:
    """Plain folders of four anomalous images whose masks are drawn one way, and normal ones."""
    for number in range(4):
        normal, anomalous = noise(number, 2, SIDE, SIDE, 3)
        save(root / f"bolt/ok/{number}.png", normal)
        save(root / f"bolt/burr/{number}.png", anomalous)
        mask = draw(drawn(number), number)
        if not isinstance(mask, Image.Image) and mask.dtype != np.uint16:
            mask = mask.astype(np.uint8)
        save(root / f"bolt/burr/{number}_mask{suffix}", mask, quality=95)
    return root


@pytest.mark.parametrize("name", WAYS)
def test_every_way_of_drawing_is_read_as_it_was_meant(tmp_path: Path, name: str) -> None:
    draw, words = WAYS[name]
    root = bolts(tmp_path, draw, {"floating point": ".tif", "JPEG": ".jpg"}.get(name, ".png"))
    masks = find_dataset(root).load("test", None, (SIDE, SIDE)).masks
    for number in range(4):
        assert np.array_equal(masks[number].numpy(), drawn(number)), number
    (count,) = verify(root).counts
    assert count.masks.startswith(words)


def test_masks_that_a_filter_made_smaller_are_cut_where_half_is_marked(tmp_path: Path) -> None:
    masks = find_dataset(bolts(tmp_path, smaller)).load("test", None, (SIDE, SIDE)).masks
    levels = np.asarray(smaller(drawn(0), 0))
    assert masks[0].sum() == (levels > 127).sum() < (levels > 0).sum()


@pytest.mark.parametrize(
    ("draw", "suffix", "message"),
    [
        (
            lambda truth, n: truth * (2 + n),
            ".jpg",
            "levels 0, 1, 2, .* in . JPEG files, which smear the numbers of cla",
        ),
        (lambda truth, n: as_jpeg(truth, 0, (90, 250, 90, 255)[n]), ".png", "grey levels from 1 to 255, which are nei"),
        (lambda truth, _: ~truth * 255, ".png", "3 of 4 masks mark the frame .* invert them"),
        (lambda truth, _: ~truth * 1, ".png", "as inverted ones do; invert them"),
        (lambda _, n: noise(n, SIDE, SIDE), ".png", "255 grey levels from 1 to 255, which are neither classes nor"),
        (
            lambda truth, _: layered(np.uint8(255), truth * 200),
            ".png",
            "mask .*_mask.png has one colour, and its marks",
        ),
        (
            lambda truth, _: Image.fromarray(truth * np.float32("nan")),
            ".tif",
            "cannot use mask .*its values go from nan",
        ),
    ],
)
def test_what_cannot_be_the_truth_is_refused(tmp_path: Path, draw: Drawing, suffix: str, message: str) -> None:
    root = bolts(tmp_path, draw, suffix)
    with pytest.raises(UserError, match=message) as raised:
        find_dataset(root).load("test", None, (SIDE, SIDE))
    assert "\n" not in str(raised.value)
    assert verify(root).problems


def test_one_file_does_not_decide() -> None:
    """A file of edges alone, as where a defect is far out of focus, is empty where the others tell that these are."""
    faint = measure(np.where(drawn(3), 14, 0).astype(np.uint8))
    sharp = [measure(noisy(drawn(number % 3), number).astype(np.uint8)) for number in range(12)]
    assert choose_cut(faint).above == 0 and choose_cut(together([faint, *sharp])).above == 127
    assert choose_cut(together([faint, faint, *sharp])).wrong
