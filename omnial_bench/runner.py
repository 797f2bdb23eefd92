"""A plan -> trainings, adversarial sets, scores -> rows. Each task is kept under the hash of all that decides it."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import tomli_w
import torch

from omnial_bench import provenance as made_by
from omnial_bench.attacks.health import health
from omnial_bench.attacks.manifest import NAME as MANIFEST
from omnial_bench.attacks.sets import AdversarialSet, build_sets, compose, load_set
from omnial_bench.checkpoint import RECIPE, Trained, load, provenance_of, read_provenance
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.folder import Dataset, find_dataset
from omnial_bench.data.textures import load_textures
from omnial_bench.device import attack_dtype, fabric, placed
from omnial_bench.errors import UserError
from omnial_bench.examples import FOLDER as EXAMPLES
from omnial_bench.examples import Keeper, choose, gallery, write_index
from omnial_bench.jobs import Progress, Watch, crew, recall, remember, threads_of
from omnial_bench.planning import Model, Settings, check_plan, models_of, sources_of
from omnial_bench.records import Plan, Suite, read_suite, read_toml
from omnial_bench.scoring import labels_of, labels_on, score, with_means
from omnial_bench.store import (
    attempts_frame,
    frame,
    make_folder,
    sha256,
    without_none,
    write_json,
    write_rows,
    write_text,
)
from omnial_bench.training import is_trained, train
from omnial_bench.white_box import Evaluation, Target, evaluate, remembered

log = logging.getLogger(__name__)

SHARED_CODE = ("nouns.py", "device.py", "data", "models", "metrics/quality.py")
TRAINING_CODE = (*SHARED_CODE, "synthesis", "losses.py", "spread.py", "training.py")
ATTACK_CODE = (*SHARED_CODE, "synthesis", "attacks")
SCORING_CODE = (*SHARED_CODE, "metrics", "scoring.py", "examples.py", "store.py")


def run(plan: Plan, settings: Settings, *, watch: Watch = lambda _: None) -> pd.DataFrame:
    """Train, build the sets, score; results.csv and everything that a report needs lie in `settings.out` afterwards.

    What is there already, whole and still fitting the plan, is not done again. UserError for a mistake in the plan or
    the data.
    """
    check_plan(plan, settings)
    bench = _Bench(plan, settings)
    make_folder(bench.out)
    write_text(bench.out / "plan.toml", tomli_w.dumps(without_none(plan.model_dump(mode="json"))))
    write_environment(
        bench.out, bench.dataset, device=bench.device, threads=threads_of(settings.jobs), precision=settings.precision,
        seed=plan.seed,
    )  # fmt: skip
    with crew(_Bench, (plan, settings), settings.jobs, watch) as each:
        each(_train, bench.models)
        each(_build, bench.threats)
        scored = each(_score, [(model, name) for model in bench.models for name in ("clean", *bench.sets)])
        evaluated = each(_evaluate, [(model, suite) for suite in bench.evaluations for model in bench.models])
    found = Evaluation()
    for one in (*scored, *evaluated):
        found.extend(one)
    normals = bench.dataset.load("train", None, bench.size)
    examples = gallery(
        bench.out, normals, bench.textures, seed=plan.seed, categories=plan.categories, detector="omnial"
    )
    write_index(bench.out, [*examples, *found.examples])
    return write_found(bench.out, found)


class _Bench:
    """A plan with its data: what every task looks things up in."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan, self.settings, self.out, self.done = plan, settings, settings.out, settings.out / ".tasks"
        self.models = models_of(plan)
        self.sources = sources_of(plan, self.models)
        suites = [read_suite(name) for name in plan.suites]
        self.evaluations = [suite for suite in suites if suite.against != "sources"]
        # Each set is a task of its own, so each threat a suite.
        self.threats = [
            suite.model_copy(update={"threats": (threat,), "limit": plan.limit or suite.limit})
            for suite in suites
            if suite.against == "sources"
            for threat in suite.threats
        ]
        self.sets = [suite.threats[0].name for suite in self.threats]
        self.size = self.models[0].recipe.size
        self.device = fabric(settings.device, settings.precision).device
        self.dataset = find_dataset(settings.data, plan.categories, name=plan.dataset)
        self.textures = load_textures(settings.textures, self.size)
        self.base = {
            "versions": made_by.versions(),
            "device": self.device.type,
            "precision": settings.precision,
            "dataset": plan.dataset,
            "data": self.dataset.fingerprint,
            "textures": hashlib.sha256(self.textures.contiguous().numpy().data).hexdigest(),
            "seed": plan.seed,
        }
        decided_by = {
            "code": made_by.code_version(*ATTACK_CODE, *SCORING_CODE),
            "plan": plan.model_dump(mode="json"),
            "models": [self.train_key(model) for model in self.models],
            "suites": [suite.model_dump(mode="json") for suite in suites],
        }
        self.run = f"{plan.name}-{made_by.key_of(**decided_by)[:8]}"
        self.opened: dict[str, AdversarialSet] = {}
        self.loaded: dict[str, Trained] = {}

    def folder_of(self, model: Model) -> Path:
        return self.out / "models" / model.name

    def train_key(self, model: Model) -> str:
        recipe = model.recipe.model_dump(mode="json")
        code = made_by.code_version(*TRAINING_CODE)
        return made_by.key_of(code=code, recipe=recipe, categories=model.categories, **self.base)

    def model_key(self, model: Model) -> str:
        """Of a trained model: with its weights' hash, for a second training may be rounded otherwise."""
        weights = read_toml(self.folder_of(model) / RECIPE)["sha256"]
        return made_by.key_of(training=self.train_key(model), weights=weights)

    def set_key(self, suite: Suite) -> str:
        return made_by.key_of(
            code=made_by.code_version(*ATTACK_CODE),
            suite=suite.model_dump(mode="json", exclude={"title"}),
            sources=[self.model_key(model) for model in self.sources],
            **self.base,
        )

    def score_key(self, model: Model, name: str) -> str:
        pictures = "clean" if name == "clean" else sha256(self.set_folder(name) / MANIFEST)
        code = made_by.code_version(*SCORING_CODE)
        return made_by.key_of(code=code, model=self.model_key(model), set=name, pictures=pictures, **self.base)

    def evaluation_key(self, model: Model, suite: Suite) -> str:
        return made_by.key_of(
            code=made_by.code_version(*ATTACK_CODE, *SCORING_CODE, "white_box.py"),
            suite=suite.model_dump(mode="json", exclude={"title"}),
            limit=self.plan.test_limit,
            model=self.model_key(model),
            targets=[self.model_key(other) for other in self.targets(model, suite)],
            **self.base,
        )

    def targets(self, model: Model, suite: Suite) -> list[Model]:
        """The other models that see what a suite makes of a model's pictures."""
        if suite.against != "each":
            return []
        return [other for other in self.models if other != model and set(other.categories) & set(model.categories)]

    def target(self, trained: Trained) -> Target:
        made = trained.provenance
        return Target(detector=trained.detector, labels=labels_of(trained, self.run), categories=made.categories)

    def kept(self, task: str, key: str, make: Callable[[], Evaluation]) -> Evaluation:
        """What a task found when it was done under the same key, its pictures still there; else what it finds now."""
        found = remembered(self.done, task, key, make, examples=self.out / EXAMPLES)
        return replace(found, rows=[replace(row, run=self.run) for row in found.rows])

    def set_folder(self, name: str) -> Path:
        return self.out / "sets" / name

    def open_set(self, name: str) -> AdversarialSet:
        """A set, verified once a process."""
        if name not in self.opened:
            self.opened[name] = load_set(self.set_folder(name))
        return self.opened[name]

    def open_model(self, model: Model) -> Trained:
        """A trained model; the last one stays at hand, for scorings come a model at a time."""
        if model.name not in self.loaded:
            self.loaded = {model.name: load(self.folder_of(model))}
        return self.loaded[model.name]


def _train(bench: _Bench, model: Model, watch: Watch) -> None:
    folder, key, plan = bench.folder_of(model), bench.train_key(model), bench.plan
    if is_trained(folder, key) or (bench.settings.keep_models and _fits(bench, model)):
        return
    describe = provenance_of(
        model.detector, model.paradigm, model.categories, dataset=plan.dataset,
        data_fingerprint=bench.dataset.fingerprint, seed=plan.seed, precision=bench.settings.precision, key=key,
    )  # fmt: skip
    train(
        model.recipe, bench.dataset.load("train", model.categories, bench.size), bench.textures, out=folder,
        provenance=describe, seed=plan.seed, device=bench.settings.device, devices=bench.settings.devices,
        precision=bench.settings.precision, progress=watch(f"train {model.name}"),
    )  # fmt: skip


def _fits(bench: _Bench, model: Model) -> bool:
    """Whether a finished training of just this recipe, data and seed is there, made by whatever code."""
    made = read_provenance(bench.folder_of(model))
    if made is None:
        return False
    found = load(bench.folder_of(model))
    same = (
        found.recipe == model.recipe
        and made.categories == model.categories
        and made.data_fingerprint == bench.dataset.fingerprint
        and made.seed == bench.plan.seed
    )
    if same:
        log.warning("%s is kept as it was trained at commit %s", model.name, made.commit)
    return same


def _build(bench: _Bench, suite: Suite, watch: Watch) -> None:
    key, name, plan = bench.set_key(suite), suite.threats[0].name, bench.plan
    if recall(bench.done, f"set-{name}", key) is not None:
        try:
            bench.open_set(name)
        except UserError as error:
            log.warning("built again: %s", error)
            shutil.rmtree(bench.set_folder(name), ignore_errors=True)
        else:
            return
    composed = compose(
        bench.dataset.load("train", None, bench.size), anomalous=suite.anomalous, limit=suite.limit,
        seed=plan.seed, dataset=plan.dataset, device=bench.device,
    )  # fmt: skip
    trained = {model.name: load(bench.folder_of(model)) for model in bench.sources}
    build_sets(
        {name: placed(found.detector, bench.device) for name, found in trained.items()}, composed, suite,
        out=bench.out / "sets", seed=plan.seed, device=bench.device,
        source_hashes={name: found.sha256 for name, found in trained.items()}, dataset=plan.dataset,
        data_fingerprint=bench.dataset.fingerprint, progress=by_threat(watch),
        precision=attack_dtype(bench.settings.precision),
    )  # fmt: skip
    remember(bench.done, f"set-{name}", key, {})


def write_found(out: Path, found: Evaluation) -> pd.DataFrame:
    """results.csv with the class means, and where anything was attacked in place attacks.csv and health.csv; the
    rows."""
    rows = frame(with_means(found.rows))
    write_rows(out / "results.csv", rows)
    if found.attempts:
        attempts = attempts_frame(found.attempts)
        write_text(out / "attacks.csv", attempts.to_csv(index=False, lineterminator="\n"))
        write_text(out / "health.csv", health(rows, attempts).to_csv(index=False, lineterminator="\n"))
    return rows


def by_threat(watch: Watch) -> Callable[[str, int, int], None]:
    """The builder's single stream of news as one progress a threat."""
    told: dict[str, Progress | None] = {}

    def tell(threat: str, done: int, total: int) -> None:
        if threat not in told:
            told[threat] = watch(f"attack {threat}")
        progress = told[threat]
        if progress is not None:
            progress(done, total, "")

    return tell


def _score(bench: _Bench, task: tuple[Model, str], watch: Watch) -> Evaluation:
    model, name = task
    done = f"score-{model.name}-{name}"
    return bench.kept(done, bench.score_key(model, name), lambda: _scored(bench, model, name, watch))


def _scored(bench: _Bench, model: Model, name: str, watch: Watch) -> Evaluation:
    trained = bench.open_model(model)
    adversarial = None if name == "clean" else bench.open_set(name)
    labels = labels_on(labels_of(trained, bench.run), adversarial)
    progress = watch(f"score {model.name} on {name}")
    found = Evaluation()
    for done, category in enumerate(model.categories):
        pictures = adversarial.load(category) if adversarial else bench.dataset.load("test", [category], bench.size)
        chosen = choose(pictures)
        wanted = [pictures.ids[index] for index in chosen]
        originals = dict(zip(wanted, adversarial.originals(category)[chosen], strict=True)) if adversarial else {}
        keeper = Keeper(bench.out, model=model.name, name=name, wanted=wanted, originals=originals)
        found.rows.extend(score(trained.detector, pictures, labels, category, device=bench.device, viewer=keeper))
        found.examples.extend(keeper.kept)
        if progress is not None:
            progress(done + 1, len(model.categories), category)
    return found


def _evaluate(bench: _Bench, task: tuple[Model, Suite], watch: Watch) -> Evaluation:
    model, suite = task
    done = f"{suite.name}-{model.name}"
    return bench.kept(done, bench.evaluation_key(model, suite), lambda: _evaluated(bench, model, suite, watch))


def _evaluated(bench: _Bench, model: Model, suite: Suite, watch: Watch) -> Evaluation:
    source, progress, found = (
        bench.target(bench.open_model(model)),
        watch(f"{suite.name} on {model.name}"),
        Evaluation(),
    )
    for category in model.categories:
        pictures = bench.dataset.load("test", [category], bench.size)
        others = [other for other in bench.targets(model, suite) if category in other.categories]
        targets = (bench.target(load(bench.folder_of(other))) for other in others)
        found.extend(
            evaluate(
                source, suite, pictures, category, targets, seed=bench.plan.seed, device=bench.device,
                precision=attack_dtype(bench.settings.precision), limit=bench.plan.test_limit, out=bench.out,
                progress=progress,
            )
        )  # fmt: skip
    return found


def write_environment(
    out: Path, data: Dataset, *, device: torch.device, threads: int, precision: str, seed: int
) -> None:
    """environment.json; a run that goes on keeps the time of its first start."""
    entry, path = CATALOG.get(data.name), out / "environment.json"
    try:
        started = json.loads(path.read_text(encoding="utf-8"))["started"]
    except (OSError, ValueError, LookupError, TypeError):
        started = datetime.now(UTC).isoformat(timespec="seconds")
    environment = {
        "versions": made_by.versions(),
        **made_by.describe_machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": threads,
        "precision": precision,
        "commit": made_by.commit(),
        "command": made_by.command_line(),
        "seed": seed,
        "started": started,
        "dataset": {"name": data.name, "fingerprint": data.fingerprint, "root": data.root.resolve().name},
        "data_notice": entry.notice if entry else None,
    }
    write_json(path, environment)
