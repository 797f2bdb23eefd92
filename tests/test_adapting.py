"""Modules and what makes them, on a data set: what a factory is handed, where its scale comes from, what is kept."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from learning import Bright
from torch import Tensor, nn

import omnial_bench as ob
from omnial_bench.attacks.health import COLUMNS as HEALTH_COLUMNS
from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.victim import victim
from omnial_bench.cli.main import cli
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.images import to_float
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.models.outside.gradients import Whole
from omnial_bench.pipeline.own_detector import detector_at
from omnial_bench.pipeline.site import Site
from omnial_bench.results import ATTEMPT_COLUMNS, COLUMNS, read_rows

SIDE = 32
TRAIN = 40


class Bank(nn.Module):
    """The distance of each pixel to the nearest of the normals' pixels at its place; 0 for these normals."""

    def __init__(self, normals: Tensor, bright: float = 0.0) -> None:
        super().__init__()
        self.bright = bright
        self.register_buffer("normals", normals)

    def forward(self, images: Tensor) -> Tensor:
        distance = (images[:, None] - self.normals).square().sum(2)
        return (distance.amin(1) + 1e-6).sqrt() + self.bright * images.mean(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapting")
    draw_toy(folder, size=SIDE, train=TRAIN, test_good=4, test_defect=2)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    yield


@pytest.fixture
def site(data: Path) -> Site:
    dataset = find_dataset(data, ["cap"])
    return Site(dataset=dataset, categories=("cap",), size=(SIDE, SIDE), device=torch.device("cpu"))


def normals_of_the_training(site: Site) -> Tensor:
    return to_float(site.dataset.load("train", site.categories, site.size).images)


def normals_of_the_test(site: Site) -> Tensor:
    """Normal images of the test split."""
    images = site.dataset.load("test", ["cap"], site.size)
    return to_float(images.images)[torch.tensor([defect == "good" for defect in images.defects])]


def test_a_factory_gets_four_fifths_of_the_normals_and_the_scale_comes_from_the_others(site: Site) -> None:
    every = normals_of_the_training(site)
    detector = detector_at(site, Bank)
    assert isinstance(detector, Adapted) and isinstance(detector.module, Bank)
    held = [index for index in range(TRAIN) if index % 5 == 4]
    fitted = [index for index in range(TRAIN) if index % 5 != 4]
    assert torch.equal(detector.module.normals, every[fitted])  # type: ignore[arg-type]
    with torch.no_grad():
        odds = detector(every[held]).log_odds
        assert odds.median().item() == pytest.approx(-4, abs=0.05)
        assert detector(normals_of_the_test(site)).log_odds.median().item() == pytest.approx(-4, abs=1)


def test_a_module_fitted_on_the_training_normals_is_far_off_without_held_out_ones(site: Site, caplog) -> None:
    every, unseen = normals_of_the_training(site), normals_of_the_test(site)
    with caplog.at_level(logging.WARNING):
        fooled = detector_at(site, Bank(every, bright=1e-3), name="bank")
    assert "bank: its scale comes from training images" in caplog.text
    caplog.clear()
    right = detector_at(replace(site, held_out=every[32:]), Bank(every[:32], bright=1e-3))
    assert not caplog.records
    with torch.no_grad():
        assert fooled(unseen).log_odds.quantile(0.9) > 50
        assert right(unseen).log_odds.quantile(0.9) < 0
    with pytest.raises(ob.UserError, match=r"that differ among normal images, got 0\.001 everywhere"):
        detector_at(site, Bank(normals_of_the_training(site)))


@pytest.mark.parametrize("objective", ["ranking", "linear"])
def test_a_scale_that_is_off_turns_no_step_of_a_scale_free_objective(site: Site, objective: str) -> None:
    every = normals_of_the_training(site)
    right, off = (detector_at(site, Bank(every[:24], bright=1e-3)) for _ in range(2))
    off.threshold -= 100  # type: ignore[operator]
    off.temperature /= 30  # type: ignore[operator]
    images, truth = every[24:28], torch.zeros(4, SIDE, SIDE, dtype=torch.bool)
    truth[:, 8:16, 8:16] = True
    signs = []
    for detector in (right, off):
        with victim([detector]) as target:
            signs.append(target.gradient(images, truth, objective_named(objective))[1].sign())
    assert (signs[0] == signs[1]).float().mean() > 0.999 and signs[0].any()


def test_held_out_images_of_each_category(data: Path, tmp_path: Path) -> None:
    dataset = find_dataset(data, ["cap", "weave"])
    site = Site(dataset=dataset, categories=("weave",), size=(SIDE, SIDE), device=torch.device("cpu"))
    for category in dataset.categories:
        shutil.copytree(data / category / "train" / "good", tmp_path / category)
    own = detector_at(replace(site, held_out=tmp_path), Bright())
    alone = Site(dataset=find_dataset(data, ["weave"]), categories=("weave",), size=site.size, device=site.device)
    same = detector_at(replace(alone, held_out=tmp_path / "weave"), Bright())
    assert torch.equal(own.threshold, same.threshold)  # type: ignore[arg-type]
    for held_out in (torch.rand(8, 3, SIDE, SIDE), tmp_path / "cap"):
        with pytest.raises(ob.UserError, match="expected held_out images for each category"):
            detector_at(replace(site, held_out=held_out), Bright())


@pytest.mark.parametrize(
    ("held_out", "line"),
    [
        (torch.zeros(9, 3, 8), r"held_out images of shape \(n, 3, h, w\), float"),
        (torch.zeros(9, 3, 8, 8, dtype=torch.uint8), "float in"),
        (torch.full((9, 3, 8, 8), 2.0), r"held_out images in \[0, 1\], got 2 to 2"),
        (torch.rand(7, 3, 8, 8), "at least 8 normal images to take a scale from, got 7"),
        (Path("nowhere"), "no folder of held_out images at nowhere"),
    ],
)
def test_held_out_images_that_will_not_do(site: Site, held_out: Any, line: str) -> None:
    with pytest.raises(ob.UserError, match=line):
        detector_at(replace(site, held_out=held_out), Bright())


def test_a_factory_is_called_with_what_it_asks_for(site: Site) -> None:
    seen: dict[str, Any] = {}

    def make(category: str, size: tuple[int, int], data: str, depth: int = 1) -> nn.Module:
        seen.update(category=category, size=size, data=data, depth=depth)
        return Bright()

    detector_at(replace(site, options={"depth": 3}), make)
    assert seen == {"category": "cap", "size": (SIDE, SIDE), "data": str(site.dataset.root), "depth": 3}


def no_module(normals: Tensor) -> Any:
    return normals


def fails() -> nn.Module:
    raise ValueError("no\nweights")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (no_module, "mine: expected a torch.nn.Module, got Tensor"),
        (fails, "mine failed to build: ValueError: no weights"),
        (
            Bank(torch.zeros(1, 3, 9, 9)),
            r"Bank failed on 8 float32 images of 32x32 in \[0, 1\]: RuntimeError",
        ),
        ("module", "expected package.module:object"),
        (3, "expected a torch.nn.Module, a function that makes one"),
    ],
)
def test_sources_that_will_not_do(site: Site, source: Any, line: str) -> None:
    with pytest.raises(ob.UserError, match=line):
        detector_at(site, source, name="mine")


class Cut(Bright):
    """A gradient that is there, and wrong: half of the map's slope is missing."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0] + torch.tensor(images[:, 1:].tolist()).sum(1)


def test_a_restored_gradient_is_looked_at_before_any_attack(site: Site) -> None:
    with pytest.raises(ob.UserError, match="the gradient of Cut cannot be restored: slopes told and measured agree"):
        detector_at(site, Whole(Cut()))
    assert isinstance(detector_at(site, Whole(Bright())), Adapted)
    assert isinstance(detector_at(site, Cut()), Adapted)


QUICK: dict[str, Any] = {"suite": "quick", "size": (SIDE, SIDE), "limit": 4, "device": "cpu", "name": "bank"}


def test_a_network_for_each_category_with_health_and_progress(data: Path) -> None:
    made: list[str] = []
    told: list[tuple[str, int, int]] = []

    def make(normals: Tensor, category: str) -> nn.Module:
        made.append(category)
        assert len(normals) == TRAIN * 4 // 5
        return Bank(normals)

    rows = ob.benchmark(
        make, data, **QUICK, categories=["cap", "weave"], paradigm="separate", preset="tiny",
        false_alarms=0.4, progress=lambda task, done, total, _: told.append((task, done, total)),
    )  # fmt: skip
    assert made == ["cap", "weave"]
    assert list(rows.columns) == list(COLUMNS)
    assert set(zip(rows["paradigm"], rows["preset"], strict=True)) == {("separate", "tiny")}
    assert set(rows["category"]) == {"cap", "weave", "mean"}
    assert list(rows.health.columns) == list(HEALTH_COLUMNS) and list(rows.attempts.columns) == list(ATTEMPT_COLUMNS)
    assert set(rows.attempts["category"]) == {"cap", "weave"}
    assert set(rows.health["detector"]) == {"bank"}
    ends = {task for task, done, total in told if done == total}
    assert ends == {
        "score bank-separate-cap on clean", "score bank-separate-weave on clean",
        "quick on bank-separate-cap, cap", "quick on bank-separate-weave, weave",
    }  # fmt: skip
    apart = rows[rows["category"] != "mean"].groupby("category")["weights"]
    assert apart.nunique().tolist() == [1, 1] and rows["weights"].nunique() == 3
    assert set(rows["weights"].str.len()) == {12}
    held_out = TRAIN // 5
    held = rows.loc[rows["metric"] == "image_false_alarms_held", "value"]
    assert held.to_numpy() == pytest.approx(int(0.4 * (held_out + 1)) / (held_out + 1))
    clean = rows[(rows["set"] == "clean") & (rows["metric"] == "image_missed") & (rows["category"] != "mean")]
    missed, n = (clean["value"] * clean["n"]).sum(), clean["n"].sum()
    assert f"{missed:.0f} of {n}" in repr(rows).splitlines()[1] and repr(rows[["set"]]) != repr(rows)
    both = pd.concat([rows, rows])
    assert len(both) == 2 * len(rows)


@pytest.mark.filterwarnings("ignore:bright. has learnt")
def test_two_detectors_are_compared_on_the_same_images(data: Path) -> None:
    found = [
        ob.benchmark(make, data, **QUICK | {"name": name, "limit": 6}, categories=["cap"])
        for make, name in ((Bank, "bank"), (Bright, "bright"))
    ]
    table = ob.compare(*found)
    assert set(table["set"]) == {"clean", "quick-any", "quick-score"} and set(table["category"]) == {"cap", "mean"}
    assert set(zip(table["detector"], table["other_detector"], strict=True)) == {("bank", "bright")}
    one, other = (rows.set_index(["set", "category", "metric"])["value"] for rows in found)
    for row in table.itertuples():
        key = (row.set, row.category, row.metric)
        assert row.difference == pytest.approx(one[key] - other[key]) and row.low <= row.difference <= row.high
    assert ob.compare(found[0]).empty
    with pytest.raises(ob.UserError, match="different names, got bank unified twice"):
        ob.compare(found[0], found[0])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"size": "32x32"}, r"expected size as height and width such as \(256, 256\), got '32x32'"),
        ({"size": (32,)}, "expected size as height and width"),
        ({"size": (-32, 32)}, "expected size as height and width"),
        ({"size": (32.0, 32.0)}, "expected size as height and width"),
        ({"limit": 0}, "a limit of at least 2 images a category, got 0"),
        ({"name": "a\nb"}, r"expected a name of letters, digits, dots and dashes, got 'a\\nb'"),
        ({"name": "a/b"}, "expected a name of letters"),
        ({"limit": 2.5}, "a limit of at least 2 images a category, got 2.5"),
        ({"seed": -1}, "expected a seed from 0 to 2147483647, a whole number, got -1"),
        ({"seed": 2**31}, "expected a seed from 0"),
        ({"seed": 1.5}, "expected a seed from 0"),
        ({"seed": True}, "expected a seed from 0"),
        ({"suite": 3}, "expected the name of a suite or the path of its file, got 3"),
        ({"categories": "cap"}, r"expected categories as a list of names, got 'cap'; write \['cap'\]"),
        ({"categories": [3]}, r"expected categories as a list of names, got \[3\]"),
        ({"device": 3}, "expected a device such as cpu, got 3"),
        ({"progress": 3}, "expected progress as True, False or a function, got 3"),
        ({"save": 3}, "expected a folder to save to, got 3"),
        ({"preset": 3}, "expected a preset of one line"),
        ({"false_alarms": 5}, "expected false_alarms as a share between 0 and 1 such as 0.05, got 5"),
        ({"preset": "a\nb"}, "expected a preset of one line"),
        ({"precision": "fp8"}, "unknown precision 'fp8'; expected 32-true"),
        ({"held_out": [1, 2]}, "expected held_out images as a tensor or a folder, got list"),
        ({"paradigm": "joint"}, "paradigm unified or separate, got 'joint'"),
        (
            {"paradigm": "separate", "categories": ["cap", "weave"]},
            "expected a factory, which makes a module for each of 2 categories",
        ),
        ({"data": None}, "expected the folder of a data set, got None"),
    ],
)
def test_what_is_given_is_looked_at_first(data: Path, given: dict[str, Any], line: str) -> None:
    with pytest.raises(ob.UserError, match=line) as caught:
        ob.benchmark(Bright(), **{"data": data, "categories": ["cap"]} | QUICK | given)
    assert "\n" not in str(caught.value)


def test_a_detector_of_a_module_wants_a_seed_too(data: Path) -> None:
    with pytest.raises(ob.UserError, match="expected a seed from 0"):
        ob.adapt_module(Bank, data, categories=["cap"], size=(SIDE, SIDE), seed=-1)


def test_what_is_saved_makes_a_report_and_holds_the_same_rows(data: Path, tmp_path: Path, caplog) -> None:
    out = tmp_path / "run"
    with caplog.at_level(logging.WARNING):
        rows = ob.benchmark(Bank, data, **QUICK | {"name": "kept"}, categories=["cap"], save=out)
    assert [record.message for record in caplog.records] == [
        "kept gives no reconstruction: psnr and ssim are undefined on all sets"
    ]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), read_rows(out))
    assert {path.name for path in out.iterdir()} >= {"attacks.csv", "health.csv", "environment.json", "examples"}
    kept = pd.read_csv(out / "health.csv")
    assert list(kept["status"]) == list(rows.health["status"])
    reported = CliRunner().invoke(cli, ["report", str(out), "--format", "md"])
    assert reported.exit_code == 0, reported.output
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "quick-any" in report and ": Quick look: PGD at 8/255 on sixteen images a category" in report
    # Again into the same folder: nothing is lost, for these rows replace themselves; another name's would be.
    caplog.clear()
    ob.benchmark(Bank, data, **QUICK | {"name": "kept"}, categories=["cap"], save=out)
    assert "psnr and ssim are undefined" in caplog.text
    with pytest.raises(ob.UserError, match=r"holds other rows, kept unified cap .*, which would be lost"):
        ob.benchmark(Bank, data, **QUICK, categories=["cap"], save=out)


def test_a_suite_of_sets_is_saved_too(data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    rows = ob.benchmark(
        Bank, data, suite="paper", size=(SIDE, SIDE), categories=["cap"], limit=4, device="cpu", name="sets",
        save=tmp_path / "run", progress=lambda task, *_: told.append(task),
    )  # fmt: skip
    assert "self" in set(rows["source"]) and len(rows.attempts) == 0
    assert any(task.endswith("on sets-unified") for task in told)
    assert read_rows(tmp_path / "run")["set"].nunique() == rows["set"].nunique()
