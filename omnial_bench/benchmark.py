"""A plan -> trainings, adversarial sets, scores -> rows. Each task is kept under the hash of all that decides it."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
import torch

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets import build_sets, compose, load_set
from omnial_bench.checkpoint import Provenance, load, model_name
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.folder import Dataset, find_dataset
from omnial_bench.data.textures import load_textures
from omnial_bench.device import Precision, attack_dtype, fabric, placed
from omnial_bench.errors import UserError, unknown
from omnial_bench.examples import Example, Keeper, choose, gallery, write_index
from omnial_bench.jobs import Progress, Watch, crew
from omnial_bench.models.registry import skeleton
from omnial_bench.records import Paradigm, Plan, Recipe, Suite, parse, read_recipe, read_suite
from omnial_bench.scoring import labels_of, score, with_means
from omnial_bench.store import Result, frame, make_folder, without_none, write_json, write_rows, write_text
from omnial_bench.training import is_trained, train

log = logging.getLogger(__name__)

TRAINING_CODE = ("nouns.py", "data", "synthesis", "losses.py", "metrics/quality.py", "models", "training.py")
ATTACK_CODE = ("nouns.py", "data", "synthesis", "metrics/quality.py", "attacks")
SCORING_CODE = ("nouns.py", "data", "metrics", "scoring.py", "examples.py")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how a plan is run; none of it but the precision decides a figure beyond rounding."""

    data: Path
    out: Path
    textures: Path | None = None
    device: str = "auto"
    precision: Precision = "32-true"
    jobs: int = 1


@dataclass(frozen=True, kw_only=True)
class Model:
    """One training of a plan."""

    detector: str
    paradigm: Paradigm
    categories: tuple[str, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        return model_name(self.detector, self.paradigm, self.categories[0] if self.paradigm == "separate" else None)


def models_of(plan: Plan) -> list[Model]:
    """The trainings of a plan: one unified model a detector, one separate model a detector and category."""
    models = []
    for detector in plan.detectors:
        recipe = read_recipe(detector, plan.preset, size=plan.size, batch=plan.batch)
        for paradigm in plan.paradigms:
            groups = [plan.categories] if paradigm == "unified" else [(name,) for name in plan.categories]
            for group in groups:
                models.append(Model(detector=Path(detector).stem, paradigm=paradigm, categories=group, recipe=recipe))
    return models


def sources_of(plan: Plan, models: Sequence[Model]) -> list[Model]:
    """The models that the sets are built on: the plan's `sources`, else every unified model, else every model."""
    names = {model.name: model for model in models}
    for name in plan.sources:
        if name not in names:
            raise unknown("source model", name, names)
    chosen = [names[name] for name in plan.sources] or [model for model in models if model.paradigm == "unified"]
    return chosen or list(models)


def run(plan: Plan, settings: Settings, *, watch: Watch = lambda _: None) -> pd.DataFrame:
    """Train, build the sets, score; results.csv and everything that a report needs lie in `settings.out` afterwards.

    What is there already and still fits the plan is not done again. UserError for a mistake in the plan or the data.
    """
    bench = _Bench(plan, settings)
    bench.write_environment()
    with crew(_Bench, (plan, settings), settings.jobs, watch) as each:
        each(_train, bench.models)
        each(_build, bench.threats())
        scored = each(_score, bench.scorings())
    rows = frame(with_means([row for rows, _ in scored for row in rows]))
    examples = [example for _, kept in scored for example in kept]
    write_index(settings.out, [*_gallery(bench), *examples])
    write_rows(settings.out / "results.csv", rows)
    return rows


class _Bench:
    """A plan with its data: what every task looks things up in."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan, self.settings, self.out = plan, settings, settings.out
        self.models = models_of(plan)
        self.suites = [read_suite(name) for name in plan.suites]
        self.sources = sources_of(plan, self.models)
        for recipe in {model.detector: model.recipe for model in self.models}.values():
            skeleton(recipe)
        self.device = fabric(settings.device, settings.precision).device
        self.dataset: Dataset = find_dataset(settings.data, plan.categories, name=plan.dataset)
        self.size = self.models[0].recipe.size
        if any(model.recipe.size != self.size for model in self.models):
            raise UserError("the detectors of a plan need one network size; give the plan a size = [height, width]")
        make_folder(self.out)
        self.textures = load_textures(settings.textures, self.size)
        self.texture_key = made_by.key_of(textures=self.textures.sum(dtype=torch.long).item(), n=len(self.textures))
        base = {"torch": torch.__version__, "device": self.device.type}
        self.base = base | {"precision": settings.precision, "data": self.dataset.fingerprint, "seed": plan.seed}
        self.run = f"{plan.name}-{made_by.key_of(plan=plan.model_dump(mode='json'), **self.base)[:8]}"

    def train_key(self, model: Model) -> str:
        recipe = model.recipe.model_dump(mode="json")
        decided_by = {"recipe": recipe, "categories": model.categories, "textures": self.texture_key}
        return made_by.key_of(code=made_by.code_version(*TRAINING_CODE), **decided_by, **self.base)

    def threats(self) -> list[Suite]:
        """Every suite of the plan, a threat at a time: each set is a task of its own."""
        return [suite.model_copy(update={"threats": (one,)}) for suite in self.suites for one in suite.threats]

    def set_key(self, suite: Suite) -> str:
        sources = [self.train_key(model) for model in self.sources]
        decided_by = {"suite": suite.model_dump(mode="json"), "limit": self.plan.limit, "sources": sources}
        return made_by.key_of(code=made_by.code_version(*ATTACK_CODE), **decided_by, **self.base)

    def set_folder(self, threat: str) -> Path:
        return self.out / "sets" / threat

    def scorings(self) -> list[tuple[Model, str, str]]:
        """Model, set and the set's key, in the order of the results."""
        sets = [("clean", "clean")] + [(suite.threats[0].name, self.set_key(suite)) for suite in self.threats()]
        return [(model, name, key) for model in self.models for name, key in sets]

    def write_environment(self) -> None:
        entry = CATALOG.get(self.plan.dataset)
        write_text(self.out / "plan.toml", tomli_w.dumps(without_none(self.plan.model_dump(mode="json"))))
        write_json(
            self.out / "environment.json",
            {
                "versions": made_by.versions(),
                **made_by.describe_machine(),
                "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
                "threads": torch.get_num_threads(),
                "precision": self.settings.precision,
                "commit": made_by.commit(),
                "command": made_by.command_line(),
                "seed": self.plan.seed,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "dataset": {
                    "name": self.plan.dataset,
                    "fingerprint": self.dataset.fingerprint,
                    "root": self.settings.data.name,
                },
                "data_notice": entry.notice if entry else None,
            },
        )


def _train(bench: _Bench, model: Model, watch: Watch) -> None:
    folder, key, plan = bench.out / "models" / model.name, bench.train_key(model), bench.plan
    if is_trained(folder, key):
        return
    normals = bench.dataset.load("train", model.categories, bench.size)

    def describe(iterations: int) -> Provenance:
        return Provenance(
            model=model.name, detector=model.detector, paradigm=model.paradigm, categories=model.categories, dataset=plan.dataset,
            data_fingerprint=bench.dataset.fingerprint, seed=plan.seed, precision=bench.settings.precision,
            iterations=iterations, key=key, versions=made_by.versions(), commit=made_by.commit(),
        )  # fmt: skip

    train(
        model.recipe, normals, bench.textures, out=folder, provenance=describe, seed=plan.seed,
        device=bench.settings.device, precision=bench.settings.precision, progress=watch(f"train {model.name}"),
    )  # fmt: skip


def _build(bench: _Bench, suite: Suite, watch: Watch) -> None:
    key, name = bench.set_key(suite), suite.threats[0].name
    if _recall(bench, f"set-{name}", key) is not None and bench.set_folder(name).is_dir():
        return
    normals = bench.dataset.load("train", None, bench.size)
    limit = bench.plan.limit or suite.limit
    composed = compose(
        normals, anomalous=suite.anomalous, limit=limit, seed=bench.plan.seed, dataset=bench.plan.dataset,
        device=bench.device,
    )  # fmt: skip
    trained = {model.name: load(bench.out / "models" / model.name) for model in bench.sources}
    build_sets(
        {name: placed(found.detector, bench.device) for name, found in trained.items()},
        composed,
        suite,
        out=bench.out / "sets",
        seed=bench.plan.seed,
        device=bench.device,
        source_hashes={name: found.sha256 for name, found in trained.items()},
        dataset=bench.plan.dataset,
        data_fingerprint=bench.dataset.fingerprint,
        progress=by_threat(watch),
        precision=attack_dtype(bench.settings.precision),
    )
    _remember(bench, f"set-{name}", key, {})


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


def _score(bench: _Bench, task: tuple[Model, str, str], watch: Watch) -> tuple[list[Result], list[Example]]:
    model, name, set_key = task
    progress = watch(f"score {model.name} on {name}")
    code = made_by.code_version(*SCORING_CODE)
    key = made_by.key_of(code=code, model=bench.train_key(model), set=set_key, run=bench.run)
    found = _recall(bench, f"score-{model.name}-{name}", key)
    if found is not None:
        return [Result(**row) for row in found["rows"]], [Example(**row) for row in found["examples"]]
    trained = load(bench.out / "models" / model.name)
    adversarial = None if name == "clean" else load_set(bench.set_folder(name))
    rows: list[Result] = []
    examples: list[Example] = []
    for done, category in enumerate(model.categories):
        pictures = adversarial.load(category) if adversarial else bench.dataset.load("test", [category], bench.size)
        chosen = choose(pictures)
        wanted = [pictures.ids[index] for index in chosen]
        originals = dict(zip(wanted, adversarial.originals(category)[chosen], strict=True)) if adversarial else {}
        keeper = Keeper(bench.out, model=model.name, name=name, wanted=wanted, originals=originals)
        rows += score(
            trained.detector, pictures, labels_of(trained, bench.run, adversarial), category,
            device=bench.device, viewer=keeper,
        )  # fmt: skip
        examples += keeper.kept
        if progress is not None:
            progress(done + 1, len(model.categories), category)
    value = {"rows": [asdict(row) for row in rows], "examples": [asdict(example) for example in examples]}
    _remember(bench, f"score-{model.name}-{name}", key, value)
    return rows, examples


def _gallery(bench: _Bench) -> list[Example]:
    normals = bench.dataset.load("train", None, bench.size)
    return gallery(
        bench.out, normals, bench.textures, seed=bench.plan.seed, categories=bench.plan.categories, detector="omnial"
    )


def _recall(bench: _Bench, task: str, key: str) -> dict[str, Any] | None:
    """What a finished task left, if it was done under the same key."""
    try:
        found = json.loads((bench.out / ".tasks" / f"{task}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


def _remember(bench: _Bench, task: str, key: str, value: dict[str, Any]) -> None:
    write_json(bench.out / ".tasks" / f"{task}.json", {"key": key, **value})
