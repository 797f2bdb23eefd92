"""Images kept for the report: which, in what roles, and the index of them."""

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from marked_images import mark_images
from PIL import Image

from omnial_bench.data.images import Images
from omnial_bench.evaluation.examples import FOLDER, Example, Keeper, choose, gallery, write_index
from omnial_bench.synthesis.masks import PANELS
from omnial_bench.types import Prediction

SIZE = (32, 40)


def opened(root: Path, example: Example) -> np.ndarray:
    with Image.open(root / FOLDER / example.path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.mark.parametrize(
    ("defects", "chosen"),
    [
        (("crack", "crack", "good", "hole", "scratch", "good"), [0, 3, 2]),
        (("good", "hole"), [1, 0]),
        (("hole", "hole"), [0]),
        (("good", "good"), [0]),
    ],
)
def test_one_of_each_of_two_defects_and_a_normal_one(defects: tuple[str, ...], chosen: list[int]) -> None:
    assert choose(mark_images(defects, SIZE)) == chosen


class TestKeeper:
    def kept(self, root: Path, given: Images, *, reconstructs: bool = True, attacked: bool = False) -> list[Example]:
        wanted = [given.ids[0], given.ids[2]]
        originals = {one: given.images[given.ids.index(one)] // 2 for one in wanted} if attacked else {}
        name = "pgd-8" if attacked else "clean"
        keeper = Keeper(root, model="draem-unified", name=name, wanted=wanted, originals=originals)
        for batch in given.batches(2):
            odds = torch.full((len(batch.ids), 1, *SIZE), 1.0)
            reconstruction = batch.images * 1.5 if reconstructs else None
            keeper(batch, Prediction(torch.cat((-odds, odds), 1), reconstruction))
        return keeper.examples

    def test_roles_of_a_clean_image(self, tmp_path: Path) -> None:
        given = mark_images(("hole", "hole", "good"), SIZE)
        kept = self.kept(tmp_path, given)
        roles = ("input", "truth", "map", "reconstruction")
        assert {(one.id, one.role) for one in kept} == {*product(given.ids[::2], roles)}
        assert {(one.model, one.set, one.category) for one in kept} == {("draem-unified", "clean", "cap")}
        shown = {one.role: opened(tmp_path, one) for one in kept if one.id == given.ids[0]}
        rows = given.images[0].permute(1, 2, 0).numpy()
        assert np.array_equal(shown["input"], rows)
        assert np.array_equal(shown["truth"], given.masks[0].numpy() * np.uint8(255))
        assert np.allclose(shown["reconstruction"], np.clip(rows * 1.5, 0, 255), atol=0.5001)
        assert (shown["map"] == round(255 / (1 + np.exp(-2.0)))).all()
        assert {one.role for one in self.kept(tmp_path, given, reconstructs=False)} == {"input", "truth", "map"}

    def test_of_an_attacked_image_also_what_it_was(self, tmp_path: Path) -> None:
        given = mark_images(("synthetic", "synthetic", "good"), SIZE, referenced=True)
        kept = self.kept(tmp_path, given, attacked=True)
        assert {one.role for one in kept} == {"input", "truth", "map", "reconstruction", "original", "clean"}
        for one in kept:
            image = given.images[given.ids.index(one.id)].permute(1, 2, 0).numpy()
            if one.role == "original":
                assert np.array_equal(opened(tmp_path, one), image // 2)
            if one.role == "clean":
                assert np.array_equal(opened(tmp_path, one), 255 - image)


def test_the_gallery_has_every_panel_with_its_labels(tmp_path: Path) -> None:
    noise = mark_images(("good",) * 2, SIZE)
    normals, textures = replace(noise, images=100 + noise.images // 32), 3 * (noise.images - 60)
    kept = gallery(tmp_path, normals, textures, seed=0, categories=["cap"], detector="omnial")
    assert [(one.defect, one.role) for one in kept] == [*product(PANELS, ("input", "truth", "clean"))]
    said = {(one.model, one.set, one.category, one.id) for one in kept}
    assert said == {("omnial", "synthesis", "cap", normals.ids[0])}
    sound = normals.images[0].permute(1, 2, 0).numpy()
    for spoiled, labels, clean in zip(kept[::3], kept[1::3], kept[2::3], strict=True):
        assert np.array_equal(opened(tmp_path, clean), sound)
        greys = opened(tmp_path, labels)
        assert set(np.unique(greys).tolist()) <= {0, 85, 170, 255}
        changed = (opened(tmp_path, spoiled) != sound).any(2)
        assert changed[greys > 0].mean() > 0.8
        columns = np.arange(SIZE[1]) / SIZE[1]
        outside = {"left": columns > 0.81, "right": columns < 0.19}.get(labels.defect)
        if outside is not None:
            assert not changed[:, outside].any()
    again = gallery(tmp_path / "again", normals, textures, seed=0, categories=["cap"], detector="omnial")
    assert all(np.array_equal(opened(tmp_path, one), opened(tmp_path / "again", one)) for one in again)


def test_the_index_has_a_row_a_image(tmp_path: Path) -> None:
    examples = [
        Example("draem-unified", "clean", "cap", "hole", "cap/test/hole/000", "input", "a.png"),
        Example("draem-unified", "clean", "cap", "it, quoted", "x", "map", "b.png"),
    ]
    write_index(tmp_path, examples)
    with (tmp_path / FOLDER / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["model", "set", "category", "defect", "id", "role", "path", "note"]
    assert [Example(**row) for row in rows] == examples
