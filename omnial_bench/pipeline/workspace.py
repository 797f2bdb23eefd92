"""A plan with its data and its run folder: what every task looks things up in."""

import hashlib
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from omnial_bench import provenance
from omnial_bench.attacks.sets.sealed import load_set
from omnial_bench.attacks.threats import codes_in
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Plan
from omnial_bench.data.images import Images
from omnial_bench.data.textures import load_textures
from omnial_bench.evaluation.target import Target, labels_of, load_trained
from omnial_bench.metrics.accumulator import metrics_named
from omnial_bench.models.checkpoint import Trained
from omnial_bench.pipeline.mirror import Mirror
from omnial_bench.pipeline.model_tasks import Attacking, Building, Scoring, others_on
from omnial_bench.pipeline.plan import Model, Settings, data_of, models_of, sources_of
from omnial_bench.pipeline.task_cache import Cache, Inputs
from omnial_bench.pipeline.tasks import BUILDING_CODE, EVALUATION_CODE, SCORING_CODE, Task
from omnial_bench.pipeline.train_task import Training, identity_at, training_inputs
from omnial_bench.runtime import fabric
from omnial_bench.trust import codes_of


class Workspace:
    """A plan with its data; every process that does tasks of it makes its own."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan, self.settings, self.out = plan, settings, settings.out
        self.cache = Cache(self.out, Mirror(settings.mirror, self.out) if settings.mirror else None)
        self.seed, self.limit, self.precision = plan.seed, plan.test_limit, settings.precision
        self.models = models_of(plan)
        self.named = {model.name: model for model in self.models}
        self.metrics = plan.metrics
        self.suites = [read_suite(name, settings.trusted) for name in plan.suites]
        self.sources = sources_of(plan, self.models, self.suites)
        self.size = self.models[0].recipe.size
        self.device = fabric(settings.device, settings.precision).device
        self.dataset = data_of(plan, settings)
        # A set is verified once a process; the last model stays at hand, for tasks come a model at a time.
        self.open_set = cache(lambda name: load_set(self.set_folder(name)))
        self.target = lru_cache(maxsize=1)(self.other_target)

    @cached_property
    def tasks(self) -> list[Task]:
        """Every task but the report, each after those that it needs; the order is that of the rows."""
        trained = {model.name: Training(model) for model in self.models}
        attacked = tuple(trained[model.name].name for model in self.sources)
        # Each set is a task of its own, so each threat a suite.
        built = [
            Building(suite.model_copy(update={"threats": (threat,), "limit": self.plan.limit or suite.limit}), attacked)
            for suite in self.suites
            if suite.against == "sources"
            for threat in suite.threats
        ]
        scored = [
            Scoring(model.name, images, category, (trained[model.name].name, *needs))
            for model in self.models
            for images, needs in [("clean", ()), *((task.set, (task.name,)) for task in built)]
            for category in model.categories
        ]
        served = {model.name: model.categories for model in self.models}
        evaluated = [
            Attacking(model.name, suite, category, tuple(trained[name].name for name in (model.name, *others)), others)
            for suite in self.suites
            if suite.against != "sources"
            for model in self.models
            for category in model.categories
            for others in [others_on(suite, model.name, category, served)]
        ]
        return [*trained.values(), *built, *scored, *evaluated]

    @cached_property
    def run(self) -> str:
        """The name of this run in its rows: that of the plan and a hash of all that decides it."""
        decided_by = {
            "code": provenance.code_version(*BUILDING_CODE, *SCORING_CODE, *EVALUATION_CODE),
            "plan": self.plan.model_dump(mode="json"),
            "models": [self.training(model).key for model in self.models],
            "suites": [suite.model_dump(mode="json") for suite in self.suites],
            "foreign": [*map(codes_in, self.suites), codes_of(self.metrics)],
        }
        return f"{self.plan.name}-{provenance.key_of(**decided_by)[:8]}"

    def training(self, model: Model) -> Inputs:
        return training_inputs(
            model, self.dataset, self.textures_hash, seed=self.plan.seed, precision=self.precision,
            device=self.device.type,
        )  # fmt: skip

    @cached_property
    def textures(self) -> UInt8[Tensor, "n 3 h w"]:
        """The bank of textures, decoded by who trains."""
        return load_textures(self.settings.textures, self.size)

    @cached_property
    def textures_hash(self) -> str:
        return hashlib.sha256(self.textures.contiguous().numpy().data).hexdigest()

    def base(self, model: str) -> dict[str, Any]:  # noqa: ARG002
        """What else decides every task on a model."""
        return {
            "versions": provenance.versions(), "device": self.device.type, "precision": self.precision,
            "false_alarms": self.plan.false_alarms, **self.dataset.named_by,
        }  # fmt: skip

    def identity(self, model: str) -> dict[str, Any]:
        """What tells a model's weights and settings from others."""
        return identity_at(self.folder_of(self.named[model]))

    def folder_of(self, model: Model) -> Path:
        return self.out / "models" / model.name

    def set_folder(self, name: str) -> Path:
        return self.out / "sets" / name

    def images(self, model: str, category: str) -> Images:  # noqa: ARG002
        """The clean test images of a category at the size of a model."""
        return self.dataset.load("test", [category], self.size)

    def files(self, model: str, category: str) -> dict[str, str]:  # noqa: ARG002
        return self.dataset.digests("test", [category])

    def load(self, model: Model) -> Trained:
        """A trained model; of code from elsewhere what the plan names and the user trusts, and no other."""
        names = {model.recipe.detector, model.recipe.defence.get("name", "")}
        return load_trained(self.folder_of(model), trusted=names & set(self.settings.trusted))

    def other_target(self, model: str) -> Target:
        """A model by its name, beside the one at hand."""
        trained = self.load(self.named[model])
        return Target(
            detector=trained.detector, labels=labels_of(trained, self.run), categories=trained.provenance.categories,
            metrics=metrics_named(self.metrics, self.settings.trusted, f"plan {self.plan.name}"),
            false_alarms=self.plan.false_alarms,
        )  # fmt: skip
