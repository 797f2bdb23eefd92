"""A plan from its data to its rows: complete, repeatable, and never done twice."""

import json
import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import tomli_w
from conftest import RECORD, Command, contents

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets.build import load_set
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Plan
from omnial_bench.data.dataset import find_dataset
from omnial_bench.errors import UserError
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import without_none, write_text
from omnial_bench.metrics.alarms import NAMES
from omnial_bench.metrics.metric import METRICS
from omnial_bench.pipeline.model_tasks import Building, Scoring
from omnial_bench.pipeline.plan import Settings, models_of, sources_of
from omnial_bench.pipeline.run_plan import dry_run, run
from omnial_bench.pipeline.task_cache import read_note
from omnial_bench.pipeline.train_task import Training
from omnial_bench.pipeline.workspace import Workspace
from omnial_bench.progress import LOG
from omnial_bench.results import UNFINISHED, read_rows

MODELS = ("mini-unified", "mini-separate-cap", "mini-separate-weave")
SETS = ("clean", "unattacked", "pgd-4", "pgd-8", "pgd-8-targeted")


@pytest.fixture(scope="module")
def place(mini: Path) -> Path:
    """The folder of `mini` with the paper's suite in two steps of ten, and a finished run in `run`."""
    suite = read_suite("paper").model_dump(mode="json", exclude_none=True)
    suite["threats"] = [threat | {"steps": 2} for threat in suite["threats"]]
    write_text(mini / "paper.toml", tomli_w.dumps(suite))
    run(plan(mini), settings(mini, mini / "run"))
    return mini


def plan(place: Path, **changes: object) -> Plan:
    table = {
        "name": "mini", "title": "Mini", "dataset": "toy", "categories": ("cap", "weave"), "preset": "tiny", "limit": 3,
        "detectors": (str(place / "mini.toml"),), "suites": (str(place / "paper.toml"),),
    }  # fmt: skip
    return Plan.model_validate(table | changes)


def settings(place: Path, out: Path, **changes: object) -> Settings:
    return Settings(**{"data": place / "data", "out": out, "device": "cpu", **changes})  # type: ignore[arg-type]


def times(out: Path, *patterns: str) -> dict[str, int]:
    """When each file was written; a run that does nothing leaves them."""
    paths = [path for pattern in patterns for path in out.glob(pattern)]
    assert paths
    kept = [path for path in paths if ".damaged" not in path.as_posix()]
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in kept}


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
        # Of the few images that the unified model holds out none is of cap, which has no threshold then.
        undefined = rows.loc[rows["value"].isna(), ["paradigm", "category", "metric"]].drop_duplicates()
        assert set(undefined.itertuples(index=False, name=None)) == {("unified", "cap", name) for name in NAMES}
        assert set(rows["run"]) == {Workspace(plan(place), settings(place, place / "run")).run}

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
        parts = rows.groupby("set")[["attack", "norm", "eps", "goal"]]
        told = {key: set(part) for key, part in parts.apply(_pairs).items()}
        assert told["clean"] == told["unattacked"] == {("", "", "", "")}
        assert told["pgd-8-targeted"] == {("pgd", "linf", "8/255", "target")}

    def test_the_limit_holds_in_every_set(self, place: Path) -> None:
        rows = read_rows(place / "run")
        counted = rows[(rows["set"] != "clean") & (rows["category"] != "mean")]
        shares = counted["metric"].isin(NAMES)
        assert set(counted.loc[~shares, "n"]) == {3}
        apart = counted[counted["metric"].isin(NAMES[:2])].groupby(["paradigm", "category", "set"])["n"].sum()
        assert set(apart) == {3}


def _pairs(part: pd.DataFrame) -> list[tuple[str, str]]:
    return list(part.itertuples(index=False, name=None))


def test_what_a_run_leaves(place: Path) -> None:
    out = place / "run"
    assert {path.parent.name for path in out.glob(TRAINED)} == set(MODELS)
    environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    assert environment["threads"] == 1
    assert environment["dataset"]["root"] == "data"
    assert environment["suites"] == {"paper": "PGD at 4/255, 8/255 and 8/255 targeted"}
    assert (environment["detectors"], environment["families"]) == ({"mini": "Mini"}, {"mini": "thicket"})
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
        run(plan(place), settings(place, copied), watch=told.append)
        assert times(copied, TRAINED, BUILT, SCORED) == before
        assert told == ["run"]
        assert (copied / "results.csv").read_bytes() == (place / "run" / "results.csv").read_bytes()
        after = json.loads((copied / "environment.json").read_text(encoding="utf-8"))
        assert (after["started"], after["device"]) == ("then", "cpu")

    def test_what_was_lost_or_damaged_is_done_again(self, place: Path, copied: Path, caplog) -> None:
        before = times(copied, TRAINED, BUILT, SCORED)
        weights = copied / "models" / "mini-unified" / "checkpoint.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        (copied / "models" / "mini-separate-cap" / "checkpoint.safetensors").unlink()
        shutil.rmtree(copied / "sets" / "pgd-4")
        (copied / "sets" / "pgd-8" / "manifest.json").unlink()
        image = next((copied / "sets" / "pgd-8-targeted" / "cap" / "test" / "synthetic").iterdir())
        image.write_bytes(image.read_bytes()[:-20])
        example = next((copied / "examples" / "mini-separate-weave" / "pgd-8").iterdir())
        example.unlink()
        changed = sorted((copied / "examples" / "mini-unified" / "clean").iterdir())[0]
        changed.write_bytes(changed.read_bytes() + b" ")
        memory = copied / ".tasks" / "score-mini-unified-pgd-4-cap.json"
        write_text(memory, memory.read_text(encoding="utf-8").replace('"value": 0', '"value": 1', 1))
        run(plan(place), settings(place, copied))
        damaged = {
            "models/mini-unified/checkpoint.safetensors", "models/mini-unified/recipe.toml", "sets/pgd-8",
            "sets/pgd-8-targeted", changed.relative_to(copied).as_posix(), ".tasks/score-mini-unified-pgd-4-cap.json",
        }  # fmt: skip
        for path in damaged:
            assert (copied / f"{path}.damaged").exists()
            assert any(f"the damaged one is kept as {copied / path}.damaged" in line for line in caplog.messages)
        assert {path.relative_to(copied).as_posix() for path in copied.rglob("*.damaged")} == {
            f"{path}.damaged" for path in damaged
        }
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
            ".tasks/score-mini-unified-clean-cap.json",
            ".tasks/score-mini-unified-pgd-4-cap.json",
        }

    def test_what_decides_no_figure_is_set_aside_and_nothing_trained(self, place: Path, copied: Path, caplog) -> None:
        before = times(copied, TRAINED, BUILT, SCORED)
        damaged = [copied / "models" / "mini-unified" / "log.csv", copied / ".tasks" / "train-mini-separate-cap.json"]
        for path in damaged:
            path.write_bytes(b"\xff" + path.read_bytes()[1:])
        (copied / "results.csv").unlink()
        (copied / "results.csv").mkdir()
        for _ in range(2):
            run(plan(place), settings(place, copied))
        assert times(copied, TRAINED, BUILT, SCORED) == before
        for path in (*damaged, copied / "results.csv"):
            assert path.with_name(f"{path.name}.damaged").exists()
            assert caplog.text.count(f"is kept as {path}.damaged") == 1
        assert read_note(copied / ".tasks", "train-mini-separate-cap")
        assert (copied / "results.csv").read_bytes() == (place / "run" / "results.csv").read_bytes()

    def test_a_log_without_its_note(self, place: Path, copied: Path, caplog: pytest.LogCaptureFixture) -> None:
        before = times(copied, TRAINED, BUILT, SCORED)
        note, log_file = copied / ".tasks" / "train-mini-unified.json", copied / "models" / "mini-unified" / "log.csv"
        note.unlink()
        run(plan(place), settings(place, copied))
        assert list(read_note(note.parent, note.stem)["files"]) == ["models/mini-unified/log.csv"]
        note.write_text("{")
        log_file.write_bytes(b"\xff" * 99)
        run(plan(place), settings(place, copied))
        assert log_file.with_name("log.csv.damaged").is_file() and note.with_name(f"{note.name}.damaged").is_file()
        assert not log_file.exists() and read_note(note.parent, note.stem)["files"] == {}
        assert times(copied, TRAINED, BUILT, SCORED) == before and "log.csv.damaged" in caplog.text

    @pytest.mark.parametrize("inner", ["models", "models/mini-unified", "sets"])
    def test_a_step_at_work_in_a_folder_of_the_run(self, place: Path, copied: Path, inner: str) -> None:
        with claimed(copied / inner, alone=True), pytest.raises(UserError, match=f"{inner} is in use by another"):
            run(plan(place), settings(place, copied))


def scores_of(model: str, name: str) -> list[str]:
    """The titles of the tasks that score a model on a set."""
    return [f"score {model} on {name}{end}" for end in ([", cap", ", weave"] if "unified" in model else [""])]


class TestDryRun:
    """What would be done and why; nothing is written."""

    def why(self, given: Plan, chosen: Settings) -> dict[str, tuple[str, ...]]:
        before = contents(chosen.out)
        found = {str(one.task): one.reasons for one in dry_run(given, chosen)}
        assert contents(chosen.out) == before
        return {title: reasons for title, reasons in found.items() if reasons}

    def test_a_new_plan_is_due_and_says_what_waits_for_what(self, place: Path, tmp_path: Path) -> None:
        found = dry_run(plan(place), settings(place, tmp_path / "run"))
        assert not (tmp_path / "run").exists()
        assert [one.task.kind for one in found] == ["train"] * 3 + ["set"] * 4 + ["score"] * 20 + ["report"]
        reasons = {str(one.task): one.reasons for one in found}
        assert reasons["train mini-unified"] == ("never done",)
        assert reasons["set pgd-8"] == ("never done", "depends on train mini-unified, which is due")
        assert reasons["score mini-separate-cap on pgd-8"] == (
            "never done",
            "depends on train mini-separate-cap, which is due",
            "depends on set pgd-8, which is due",
        )
        assert reasons["report"] == ("depends on train mini-unified, which is due",)

    def test_all_is_done_but_the_report_until_that_is_written(self, place: Path, copied: Path) -> None:
        assert self.why(plan(place), settings(place, copied)) == {"report": ("never done",)}
        told: list[Path] = []

        def report(out: Path) -> list[Path]:
            told.append(out)
            write_text(out / "report.md", "written\n")
            return [out / "report.md"]

        # The environment names the command, so it is written before what is read here.
        for _ in range(2):
            run(plan(place), settings(place, copied), report=report)
        assert told == [copied]
        assert self.why(plan(place), settings(place, copied)) == {}
        write_text(copied / "report.md", "other\n")
        assert self.why(plan(place), settings(place, copied)) == {
            "report": (f"{copied}/report.md is damaged (its hash differs)",)
        }
        rows = copied / "results.csv"
        write_text(rows, rows.read_text(encoding="utf-8") + "\n")
        assert self.why(plan(place), settings(place, copied)) == {"report": ("inputs changed",)}

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("seed", "seed changed (0 to 1)"),
            ("dataset", "dataset changed (toy to other)"),
            ("recipe", "recipe changed (training.max_iterations 2 to 3)"),
            ("precision", "precision changed (32-true to bf16-mixed)"),
            ("torch", "versions changed (torch {torch} to 99)"),
            ("code", "code changed"),
            ("data", "data changed (cap/train/good/000.png is other)"),
            ("textures", "textures changed"),
        ],
    )
    def test_what_changed_is_named(self, place: Path, copied: Path, monkeypatch, change: str, reason: str) -> None:
        versions = made_by.versions()
        reason = reason.format(torch=versions["torch"])
        if change == "torch":
            monkeypatch.setattr(made_by, "versions", lambda: versions | {"torch": "99"})
        if change == "code":
            monkeypatch.setattr(made_by, "code_version", lambda *_: "other")
        given, chosen = changed_plan(place, copied, change)
        found = self.why(given, chosen)
        assert found["train mini-unified"] == (reason,)
        own = () if change in ("recipe", "textures") else (reason,)
        assert found["set pgd-4"] == (*own, "depends on train mini-unified, which is due")
        own = (reason,) if change in ("precision", "torch", "code") else ()
        assert found["score mini-separate-cap on clean"] == (
            *own,
            "depends on train mini-separate-cap, which is due",
        )
        (copied / ".tasks" / "train-mini-unified.json").unlink()
        said = self.why(given, chosen)["train mini-unified"]
        known = change in ("seed", "recipe", "data")
        assert said == ((reason,) if known else ("made by other code or settings",))

    def test_another_limit_concerns_the_sets(self, place: Path, copied: Path) -> None:
        found = self.why(plan(place, limit=2), settings(place, copied))
        assert set(found) == {
            *(f"set {name}" for name in SETS[1:]),
            *(title for model in MODELS for name in SETS[1:] for title in scores_of(model, name)),
            "report",
        }
        assert found["set pgd-8"] == ("suite changed (limit 3 to 2)",)
        assert found["score mini-unified on pgd-8, cap"] == ("depends on set pgd-8, which is due",)

    def test_what_is_missing_or_damaged_is_named(self, place: Path, copied: Path) -> None:
        image = next((copied / "sets" / "pgd-8" / "cap" / "test" / "synthetic").iterdir())
        image.write_bytes(b"")
        example = next((copied / "examples" / "mini-separate-weave" / "clean").iterdir())
        example.unlink()
        weights = copied / "models" / "mini-separate-cap" / "checkpoint.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
        write_text(copied / ".tasks" / "score-mini-unified-clean-cap.json", "{}\n")
        found = self.why(plan(place), settings(place, copied))
        assert found["set pgd-8"][0].startswith(f"{image} is not the file of the manifest")
        assert found["score mini-separate-weave on clean"] == (f"{example} is missing",)
        assert found["train mini-separate-cap"][0].startswith(f"{weights} does not match the hash")
        assert "is damaged (its hash differs)" in found["score mini-unified on clean, cap"][0]
        assert found["score mini-unified on pgd-8, cap"] == ("depends on set pgd-8, which is due",)
        assert "score mini-unified on pgd-4, cap" not in found

    def test_a_training_that_was_stopped_goes_on(self, place: Path, copied: Path) -> None:
        folder = copied / "models" / "mini-unified"
        (folder / "recipe.toml").unlink()
        (folder / "last.safetensors").write_bytes(b"")
        found = self.why(plan(place), settings(place, copied))
        assert found["train mini-unified"] == ("begun, not finished",)

    def test_kept_models_are_done(self, place: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(made_by, "code_version", lambda *_: "other")
        found = self.why(plan(place), settings(place, copied, keep_models=True))
        assert not [title for title in found if title.startswith("train")]
        assert found["set pgd-4"] == ("code changed",)


def test_the_command_lists_tasks(place: Path, copied: Path, command: Command) -> None:
    write_text(place / "plan.toml", tomli_w.dumps(without_none(plan(place).model_dump(mode="json"))))
    line = f"run {place}/plan.toml --data {place}/data --device cpu --out {copied} --dry-run"
    weights = copied / "models" / "mini-separate-cap" / "checkpoint.safetensors"
    weights.unlink()
    before = contents(copied)
    status, out, err = command(line)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "28 tasks: 21 done, 7 due"
    assert "depends on train mini-separate-cap, which is due" in " ".join(out.split())
    rows = json.loads(command(f"{line} --json").out)
    assert [row["task"] for row in rows if row["status"] == "due"] == [
        "train mini-separate-cap", *(f"score mini-separate-cap on {name}" for name in SETS), "report",
    ]  # fmt: skip
    assert rows[1]["why"] == [f"{weights} is missing"]
    assert rows[7]["needs"] == ["train-mini-unified"]
    assert contents(copied) == before


def changed_plan(place: Path, out: Path, change: str) -> tuple[Plan, Settings]:
    """The plan and its settings with one thing other than in the finished run."""
    record, data = out.parent / "mini.toml", out.parent / "data"
    if change == "recipe":
        write_text(record, RECORD.replace("max_iterations = 2", "max_iterations = 3"))
    if change == "data":
        normals = shutil.copytree(place / "data", data) / "cap" / "train" / "good"
        shutil.copy(normals / "001.png", normals / "000.png")
    plans = {"seed": {"seed": 1}, "dataset": {"dataset": "other"}, "recipe": {"detectors": (str(record),)}}
    chosen = {
        "precision": {"precision": "bf16-mixed"}, "data": {"data": data},
        "textures": {"textures": place / "data" / "weave" / "train"},
    }  # fmt: skip
    return plan(place, **plans.get(change, {})), settings(place, out, **chosen.get(change, {}))


class TestKeys:
    def test_other_weights_are_other_sets_and_scores(self, place: Path, copied: Path) -> None:
        workspace = Workspace(plan(place), settings(place, copied))
        model = workspace.models[0]
        building = next(task for task in workspace.tasks if isinstance(task, Building))
        tasks = [building, *(Scoring(model.name, name, "cap") for name in ("clean", "pgd-4"))]
        before = [task.inputs(workspace) for task in tasks]
        recipe = copied / "models" / model.name / "recipe.toml"
        text = recipe.read_text(encoding="utf-8")
        digest = text.split('sha256 = "')[1][:64]
        write_text(recipe, text.replace(digest, "0" * 64))
        for task, old in zip(tasks, before, strict=True):
            new = task.inputs(workspace)
            assert old is not None and new is not None and new.key != old.key


class TestOnlyWhatChanged:
    """A key covers the files that its task reads, and no more."""

    @pytest.fixture
    def data(self, place: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(place / "data", tmp_path / "data"))

    def test_a_changed_test_image_scores_its_category_again_and_trains_nothing(
        self, place: Path, copied: Path, data: Path
    ) -> None:
        before = times(copied, TRAINED, BUILT, SCORED)
        first, second = sorted((data / "cap" / "test" / "good").iterdir())[:2]
        shutil.copy(second, first)
        chosen = Settings(data=data, out=copied, device="cpu")
        name = first.relative_to(data).as_posix()
        due = {str(one.task): one.reasons for one in dry_run(plan(place), chosen) if one.reasons}
        scored = ["score mini-unified on clean, cap", "score mini-separate-cap on clean"]
        assert {title: due[title] for title in scored} == dict.fromkeys(scored, (f"data changed ({name} is other)",))
        assert set(due) == {*scored, "report"}
        rows = run(plan(place), chosen)
        after = times(copied, TRAINED, BUILT, SCORED)
        again = {f".tasks/score-mini-{end}.json" for end in ("unified-clean-cap", "separate-cap-clean")}
        assert {path for path, time in after.items() if time != before[path]} == again
        old = read_rows(place / "run")
        changed = rows["value"].ne(old["value"]) & (rows["value"].notna() | old["value"].notna())
        assert set(rows.loc[changed, "set"]) == {"clean"} and set(rows.loc[changed, "category"]) == {"cap", "mean"}

    def test_a_category_that_is_added_trains_and_scores_what_is_new(self, place: Path, tmp_path: Path) -> None:
        small = {"paradigms": ("separate",), "suites": (), "sources": ("mini-separate-cap",)}
        out = tmp_path / "run"
        run(plan(place, categories=("cap",), **small), settings(place, out))
        before = times(out, TRAINED, SCORED)
        rows = run(plan(place, **small), settings(place, out))
        after = times(out, TRAINED, SCORED)
        assert {path: time for path, time in after.items() if path in before} == before and len(after) == 4
        assert set(rows["category"]) == {"cap", "weave", "mean"}


class TestStopped:
    """A run that ends before its end leaves the rows of what is done."""

    def test_rows_lie_there_and_what_is_missing_is_named(
        self, place: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out, asked = tmp_path / "stopped", []
        score = Scoring.run

        def stop(task: Scoring, *given: object) -> object:
            asked.append(task)
            if len(asked) == 4:
                raise KeyboardInterrupt
            return score(task, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(Scoring, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            run(plan(place), settings(place, out))
        rows, whole = read_rows(out), read_rows(copied)
        assert set(zip(rows["category"], rows["set"], strict=True)) == {
            ("cap", "clean"), ("weave", "clean"), ("mean", "clean"), ("cap", "unattacked"),
        }  # fmt: skip
        keys = ["paradigm", "category", "set", "metric"]
        merged = rows.merge(whole, on=keys, suffixes=("", "_whole"))
        assert len(merged) == len(rows) and merged["value"].equals(merged["value_whole"])
        unfinished = json.loads((out / UNFINISHED).read_text(encoding="utf-8"))
        assert (unfinished["done"], unfinished["of"], len(unfinished["missing"])) == (10, 27, 17)
        assert unfinished["missing"][0] == "score mini-unified on unattacked, weave"
        log = (out / LOG).read_text(encoding="utf-8")
        assert "INFO [10/27] score mini-unified on unattacked, cap  0:" in log
        monkeypatch.undo()
        run(plan(place), settings(place, out))
        assert not (out / UNFINISHED).exists()
        assert (out / "results.csv").read_bytes() == (copied / "results.csv").read_bytes()

    def test_rows_of_an_earlier_run_stay_where_none_came(self, place: Path, copied: Path, monkeypatch) -> None:
        monkeypatch.setattr(made_by, "code_version", lambda *_: "other")
        monkeypatch.setattr(Training, "run", lambda *_: pytest.fail("broken"))
        before = (copied / "results.csv").read_bytes()
        with pytest.raises(pytest.fail.Exception):
            run(plan(place), settings(place, copied))
        assert (copied / "results.csv").read_bytes() == before and not (copied / UNFINISHED).exists()


class TestModels:
    def test_sources_are_named_or_unified(self, place: Path) -> None:
        given = plan(place)
        models, sets = models_of(given), [read_suite("paper")]
        assert [model.name for model in sources_of(given, models, sets)] == ["mini-unified"]
        named = plan(place, sources=("mini-separate-weave",))
        assert [model.name for model in sources_of(named, models, sets)] == ["mini-separate-weave"]
        apart = plan(place, paradigms=("separate",))
        with pytest.raises(UserError, match=r"expected sources for the sets of suite .*; write sources ="):
            sources_of(apart, models_of(apart), sets)
        assert sources_of(apart, models_of(apart), [read_suite("quick")]) == []
        alone = plan(place, paradigms=("separate",), categories=("cap",))
        assert [model.name for model in sources_of(alone, models_of(alone), sets)] == ["mini-separate-cap"]
        with pytest.raises(UserError, match=r"unknown source model 'mini-unifed'; did you mean 'mini-unified'"):
            sources_of(plan(place, sources=("mini-unifed",)), models, sets)


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

    def test_rows_attempts_and_health_are_complete_kept_and_those_of_two_processes(
        self, place: Path, copied: Path, tmp_path: Path, suites: tuple[str, ...]
    ) -> None:
        trained = times(copied, TRAINED, BUILT, SCORED)
        given = plan(place, suites=(str(place / "paper.toml"), *suites), test_limit=3)
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
        assert (copied / "results.csv").read_bytes() == before
        self.two_processes(place, copied, tmp_path, suites)

    def two_processes(self, place: Path, one: Path, tmp_path: Path, suites: tuple[str, ...]) -> None:
        """From nothing, they give what one process gave to the last digit; and a set does not depend on the others of
        its suite."""
        told: set[str] = set()
        suite = read_suite(str(place / "paper.toml")).model_dump(mode="json", exclude_none=True)
        suite["threats"] = [threat for threat in suite["threats"] if threat["name"] == "pgd-8"]
        write_text(tmp_path / "short.toml", tomli_w.dumps(suite))
        short, two = plan(place, suites=(str(tmp_path / "short.toml"), *suites), test_limit=3), tmp_path / "two"

        run(short, settings(place, two, jobs=2), watch=told.add)
        left_out = set(SETS) - {"clean", "pgd-8"}
        for name in ("results.csv", "attacks.csv", "health.csv", "examples/index.csv"):
            first, second = (pd.read_csv(out / name, dtype=str) for out in (one, two))
            # Of the other plan are the sets that are not there, and its number.
            first = first[~first["set"].isin(left_out)].reset_index(drop=True)
            frames = [table.drop(columns="run", errors="ignore") for table in (first, second)]
            pd.testing.assert_frame_equal(*frames)
        assert {
            "attack pgd-8",
            *(f"train {model}" for model in MODELS),
            *(title for model in MODELS for name in ("clean", "pgd-8") for title in scores_of(model, name)),
        } <= told


class TestKeepModels:
    def test_those_of_an_earlier_version_are_kept_too(self, place: Path, copied: Path) -> None:
        """Which took all files of the plan for what a training had seen, and test images with them."""
        whole = find_dataset(place / "data", ("cap", "weave"), name="toy").fingerprint
        for recipe in copied.glob("models/*/recipe.toml"):
            table = tomllib.loads(recipe.read_text(encoding="utf-8"))
            table["provenance"] |= {"data_fingerprint": whole, "key": "0" * 16}
            del table["checksum"]
            write_text(recipe, tomli_w.dumps(table))
        trained = times(copied, TRAINED, SCORED)
        run(plan(place), settings(place, copied, keep_models=True))
        assert times(copied, TRAINED, SCORED) == trained

    def test_but_not_those_of_another_recipe_or_seed(self, place: Path, copied: Path) -> None:
        trained = times(copied, TRAINED)
        small = {"categories": ("cap",), "paradigms": ("separate",), "suites": ()}
        run(plan(place, **small, seed=1), settings(place, copied, keep_models=True))
        after = times(copied, TRAINED)
        changed = {name for name in trained if after[name] != trained[name]}
        assert changed == {"models/mini-separate-cap/checkpoint.safetensors"}
