"""The steps on paths: train, attack, score, and a detector in hand; nothing is done twice and nothing is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import contents

import omnial_bench as ob
from omnial_bench.errors import UserError
from omnial_bench.evaluation import tally
from omnial_bench.metrics.metric import METRICS
from omnial_bench.models.checkpoint import load
from omnial_bench.pipeline import train_task
from omnial_bench.pipeline.request import Request
from omnial_bench.pipeline.score_models import assess
from omnial_bench.pipeline.train_and_attack import attack_models, train_models
from omnial_bench.results import COLUMNS, read_rows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(mini: Path) -> Path:
    """A folder with `data`, records, trained models `one` and `two` (of another seed), and sets of both in `sets`."""
    shutil.copy(mini / "mini.toml", mini / "other.toml")
    train(mini, mini / "one", categories=["cap"])
    train(mini, mini / "two", categories=["cap"], detector=str(mini / "other.toml"), seed=1)
    attack(mini, mini / "sets", sources=["one", "two"])
    return mini


def train(place: Path, out: Path, **changes: Any) -> list[Path]:
    settings: dict[str, Any] = {
        "detector": str(place / "mini.toml"), "data": place / "data", "categories": None, "paradigm": "unified",
        "preset": "tiny", "textures": None, "out": out, "device": "cpu", "precision": "32-true", "seed": 0,
        "watch": lambda _: None,
    }  # fmt: skip
    return train_models(**{**settings, **changes})


def attack(place: Path, out: Path, sources: list[str], **changes: Any) -> list[Path]:
    settings: dict[str, Any] = {
        "suite_name": str(place / "two.toml"), "sources": [str(place / name) for name in sources],
        "data": place / "data", "categories": None, "limit": None, "out": out, "device": "cpu",
        "precision": "32-true", "seed": 0, "watch": lambda _: None,
    }  # fmt: skip
    return attack_models(**{**settings, **changes})


def score(place: Path, out: Path, checkpoints: list[str], **changes: Any) -> pd.DataFrame:
    watch = changes.pop("watch", lambda _: None)
    settings: dict[str, Any] = {
        "checkpoints": tuple(str(place / name) for name in checkpoints), "data": place / "data", "out": out,
        "sets": tuple(changes.pop("sets", ())), "device": "cpu",
    }  # fmt: skip
    return assess(Request(**{**settings, **changes}), watch=watch)


class TestTrain:
    @pytest.mark.parametrize("change", [{"seed": 2}, {"categories": ["weave"]}, {"precision": "bf16-mixed"}])
    def test_another_training_is_never_lost(self, place: Path, change: dict[str, Any]) -> None:
        before = contents(place / "one")
        with pytest.raises(UserError, match="holds a finished training, mini-unified of other settings"):
            train(place, place / "one", **{"categories": ["cap"], **change})
        assert contents(place / "one") == before

    def test_devices_are_asked_of_the_training(self, place: Path, tmp_path: Path, monkeypatch) -> None:
        asked: list[int] = []
        monkeypatch.setattr(train_task, "train", lambda *_, devices, **__: asked.append(devices))
        train(place, tmp_path / "out", devices=2)
        assert asked == [2]
        with pytest.raises(UserError, match="divides the batch of 2, got 3"):
            train(place, tmp_path / "out", devices=3)


class TestAttack:
    def test_a_set_names_every_source_and_keeps_its_bound(self, place: Path) -> None:
        control, attacked = (
            json.loads((place / "sets" / name / "manifest.json").read_text()) for name in ("unattacked", "pgd-8")
        )
        assert [source["name"] for source in attacked["sources"]] == ["mini-unified", "other-unified"]
        hashes = [load(place / name).sha256 for name in ("one", "two")]
        assert [source["sha256"] for source in attacked["sources"]] == hashes
        # Two records that are alike, and two seeds.
        assert hashes[0] != hashes[1]
        assert attacked["counts"] == {"cap": {"good": 1, "synthetic": 2}}
        assert 1 <= attacked["largest_change"] <= 8
        assert (control["sources"], control["largest_change"], control["label"]) == ([], 0, "none")

    def test_sources_of_one_name_are_told_apart(self, place: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="'mini-unified' is there twice"):
            attack(place, tmp_path / "out", ["one", "one"])
        assert not (tmp_path / "out").exists()

    def test_sources_need_one_size(self, place: Path, tmp_path: Path) -> None:
        train(place, tmp_path / "wide", preset="wide", detector=str(place / "other.toml"), categories=["cap"])
        with pytest.raises(UserError, match="different network sizes"):
            attack(place, tmp_path / "out", ["one", str(tmp_path / "wide")])
        with pytest.raises(UserError, match=r"set .*pgd-8 has \(32, 32\)"):
            score(tmp_path, tmp_path / "out", ["wide"], data=place / "data", sets=[place / "sets" / "pgd-8"])
        assert not (tmp_path / "out").exists()


class TestScore:
    def test_rows_are_complete_and_written(self, place: Path, tmp_path: Path) -> None:
        told: list[tuple[str, int, int, str]] = []
        sets = [place / "sets" / name for name in ("unattacked", "pgd-8")]
        rows = score(
            place, tmp_path, ["one", "two"], sets=sets, watch=lambda name: lambda *news: told.append((name, *news))
        )
        assert list(rows.columns) == list(COLUMNS)
        assert set(METRICS) <= set(rows["metric"])
        groups = rows.groupby(["detector", "category", "set", "source"]).size()
        source = "mini-unified+other-unified"
        assert set(groups.index) == {
            (detector, category, *where)
            for detector in ("mini", "other")
            for category in ("cap", "mean")
            for where in (("clean", "none"), ("unattacked", "none"), ("pgd-8", source))
        }
        assert groups.nunique() == 1
        assert dict(zip(rows["detector"], rows["seed"], strict=True)) == {"mini": 0, "other": 1}
        assert read_rows(tmp_path).equals(rows)
        titles = [
            f"score {name}-unified on {on}, cap"
            for name in ("mini", "other")
            for on in ("clean", "unattacked", "pgd-8")
        ]
        assert [news for news in told if news[0] != "run"] == [(title, 1, 1, "cap") for title in titles]
        assert [(*news[:3], news[3].partition("  ")[0]) for news in told if news[0] == "run"] == [
            ("run", n + 1, 6, title) for n, title in enumerate(titles)
        ]

    def test_the_seed_of_the_rows_can_be_given(self, place: Path, tmp_path: Path) -> None:
        assert set(score(place, tmp_path, ["one", "two"], seed=7)["seed"]) == {7}

    def test_the_same_command_goes_again_but_other_rows_are_not_lost(self, place: Path, tmp_path: Path) -> None:
        score(place, tmp_path, ["one", "two"])
        before = (tmp_path / "results.csv").read_bytes()
        score(place, tmp_path, ["one", "two"])
        assert (tmp_path / "results.csv").read_bytes() == before
        with pytest.raises(UserError, match=r"results\.csv holds other rows, other unified cap clean"):
            score(place, tmp_path, ["one"])
        assert (tmp_path / "results.csv").read_bytes() == before

    def test_without_anomalies_some_figures_are_empty_and_the_rest_is_there(
        self, place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        shutil.copytree(place / "data", tmp_path / "data")
        for folder in (tmp_path / "data/cap/test").iterdir():
            if folder.name != "good":
                shutil.rmtree(folder)
        # Another test of this process may have been told.
        tally._say.cache_clear()
        rows = score(place, tmp_path / "out", ["one"], data=tmp_path / "data")
        values = rows.set_index(["category", "metric"])["value"]
        for category in ("cap", "mean"):
            undefined = values[category].isna()
            there = {"psnr", "ssim", "image_false_alarms", "image_false_alarms_held"}
            assert set(undefined[~undefined].index) == there
            assert {"image_auroc", "pixel_auroc", "pixel_ap", "pixel_aupro"} <= set(undefined[undefined].index)
        assert "cap" in caplog.text and "undefined" in caplog.text and "anomalous" in caplog.text


@pytest.mark.filterwarnings("ignore:.*has learnt:UserWarning")
class TestInHand:
    def test_a_loaded_detector_has_the_clean_rows_of_its_checkpoint_and_its_modes_as_before(
        self, place: Path, tmp_path: Path
    ) -> None:
        detector = ob.load_detector(place / "one").train()
        assert isinstance(detector, ob.Detector)
        frozen = next(module for module in detector.modules() if not list(module.children()))
        frozen.eval()
        rows = ob.benchmark(
            detector, data=str(place / "data"), suite=str(place / "two.toml"), categories=["cap"], size=(32, 32),
            name="mine", device="cpu",
        )  # fmt: skip
        assert detector.training and not frozen.training
        assert list(rows.columns) == list(COLUMNS)
        assert set(rows["detector"]) == {"mine"}
        sources = {(one, two) for one, two in zip(rows["set"], rows["source"], strict=True)}
        assert sources == {("clean", "none"), ("unattacked", "none"), ("pgd-8", "self")}
        keys = ["category", "metric"]
        clean, stored = rows[rows["set"] == "clean"], score(place, tmp_path, ["one"])
        assert clean.set_index(keys)["value"].equals(stored.set_index(keys)["value"])
        assert rows.loc[rows["category"] == "cap", "value"].notna().all()

    def test_a_mistake_is_one_line(self, place: Path) -> None:
        detector = ob.load_detector(place / "one")
        with pytest.raises(ob.UserError, match="32 divides, got 40x40"):
            ob.benchmark(detector, place / "data", str(place / "two.toml"), size=(40, 40), device="cpu")
        with pytest.raises(ob.UserError, match="did you mean 'paper'"):
            ob.benchmark(detector, place / "data", "papers", device="cpu")
