"""Anomalous images of whose pixels nothing is known: no mask, an empty one, or one that is too fine for the network."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import Bright
from PIL import Image

import omnial_bench as ob
from omnial_bench.attacks.attacking import aims
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.notes import notes_of
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.metrics.intervals import Intervals
from omnial_bench.reports.document import write_report

SIZE = (32, 32)


@pytest.fixture
def caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    draw_toy(tmp_path / "toy", size=32, train=9, test_good=4, test_defect=2)
    for path in (tmp_path / "toy").iterdir():
        if path.is_dir() and path.name != "cap":
            shutil.rmtree(path)
    return tmp_path / "toy"


def figures(root: Path, **given: object) -> dict[tuple[str, str], Any]:
    with warnings.catch_warnings():
        # Six images are too few for some checks of health.
        warnings.simplefilter("ignore")
        rows = ob.benchmark(Bright(), root, suite="quick", size=SIZE, limit=6, **given)  # type: ignore[arg-type]
    return {(row.set, row.metric): row for row in rows[rows["category"] == "cap"].itertuples()}


def test_without_masks_image_figures_are_as_with_them_and_pixel_figures_are_empty(caps: Path, tmp_path: Path) -> None:
    before = figures(caps)
    shutil.rmtree(caps / "cap/ground_truth")
    rows = figures(caps, save=tmp_path / "run")
    for (name, metric), row in rows.items():
        if name == "clean" and metric.startswith("image"):
            known = before[name, metric]
            np.testing.assert_equal((row.value, row.n, row.low), (known.value, known.n, known.low))
        if metric.startswith("pixel"):
            assert np.isnan(row.value) and row.n == (4 if name == "clean" else 2)
    assert rows["quick-score", "image_auroc"].value <= rows["quick-unattacked", "image_auroc"].value
    (note,) = json.loads((tmp_path / "run/environment.json").read_text())["data_notes"]
    assert note == "Of this data only the labels of images are known: pixel figures are empty."
    write_report(tmp_path / "run", ["md"])
    assert note in (tmp_path / "run/report.md").read_text()


def test_empty_masks_are_left_out_of_pixel_figures_and_noted(caps: Path) -> None:
    mask, *others = sorted((caps / "cap/ground_truth").glob("*/*.png"))
    image = mask.parents[2] / "test" / mask.parent.name / f"{mask.stem.removesuffix('_mask')}.png"
    Image.new("L", (32, 32)).save(mask)
    # A point of the size of a pixel is less than half of one at half the size.
    point = np.zeros((32, 32), np.uint8)
    point[3, 3] = 255
    Image.fromarray(point).save(others[0])
    inverted = np.full((32, 32), 255, np.uint8)
    inverted[9:12, 9:12] = 0
    Image.fromarray(inverted).save(others[1])
    shutil.copy(caps / "cap/train/good/000.png", caps / "cap/test/good/000.png")
    assert notes_of(find_dataset(caps), (16, 16)) == [
        "1 test image (cap 1) lie among the training images too, to the byte; remove them.",
        "The masks of 1 defect (cap 1) are empty: pixel figures leave them out.",
        "1 defect (cap 1) vanish at 16x16 pixels: pixel figures leave them out.",
        "The masks of 1 defect (cap 1) mark most of the image and its frame; see data verify.",
    ]
    rows = figures(caps)
    mask.unlink()
    image.unlink()
    without = figures(caps)
    for metric in ("pixel_auroc", "pixel_ap", "pixel_aupro"):
        assert rows["clean", metric].value == without["clean", metric].value
        assert rows["clean", metric].n == without["clean", metric].n == rows["clean", "image_auroc"].n - 1


def test_an_unmarked_defect_is_attacked_as_one_whole_defect() -> None:
    masks = torch.zeros(3, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = True
    anomalous = torch.tensor([True, True, False])
    labels, chosen = aims("any", masks, torch.ones_like(masks), anomalous)
    assert labels.flatten(1).sum(1).tolist() == [1, 4, 0] and chosen.all()
    hidden, chosen = aims("hide", masks, torch.ones_like(masks), anomalous)
    assert (hidden > 0).flatten(1).sum(1).tolist()[:2] == [1, 4] and chosen.tolist() == [True, True, False]


def test_intervals_without_any_known_pixel_are_those_of_images_alone() -> None:
    intervals = Intervals()
    nothing = torch.zeros(3, 4, 4, dtype=torch.bool)
    intervals.update(torch.rand(3, 4, 4), nothing, torch.arange(3.0), torch.ones(3, dtype=torch.bool))
    assert intervals.draws() == {}
