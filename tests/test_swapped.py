"""Masks under the names of other images: named where the images show it, and not a word where they do not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnial_bench.data.verify import verify

SIDE, COUNT = 96, 8


def disc(at: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - 20 - 8 * (at % 3) ** 2) ** 2 + (columns - 14 - 9 * at) ** 2 < 60


def plates(root: Path, masks: list[int], *, visible: bool = True) -> Path:
    """One part in different light, with a disc that is brighter; `masks` are in the order of the images."""
    generator = np.random.default_rng(0)
    part = generator.integers(40, 180, (SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1)
    places = [f"train/good/{n}" for n in range(20)] + [f"test/good/{n}" for n in range(5)]
    for place in places + [f"test/spot/{n}" for n in range(COUNT)]:
        pixels = generator.uniform(0.9, 1) * part + generator.normal(0, 4, part.shape)
        if "spot" in place and visible:
            pixels += 60 * disc(int(place.rpartition("/")[2]))
        save(root / f"plate/{place}.png", pixels.clip(0, 255))
    for number, mask in enumerate(masks):
        save(root / f"plate/ground_truth/spot/{number}_mask.png", 255 * disc(mask))
    return root


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("masks", "visible", "named"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], True, {}),
        ([0, 1, 5, 3, 4, 2, 6, 7], True, {2: 5, 5: 2}),
        ([1, 2, 3, 4, 5, 6, 7, 0], True, {0: 7, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}),
        ([0, 1, 5, 3, 4, 2, 6, 7], False, {}),
    ],
    ids=["right", "two swapped", "each the next one's", "defects that do not show"],
)  # fmt: skip
def test_masks_of_other_images_are_named(
    tmp_path: Path, masks: list[int], visible: bool, named: dict[int, int]
) -> None:
    found = verify(plates(tmp_path, masks, visible=visible), size=(48, 48))
    place = "plate/ground_truth/spot/{}_mask.png".format
    what = {place(own): f"where {place(fits)} marks, and not where it does" for own, fits in named.items()}
    assert not found.problems and {one.path for one in found.warnings} == set(what)
    assert all(one.what.endswith(what[one.path]) for one in found.warnings)
