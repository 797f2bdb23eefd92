"""A small good folder, damaged in one way that hypothesis draws: the file is named, or the truth is read as drawn."""

import io
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from PIL import Image, ImageFilter

from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.verify import verify
from omnial_bench.errors import UserError

# Hypothesis keeps tables of its own even without a database: not in the tree.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "omnial-bench-hypothesis")

SIZE = HEIGHT, WIDTH = 40, 48
IMAGES = [
    *(f"train/good/{number}.png" for number in range(4)),
    *(f"test/{kind}/{n}.png" for kind in ("good", "cut") for n in range(2)),
]
MASKS = [f"ground_truth/cut/{number}_mask.png" for number in range(2)]
Damage = Callable[[Path], set[str]]
"""What is done to a category; the paths by one of which it may be named."""
Truth = dict[str, tuple[bytes, bytes]]


def saved(path: Path, image: Image.Image, form: str = "PNG", **given: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, form, **given)  # type: ignore[arg-type]


def draw(category: Path) -> None:
    for number, name in enumerate(IMAGES):
        noise = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        saved(category / name, Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1)))
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    for number, name in enumerate(MASKS):
        disc = (rows - 14 - 3 * number) ** 2 + (columns - 24) ** 2 < 60
        saved(category / name, Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)))


def redrawn(name: str, change: Callable[[Image.Image], Image.Image], form: str = "PNG", **given: object) -> Damage:
    def damage(category: Path) -> set[str]:
        saved(category / name, change(Image.open(category / name)), form, **given)
        return {name, ""}

    return damage


def painted(levels: tuple[int, int], mode: str, colours: tuple[int, ...]) -> Callable[[Image.Image], Image.Image]:
    """A mask in two levels and in a mode; a palette paints them in two colours."""

    def change(mask: Image.Image) -> Image.Image:
        marked = np.asarray(mask) > 0
        if mode == "I;16":
            return Image.fromarray(np.where(marked, *(257 * level for level in levels[::-1])).astype(np.uint16))
        image = Image.fromarray(np.where(marked, levels[1], levels[0]).astype(np.uint8))
        if mode == "P":
            image = Image.fromarray(marked.astype(np.uint8))
            image.putpalette(colours)
        elif mode == "alpha":
            image = Image.merge("LA", (Image.new("L", mask.size, levels[0]), image))
        return image if mode in ("P", "alpha") else image.convert(mode, dither=Image.Dither.NONE)

    return change


def replaced(name: str, content: bytes) -> Damage:
    def damage(category: Path) -> set[str]:
        (category / name).write_bytes(content)
        return {name}

    return damage


def cut(name: str, share: float) -> Damage:
    def damage(category: Path) -> set[str]:
        content = (category / name).read_bytes()
        return replaced(name, content[: int(share * len(content))])(category)

    return damage


def moved(name: str, to: str) -> Damage:
    def damage(category: Path) -> set[str]:
        (category / to).parent.mkdir(parents=True, exist_ok=True)
        (category / name).rename(category / to)
        return {name, to, to.rpartition("/")[0]}

    return damage


def copied(name: str, to: str, change: Callable[[Image.Image], Image.Image], quality: int) -> Damage:
    """An image once more, turned and recompressed; a quality of 100 and more leaves it as it is."""

    def damage(category: Path) -> set[str]:
        content = io.BytesIO()
        form = {"format": "JPEG", "quality": quality, "subsampling": 0} if quality < 100 else {"format": "PNG"}
        change(Image.open(category / name)).save(content, **form)  # type: ignore[arg-type]
        (category / to).write_bytes(content.getvalue())
        return {name, to}

    return damage


level = st.integers(0, 255)
masks, images = st.sampled_from(MASKS), st.sampled_from(IMAGES)
painting = st.builds(
    painted, st.tuples(st.just(0) | level, level), st.sampled_from(["L", "RGB", "1", "P", "I;16", "alpha"]),
    st.tuples(*[level] * 6) | st.tuples(*[st.just(0)] * 3, *[level] * 3),
)  # fmt: skip
turning = st.sampled_from([None, *Image.Transpose]).map(
    lambda turn: lambda image: image if turn is None else image.transpose(turn)
)
tag = st.integers(2, 8).map(lambda orientation: {0x0112: orientation})


def tagged(orientation: dict[int, int]) -> Image.Exif:
    exif = Image.Exif()
    exif.update(orientation)
    return exif


PLACES = ["train/good/a/0.png", "test/Cut/7.PNG", "masks/0.png", "0.png", "ground_truth/cut/5.png", "test/good/x.gif"]
sizes = st.tuples(*[st.integers(1, 96)] * 2).map(lambda size: lambda mask: mask.resize(size))
cuts = st.integers(0, 256).map(lambda at: lambda mask: mask.point(lambda value: 255 if value >= at else 0))
damages: st.SearchStrategy[Damage] = st.one_of(
    st.builds(redrawn, masks, painting | sizes | cuts),
    st.builds(redrawn, masks, turning, exif=tag.map(tagged)),
    st.builds(cut, images | masks, st.floats(0, 1)),
    st.builds(replaced, images | masks, st.binary(max_size=64)),
    st.builds(moved, images | masks, st.sampled_from(PLACES)),
    st.builds(
        copied, st.sampled_from(IMAGES[:4]), st.sampled_from(["test/good/9.png", "test/cut/9.png"]),
        turning, st.integers(85, 115),
    ),
)  # fmt: skip


def truth(root: Path) -> Truth | None:
    """Pixels and mask of each test image, None where they are refused."""
    try:
        loaded = [find_dataset(root).load(split, None, SIZE) for split in ("train", "test")]
    except UserError:
        return None
    return {
        name: (image.numpy().tobytes(), mask.numpy().tobytes())
        for part in loaded
        for name, image, mask in zip(part.ids, part.images, part.masks, strict=True)
    }


@pytest.mark.parametrize("examples", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_one_damage_is_named_or_leaves_the_truth_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    draw(tmp_path / "good/nut")
    before = truth(tmp_path / "good")
    told_of_good = {(one.path, one.what) for one in verify(tmp_path / "good", size=SIZE).warnings}

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @given(damages)
    def holds(damage: Damage) -> None:
        root = tmp_path / "data"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tmp_path / "good", root)
        places = {os.path.normpath(f"nut/{place}") for place in damage(root / "nut")}
        found = verify(root, size=SIZE)
        fresh = {(one.path, one.what) for one in found.problems + found.warnings} - told_of_good
        # What is not read is told by the first file of its folder and a number.
        named = {place for path, _ in fresh for place in (path, os.path.dirname(path))}  # noqa: PTH120
        after = truth(root)
        assert after == before or places & named, (places, fresh)
        # What is refused is a problem, and what is none is not refused.
        assert after is not None or found.problems

    holds()
