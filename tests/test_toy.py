import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import contents
from skimage.filters import threshold_otsu

from omnial_bench.data.catalog import TOY
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.decode import open_image
from omnial_bench.data.toy.canvas import Canvas
from omnial_bench.data.toy.make import SUBJECTS, draw_image, draw_toy
from omnial_bench.errors import UserError

SMALL = Canvas(32, 2)
CASES = [(category, defect) for category, subject in SUBJECTS.items() for defect in subject.defects]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "toy"
    draw_toy(root, size=32, train=2, test_good=1, test_defect=2)
    return root


@pytest.mark.usefixtures("own_cache")
def test_the_folder_is_a_sound_data_set_of_four_categories_one_of_them_grey(toy: Path) -> None:
    dataset = find_dataset(toy)
    assert (dataset.name, dataset.layout, set(dataset.categories)) == ("toy", "mvtec", set(TOY.categories))
    for category, parts in dataset.counts().items():
        assert parts == {"train": {"good": 2}, "test": {"good": 1, **dict.fromkeys(SUBJECTS[category].defects, 2)}}
        assert len(SUBJECTS[category].defects) >= 3
    test = dataset.load("test", None, (32, 32))
    assert (test.masks.flatten(1).any(1) == test.batch(range(len(test))).anomalous).all()
    modes = {category: open_image(toy / category / "train/good/000.png").mode for category in SUBJECTS}
    assert modes == {"brushed": "L", "cap": "RGB", "gear": "RGB", "weave": "RGB"}


def test_same_seed_same_bytes_and_drawing_goes_on_where_it_stopped(toy: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    draw_toy(again, size=32, train=2, test_good=1, test_defect=2)
    assert contents(again) == contents(toy)
    (again / "gear/ground_truth/rust/001_mask.png").unlink()
    (again / "cap/train/good/001.png").unlink()
    draw_toy(again, size=32, train=2, test_good=1, test_defect=2)
    assert contents(again) == contents(toy)
    with pytest.raises(UserError, match="toy data set drawn otherwise"):
        draw_toy(again, size=32, train=2, test_good=1, test_defect=2, seed=1)


def test_every_processor_draws_the_same_pixels() -> None:
    """NumPy's arctan2 and powers round otherwise with AVX-512 than without: the first two once differed by that."""
    drawn = hashlib.sha256()
    for canvas, category, defect, part in (
        (Canvas(64, 4), "gear", "good", 20), (Canvas(64, 4), "cap", "misprint", 75),
        *((SMALL, *case, number) for number, case in enumerate(CASES)),
    ):  # fmt: skip
        for pixels in draw_image(canvas, category, defect, seed=0, part=part):
            drawn.update(pixels.tobytes())
    assert drawn.hexdigest() == "975d59d9d8af5680d51c5e2d25b625a8d3446285a6b0fa2346e819fd316095f3"


def test_another_seed_and_another_part_give_other_images() -> None:
    images = [
        draw_image(SMALL, "gear", "good", seed=seed, part=part)[0].tobytes() for seed in (0, 1) for part in (0, 1)
    ]
    assert len(set(images)) == 4


@pytest.mark.parametrize(("category", "defect"), CASES)
def test_a_mask_is_exactly_what_the_defect_changed(category: str, defect: str) -> None:
    sound, empty = draw_image(SMALL, category, "good", seed=3, part=5)
    broken, mask = draw_image(SMALL, category, defect, seed=3, part=5)
    changed = (sound.astype(int) != broken).reshape(32, 32, -1).any(-1)
    assert np.array_equal(mask, changed) and not empty.any()
    assert 0.006 <= mask.mean() <= 0.25
    difference = np.abs(sound.astype(int) - broken).reshape(32, 32, -1).max(-1)
    assert difference[mask].mean() > 15, "too faint to be seen"


@pytest.mark.parametrize("category", ["cap", "gear"])
def test_objects_stand_out_by_the_side_of_otsu_that_the_catalogue_names(category: str) -> None:
    image, _ = draw_image(Canvas(64, 2), category, "good", seed=0, part=0)
    grey = image @ np.array([0.299, 0.587, 0.114])
    bright = grey > threshold_otsu(grey)
    rule = TOY.categories[category].foreground
    chosen = bright if rule.side == "bright" else ~bright
    corners = np.zeros_like(chosen)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    assert not chosen[corners].any() and 0.2 < chosen.mean() < 0.7


def test_bad_settings_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    for settings in ({"size": 16}, {"size": 2000}, {"train": 0}, {"seed": -1}):
        with pytest.raises(UserError, match="expected"):
            draw_toy(tmp_path / "new", **settings)
    assert not (tmp_path / "new").exists()
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds other files"):
        draw_toy(tmp_path)
