"""A plan from its data to its rows: complete, repeatable, and never done twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tomli_w
import torch

from omnial_bench import provenance as made_by
from omnial_bench import runner
from omnial_bench.attacks.sets import load_set
from omnial_bench.data.toy import draw_toy
from omnial_bench.errors import UserError
from omnial_bench.planning import Settings, models_of, sources_of
from omnial_bench.records import Plan, read_suite
from omnial_bench.runner import run
from omnial_bench.store import METRICS, read_rows, write_text

RECORD = """
detector = "draem"
title = "Mini"
source = "none"
[presets.tiny]
size = [32, 32]
training = { epochs = 50, max_iterations = 4, batch = 4, lr = 1e-3 }
options = { width = 4, loc_width = 4, pooling = 5 }
"""
MODELS = ("mini-unified", "mini-separate-cap", "mini-separate-weave")
SETS = ("clean", "unattacked", "pgd-4", "pgd-8", "pgd-8-targeted")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `data`, the detector's record, a cache of its own, and a finished run in `run`."""
    root = tmp_path_factory.mktemp("benchmark")
    draw_toy(root / "data", size=64, train=6, test_good=2, test_defect=1)
    write_text(root / "mini.toml", RECORD)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIAL_BENCH_CACHE", str(root / "cache"))
        run(plan(root), settings(root, root / "run"))
        yield root


def plan(place: Path, **changes: object) -> Plan:
    table = {
        "name": "mini", "title": "Mini", "dataset": "toy", "categories": ("cap", "weave"), "preset": "tiny", "limit": 4,
        "detectors": (str(place / "mini.toml"),),
    }  # fmt: skip
    return Plan.model_validate(table | changes)


def settings(place: Path, out: Path, **changes: object) -> Settings:
    return Settings(data=place / "data", out=out, device="cpu", **changes)  # type: ignore[arg-type]


def times(out: Path, *patterns: str) -> dict[str, int]:
    """When each file was written; a run that does nothing leaves them."""
    paths = [path for pattern in patterns for path in out.glob(pattern)]
    assert paths
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in paths}


TRAINED, BUILT, SCORED = "models/*/checkpoint.safetensors", "sets/*/manifest.json", ".tasks/score-*.json"


@pytest.fixture
def copied(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "run", tmp_path / "run")
    return tmp_path / "run"


class TestRows:
    def test_every_model_set_category_and_metric_has_one(self, place: Path) -> None:
        rows = read_rows(place / "run")
        metrics = (*METRICS, "image_ap_chance", "pixel_ap_chance")
        expected = {
            ("mini", paradigm, category, name, metric)
            for paradigm in ("unified", "separate")
            for category in ("cap", "weave", "mean")
            for name in SETS
            for metric in metrics
        }
        found = list(rows[["detector", "paradigm", "category", "set", "metric"]].itertuples(index=False, name=None))
        assert len(found) == len(expected)
        assert set(found) == expected
        assert rows["value"].notna().all()
        assert set(rows["run"]) == {runner._Bench(plan(place), settings(place, place / "run")).run}

    def test_the_mean_is_that_of_the_categories(self, place: Path) -> None:
        rows = read_rows(place / "run")
        table = rows.pivot_table(index=["paradigm", "set", "metric"], columns="category", values="value")
        assert table["mean"].to_numpy() == pytest.approx(((table["cap"] + table["weave"]) / 2).to_numpy(), rel=1e-12)

    def test_threat_and_source_are_stated(self, place: Path) -> None:
        rows = read_rows(place / "run")
        said = {key: set(part) for key, part in rows.groupby("set")[["threat", "source"]].apply(_pairs).items()}
        assert said == {
            "clean": {("none", "none")},
            "unattacked": {("none", "none")},
            "pgd-4": {("linf 4/255", "mini-unified")},
            "pgd-8": {("linf 8/255", "mini-unified")},
            "pgd-8-targeted": {("linf 8/255 targeted", "mini-unified")},
        }

    def test_the_limit_holds_in_every_set(self, place: Path) -> None:
        rows = read_rows(place / "run")
        counted = rows[(rows["set"] != "clean") & (rows["category"] != "mean")]
        assert set(counted["n"]) == {4}


def _pairs(part: pd.DataFrame) -> list[tuple[str, str]]:
    return list(part.itertuples(index=False, name=None))


def test_what_a_run_leaves(place: Path) -> None:
    out = place / "run"
    assert {path.parent.name for path in out.glob(TRAINED)} == set(MODELS)
    environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    assert environment["threads"] == 1
    assert environment["dataset"]["root"] == "data"
    index = pd.read_csv(out / "examples" / "index.csv", dtype=str)
    assert set(index["model"]) == {*MODELS, "omnial"}
    assert set(index["set"]) == {*SETS, "synthesis"}
    assert all((out / "examples" / path).is_file() for path in index["path"])


class TestAgain:
    def test_a_second_run_does_nothing_and_gives_the_same_rows(self, place: Path, copied: Path) -> None:
        before = times(copied, TRAINED, BUILT, SCORED)
        environment = json.loads((copied / "environment.json").read_text(encoding="utf-8"))
        write_text(copied / "environment.json", json.dumps(environment | {"started": "then", "device": "other"}))
        told: list[str] = []
        run(plan(place), settings(place, copied), watch=lambda name: told.append(name))
        assert times(copied, TRAINED, BUILT, SCORED) == before
        assert told == []
        assert (copied / "results.csv").read_bytes() == (place / "run" / "results.csv").read_bytes()
        after = json.loads((copied / "environment.json").read_text(encoding="utf-8"))
        assert (after["started"], after["device"]) == ("then", "cpu")

    def test_what_was_lost_or_damaged_is_done_again(self, place: Path, copied: Path) -> None:
        before = times(copied, TRAINED, BUILT, SCORED)
        weights = copied / "models" / "mini-unified" / "checkpoint.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        (copied / "models" / "mini-separate-cap" / "checkpoint.safetensors").unlink()
        shutil.rmtree(copied / "sets" / "pgd-4")
        (copied / "sets" / "pgd-8" / "manifest.json").unlink()
        picture = next((copied / "sets" / "pgd-8-targeted" / "cap" / "test" / "synthetic").iterdir())
        picture.write_bytes(picture.read_bytes()[:-20])
        example = next((copied / "examples" / "mini-separate-weave" / "pgd-8").iterdir())
        example.unlink()
        run(plan(place), settings(place, copied))
        assert (copied / "results.csv").read_bytes() == (place / "run" / "results.csv").read_bytes()
        for name in SETS[1:]:
            load_set(copied / "sets" / name)
        assert example.is_file()
        after = times(copied, TRAINED, BUILT, SCORED)
        # The same weights again, so nothing that was made from them is stale.
        assert {name for name, time in after.items() if time != before[name]} == {
            "models/mini-unified/checkpoint.safetensors",
            "models/mini-separate-cap/checkpoint.safetensors",
            "sets/pgd-4/manifest.json",
            "sets/pgd-8/manifest.json",
            "sets/pgd-8-targeted/manifest.json",
            ".tasks/score-mini-separate-weave-pgd-8.json",
        }

    def test_another_limit_is_new_sets_and_scores_but_no_training(self, place: Path, copied: Path) -> None:
        trained, built, scored = (times(copied, pattern) for pattern in (TRAINED, BUILT, SCORED))
        rows = run(plan(place, limit=3), settings(place, copied))
        assert times(copied, TRAINED) == trained
        assert all(time != built[name] for name, time in times(copied, BUILT).items())
        fresh = {name for name, time in times(copied, SCORED).items() if time != scored[name]}
        assert fresh == {name for name in scored if not name.endswith("-clean.json")}
        assert set(rows.loc[(rows["set"] != "clean") & (rows["category"] != "mean"), "n"]) == {3}
        assert set(rows["run"]).isdisjoint(read_rows(place / "run")["run"])

    def test_another_seed_is_other_rows(self, place: Path, tmp_path: Path) -> None:
        small = {"categories": ("cap",), "paradigms": ("unified",), "suites": (), "seed": 1}
        rows = run(plan(place, **small), settings(place, tmp_path))
        assert set(rows["seed"]) == {1}
        first = read_rows(place / "run")
        first = first[(first["set"] == "clean") & (first["category"] == "cap") & (first["paradigm"] == "unified")]
        table = rows[rows["category"] == "cap"].merge(first, on="metric", suffixes=("", "_first"))
        figures = table[~table["metric"].str.endswith("_chance")]
        assert (figures["value"] != figures["value_first"]).any()
        assert table.loc[table["metric"] == "psnr", "value"].item() != pytest.approx(
            table.loc[table["metric"] == "psnr", "value_first"].item(), abs=1e-6
        )


def test_two_processes_give_the_rows_of_one_to_the_last_digit(place: Path, tmp_path: Path) -> None:
    """And a set does not depend on the others of its suite."""
    told: set[str] = set()

    def watch(name: str) -> None:
        told.add(name)

    suite = read_suite("paper").model_dump(mode="json", exclude_none=True)
    suite["threats"] = [threat for threat in suite["threats"] if threat["name"] == "pgd-8"]
    write_text(tmp_path / "short.toml", tomli_w.dumps(suite))
    short = plan(place, suites=(str(tmp_path / "short.toml"),))
    rows = run(short, settings(place, tmp_path / "run", jobs=2), watch=watch)
    first = read_rows(place / "run")
    first = first[first["set"].isin(["clean", "pgd-8"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows.drop(columns="run"), first.drop(columns="run"), check_exact=True)
    assert told == {
        "attack pgd-8",
        *(f"train {model}" for model in MODELS),
        *(f"score {model} on {name}" for model in MODELS for name in ("clean", "pgd-8")),
    }


class TestKeys:
    def key(self, place: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> str:
        given, chosen = plan(place), settings(place, place / "run")
        if change == "seed":
            given = given.model_copy(update={"seed": 1})
        if change == "dataset":
            given = given.model_copy(update={"dataset": "other"})
        if change == "recipe":
            other = place / "other.toml"
            write_text(other, RECORD.replace("lr = 1e-3", "lr = 2e-3"))
            given = given.model_copy(update={"detectors": (str(other),)})
        if change == "precision":
            chosen = settings(place, place / "run", precision="bf16-mixed")
        if change == "torch":
            versions = made_by.versions()
            monkeypatch.setattr(made_by, "versions", lambda: versions | {"torch": "99"})
        if change == "code":
            monkeypatch.setattr(made_by, "code_version", lambda *_: "other")
        if change == "data":
            more = place / "more"
            shutil.copytree(place / "data", more, dirs_exist_ok=True)
            first = more / "cap" / "train" / "good" / "000.png"
            shutil.copy(more / "cap" / "train" / "good" / "001.png", first)
            chosen = Settings(data=more, out=place / "run", device="cpu")
        if change == "textures":
            chosen = settings(place, place / "run", textures=place / "data" / "weave" / "train")
        bench = runner._Bench(given, chosen)
        return bench.train_key(bench.models[0])

    @pytest.mark.parametrize("change", ["seed", "dataset", "recipe", "precision", "torch", "code", "data", "textures"])
    def test_a_training_is_another_with(self, place: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
        same = self.key(place, monkeypatch, "nothing")
        assert self.key(place, monkeypatch, "nothing") == same
        assert self.key(place, monkeypatch, change) != same

    def test_other_weights_are_other_sets_and_scores(self, place: Path, copied: Path) -> None:
        bench = runner._Bench(plan(place), settings(place, copied))
        model, threat = bench.models[0], bench.threats[1]
        before = bench.set_key(threat), bench.score_key(model, "clean"), bench.score_key(model, "pgd-4")
        recipe = copied / "models" / model.name / "recipe.toml"
        text = recipe.read_text(encoding="utf-8")
        digest = text.split('sha256 = "')[1][:64]
        write_text(recipe, text.replace(digest, "0" * 64))
        after = bench.set_key(threat), bench.score_key(model, "clean"), bench.score_key(model, "pgd-4")
        assert all(new != old for new, old in zip(after, before, strict=True))


class TestModels:
    def test_one_unified_and_a_separate_one_a_category(self, place: Path) -> None:
        models = models_of(plan(place))
        assert tuple(model.name for model in models) == MODELS
        assert [model.categories for model in models] == [("cap", "weave"), ("cap",), ("weave",)]

    def test_sources_are_named_or_unified(self, place: Path) -> None:
        given = plan(place)
        models = models_of(given)
        assert [model.name for model in sources_of(given, models)] == ["mini-unified"]
        named = plan(place, sources=("mini-separate-weave",))
        assert [model.name for model in sources_of(named, models)] == ["mini-separate-weave"]
        apart = plan(place, paradigms=("separate",))
        with pytest.raises(UserError, match="expected sources in a plan without unified models"):
            sources_of(apart, models_of(apart))
        alone = plan(place, paradigms=("separate",), categories=("cap",))
        assert [model.name for model in sources_of(alone, models_of(alone))] == ["mini-separate-cap"]
        with pytest.raises(UserError, match=r"unknown source model 'mini-unifed'; did you mean 'mini-unified'"):
            sources_of(plan(place, sources=("mini-unifed",)), models)

    def test_the_paper_has_the_control_first(self) -> None:
        assert tuple(threat.name for threat in read_suite("paper").threats) == SETS[1:]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"categories": ("cup",)}, "did you mean 'cap'"), ({"suites": ("papers",)}, "did you mean 'paper'")],
)
def test_a_mistake_writes_nothing(place: Path, tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(plan(place, **changes), settings(place, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


ON_THE_SPOT = """
name = "spot"
title = "On the spot"
against = "{against}"
worst = {worst}
[[threats]]
name = "{against}-any"
eps = "8/255"
steps = 2
[[threats]]
name = "{against}-hide"
eps = "8/255"
goal = "hide"
steps = 2
"""


class TestOnTheSpot:
    """Suites that attack the test split, beside the sets on disk."""

    @pytest.fixture
    def suites(self, tmp_path: Path) -> tuple[str, ...]:
        text = ON_THE_SPOT.format(against="self", worst="true")
        write_text(tmp_path / "self.toml", text)
        other = ON_THE_SPOT.format(against="each", worst="false").replace('"spot"', '"cross"')
        write_text(tmp_path / "each.toml", other)
        return str(tmp_path / "self.toml"), str(tmp_path / "each.toml")

    def test_rows_attempts_and_health_are_complete_and_kept(
        self, place: Path, copied: Path, tmp_path: Path, suites: tuple[str, ...]
    ) -> None:
        trained = times(copied, TRAINED, BUILT, SCORED)
        given = plan(place, suites=("paper", *suites), test_limit=3)
        rows = run(given, settings(place, copied))
        assert times(copied, TRAINED, BUILT, SCORED) == trained
        there = rows[(rows["metric"] == "pixel_auroc") & rows["set"].str.startswith(("spot", "self"))]
        assert set(there["set"]) == {"spot-unattacked", "self-any", "self-hide", "spot-worst"}
        assert set(there.loc[there["set"].str.startswith("self"), "source"]) == {"self"}
        assert set(there.loc[there["category"] != "mean", "n"]) == {3}
        assert len(there) == 4 * 2 * 3
        crossed = rows[(rows["set"] == "each-any") & (rows["metric"] == "pixel_auroc") & (rows["category"] == "cap")]
        said = set(crossed[["paradigm", "source"]].itertuples(index=False, name=None))
        assert said == {
            ("unified", "self"), ("unified", "mini-separate"), ("separate", "self"), ("separate", "mini-unified"),
        }  # fmt: skip
        attempts = pd.read_csv(copied / "attacks.csv")
        assert len(attempts) == 2 * 2 * 4
        assert set(attempts["largest_change"]) == {8.0}
        checked = pd.read_csv(copied / "health.csv")
        assert set(checked["status"]) <= {"passed", "failed", "not run"}
        assert set(checked.loc[checked["check"].str.contains("bound"), "status"]) == {"passed"}

        before = (copied / "results.csv").read_bytes()
        done = times(copied, ".tasks/*.json")
        run(given, settings(place, copied))
        assert times(copied, ".tasks/*.json") == done
        run(given, settings(place, tmp_path / "again", jobs=2))
        assert (tmp_path / "again" / "results.csv").read_bytes() == before
        for name in ("attacks.csv", "health.csv", "examples/index.csv"):
            assert (tmp_path / "again" / name).read_bytes() == (copied / name).read_bytes()

    def test_names_of_pictures_are_used_once(self, place: Path, tmp_path: Path, suites: tuple[str, ...]) -> None:
        text = Path(suites[0]).read_text(encoding="utf-8").replace('"self-any"', '"pgd-4"')
        write_text(tmp_path / "self.toml", text)
        with pytest.raises(UserError, match="expected threats of different names, 'pgd-4' is there twice"):
            run(plan(place, suites=("paper", suites[0])), settings(place, tmp_path / "run"))


class TestKeepModels:
    def test_trainings_of_other_code_are_kept_when_asked_for(
        self, place: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trained = times(copied, TRAINED)
        monkeypatch.setattr(made_by, "code_version", lambda *_: "other")
        run(plan(place), settings(place, copied, keep_models=True))
        assert times(copied, TRAINED) == trained

    def test_but_not_those_of_another_recipe_or_seed(self, place: Path, copied: Path) -> None:
        trained = times(copied, TRAINED)
        small = {"categories": ("cap",), "paradigms": ("separate",), "suites": ()}
        run(plan(place, **small, seed=1), settings(place, copied, keep_models=True))
        after = times(copied, TRAINED)
        changed = {name for name in trained if after[name] != trained[name]}
        assert changed == {"models/mini-separate-cap/checkpoint.safetensors"}
