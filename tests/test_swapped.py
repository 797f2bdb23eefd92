"""Masks under other images' names, or all laid wrong: named where the images show it, and no word where they do not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from small_images import save

from omnial_bench.data.verify import verify

SIDE = 96


def spot(at: int) -> np.ndarray:
    """One of fifteen places, none of which lies on another, or where another's mask turned or mirrored does."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - 12 - 14 * (at % 5)) ** 2 + (columns - 16 - 11 * (at // 5) - 3 * (at % 5)) ** 2 < 48


def plates(
    root: Path, masks: Sequence[int], visible: bool, laid: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> Path:
    """One part in different light, with a spot that is brighter; `masks` are in the order of the images, each as `laid`
    lays it."""
    generator = np.random.default_rng(0)
    part = generator.integers(40, 180, (SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1)
    places = [f"train/good/{n}" for n in range(20)] + [f"test/good/{n}" for n in range(5)]
    for place in places + [f"test/spot/{n}" for n in range(len(masks))]:
        pixels = generator.uniform(0.9, 1) * part + generator.normal(0, 4, part.shape)
        if "spot" in place and visible:
            pixels += 60 * spot(int(place.rpartition("/")[2]))
        save(root / f"plate/{place}.png", pixels.clip(0, 255).astype(np.uint8))
    for number, mask in enumerate(masks):
        save(root / f"plate/ground_truth/spot/{number}_mask.png", laid(spot(mask)))
    return root


@pytest.mark.parametrize(
    ("masks", "visible", "named"),
    [
        (range(15), True, {}),
        ([0, 1, 5, 3, 4, 2, 6, 7], True, {2: 5, 5: 2}),
        ([1, 2, 3, 4, 5, 6, 7, 0], True, {0: 7, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}),
        ([0, 1, 5, 3, 4, 2, 6, 7], False, {}),
    ],
    ids=["right", "two swapped", "each the next one's", "defects that do not show"],
)  # fmt: skip
def test_masks_of_other_images_are_named(
    tmp_path: Path, masks: Sequence[int], visible: bool, named: dict[int, int]
) -> None:
    found = verify(plates(tmp_path, masks, visible), size=(48, 48))
    place = "plate/ground_truth/spot/{}_mask.png".format
    what = {place(own): f"where {place(fits)} marks, and not where it does" for own, fits in named.items()}
    assert not found.problems and {one.path for one in found.warnings} == set(what)
    assert all(one.what.endswith(what[one.path]) for one in found.warnings)


LAID = {
    "mirrored left to right": np.fliplr,
    "mirrored top to bottom": np.flipud,
    "turned by half": lambda mask: mask[::-1, ::-1],
    "turned by a quarter to the left": lambda mask: np.rot90(mask, 3),
    "moved left by 19% of the image": lambda mask: np.roll(mask, 18, 1),
    "moved down by 9% of the image": lambda mask: np.roll(mask, -9, 0),
}


@pytest.mark.parametrize("better", LAID)
@pytest.mark.parametrize("visible", [True, False])
def test_masks_that_are_all_laid_wrong_are_told(tmp_path: Path, better: str, visible: bool) -> None:
    found = verify(plates(tmp_path, range(15), visible, LAID[better]), size=(48, 48))
    told = [(one.path, one.what.split(" images ")[1]) for one in found.warnings if "would fit" in one.what]
    assert told == [("plate", f"better if they were {better}")] * visible
