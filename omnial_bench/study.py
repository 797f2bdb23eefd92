"""A plan with its data: what every task looks things up in, and all that decides each task's result."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from omnial_bench import provenance as made_by
from omnial_bench.attacks.manifest import NAME as MANIFEST
from omnial_bench.attacks.sets import AdversarialSet, load_set
from omnial_bench.checkpoint import RECIPE, Stored, Trained, examine, load
from omnial_bench.data.folder import find_dataset
from omnial_bench.data.textures import load_textures
from omnial_bench.device import fabric
from omnial_bench.errors import UserError
from omnial_bench.mirror import Mirror
from omnial_bench.models.foreign import code_of, is_foreign
from omnial_bench.planning import Model, Settings, models_of, sources_of
from omnial_bench.reading import read_suite, read_toml
from omnial_bench.records import Plan, Suite
from omnial_bench.scoring import labels_of
from omnial_bench.store import sha256
from omnial_bench.white_box import Target

SHARED_CODE = ("nouns.py", "device.py", "data", "models", "metrics/quality.py")
TRAINING_CODE = (*SHARED_CODE, "synthesis", "losses.py", "spread.py", "training.py", "unfinished.py")
ATTACK_CODE = (*SHARED_CODE, "synthesis", "attacks")
SEALED_CODE = tuple(f"attacks/{name}.py" for name in ("sealed", "manifest", "levels", "png", "columns"))
SCORING_CODE = (*SHARED_CODE, "metrics", "scoring.py", "differences.py", "examples.py", "store.py", *SEALED_CODE)
EVALUATION_CODE = ("attempt.py", "white_box.py", "worst.py")


class Decided(NamedTuple):
    """All that decides a task's result, by name, as JSON values."""

    by: dict[str, Any]

    @property
    def key(self) -> str:
        return made_by.key_of(**self.by)


class Study:
    """A plan with its data; every process that does tasks of it makes its own."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan, self.settings, self.out, self.done = plan, settings, settings.out, settings.out / ".tasks"
        self.mirror = Mirror(settings.mirror, settings.out) if settings.mirror else None
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

    def training(self, model: Model) -> Decided:
        recipe = model.recipe.model_dump(mode="json")
        code = made_by.code_version(*TRAINING_CODE)
        foreign = {"detector": code_of(model.recipe.detector)} if is_foreign(model.recipe.detector) else {}
        return Decided({"code": code, **foreign, "recipe": recipe, "categories": model.categories, **self.base})

    def train_key(self, model: Model) -> str:
        return self.training(model).key

    def model_key(self, model: Model) -> str:
        """Of a trained model: with its weights' hash, for a second training may be rounded otherwise."""
        path = self.folder_of(model) / RECIPE
        weights = read_toml(path).get("sha256")
        if not isinstance(weights, str):
            raise UserError(f"{path} names no weights; train {model.name} again")
        return made_by.key_of(training=self.train_key(model), weights=weights)

    def building(self, suite: Suite) -> Decided:
        return Decided(
            {
                "code": made_by.code_version(*ATTACK_CODE),
                "suite": suite.model_dump(mode="json", exclude={"title"}),
                "sources": [self.model_key(model) for model in self.sources],
                **self.base,
            }
        )

    def scoring(self, model: Model, name: str) -> Decided:
        pictures = "clean" if name == "clean" else sha256(self.set_folder(name) / MANIFEST)
        code = made_by.code_version(*SCORING_CODE)
        return Decided(
            {"code": code, "model": self.model_key(model), "set": name, "pictures": pictures, **self.base}
        )  # fmt: skip

    def evaluating(self, model: Model, suite: Suite) -> Decided:
        return Decided(
            {
                "code": made_by.code_version(*ATTACK_CODE, *SCORING_CODE, *EVALUATION_CODE),
                "suite": suite.model_dump(mode="json", exclude={"title"}),
                "limit": self.plan.test_limit,
                "model": self.model_key(model),
                "targets": [self.model_key(other) for other in self.targets(model, suite)],
                **self.base,
            }
        )

    def folder_of(self, model: Model) -> Path:
        return self.out / "models" / model.name

    def set_folder(self, name: str) -> Path:
        return self.out / "sets" / name

    def targets(self, model: Model, suite: Suite) -> list[Model]:
        """The other models that see what a suite makes of a model's pictures."""
        if suite.against != "each":
            return []
        return [other for other in self.models if other != model and set(other.categories) & set(model.categories)]

    def target(self, trained: Trained) -> Target:
        made = trained.provenance
        return Target(detector=trained.detector, labels=labels_of(trained, self.run), categories=made.categories)

    def open_set(self, name: str) -> AdversarialSet:
        """A set, verified once a process."""
        if name not in self.opened:
            self.opened[name] = load_set(self.set_folder(name))
        return self.opened[name]

    def examine(self, model: Model) -> Stored:
        """What there is of a model, without building it."""
        return examine(self.folder_of(model))

    def load(self, model: Model) -> Trained:
        """A trained model; of code from elsewhere what the plan names and the user trusts, and no other."""
        return load(self.folder_of(model), trusted={model.recipe.detector} & set(self.settings.trusted))

    def open_model(self, model: Model) -> Trained:
        """A trained model; the last one stays at hand, for scorings come a model at a time."""
        if model.name not in self.loaded:
            self.loaded = {model.name: self.load(model)}
        return self.loaded[model.name]
