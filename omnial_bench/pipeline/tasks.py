"""The tasks of a benchmark: train, build a set, score, attack; each says what decides it, what it does and leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.attacks.sets.manifest import NAME as MANIFEST
from omnial_bench.attacks.sets.sealed import AdversarialSet
from omnial_bench.attacks.threats import codes_in
from omnial_bench.config.schema import Suite
from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.outcome import Evaluation
from omnial_bench.evaluation.scoring import score_category
from omnial_bench.evaluation.target import Target
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS
from omnial_bench.models.training import LOG
from omnial_bench.models.unfinished import STATE, is_whole
from omnial_bench.pipeline import trainings
from omnial_bench.pipeline.cache import Cache, Entry, Inputs, read_note
from omnial_bench.pipeline.plan import Model
from omnial_bench.progress import Progress, Watch
from omnial_bench.runtime import Precision, attack_dtype, placed
from omnial_bench.trust import codes_of

if TYPE_CHECKING:
    import torch

    from omnial_bench.data.images import Images
    from omnial_bench.pipeline.workspace import Workspace

Kind = Literal["train", "set", "score", "evaluate", "report"]

_MODELS = ("data.dataset", "models.registry", "models.outside.adapter")
BUILDING_CODE = (*_MODELS, "attacks.sets.build")
SCORING_CODE = (*_MODELS, "evaluation.scoring", "evaluation.examples")
EVALUATION_CODE = (*_MODELS, "evaluation.evaluate")
"""Where the code of each kind of task begins: `code_version` finds the rest."""


class Models(Protocol):
    """What scoring and attacking ask of where models and images are found: the folder of a plan, or a request."""

    cache: Cache
    device: torch.device
    precision: Precision
    seed: int
    """Of the attacks."""
    limit: int | None
    """Test images a category under attack at the most."""
    metrics: tuple[str, ...]
    """Metrics from elsewhere."""

    def target(self, model: str) -> Target:
        """A model by its name here; the last one stays at hand, for tasks come a model at a time."""
        ...

    def other_target(self, model: str) -> Target:
        """As `target`, beside the one at hand."""
        ...

    def identity(self, model: str) -> dict[str, Any] | None:
        """What tells a model's weights and settings from others; None where that cannot be told."""
        ...

    def images(self, model: str, category: str) -> Images:
        """The clean test images of a category at the size of a model."""
        ...

    def files(self, model: str, category: str) -> dict[str, str]:
        """The hashes of the files of these images, by path."""
        ...

    def open_set(self, name: str) -> AdversarialSet: ...

    def base(self, model: str) -> dict[str, Any]:
        """What else decides every task on a model: versions, device, precision."""
        ...


class Task(Protocol):
    """A piece of work, named as its note in `.tasks/` is; its text is a title for people."""

    kind: ClassVar[Kind]

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the tasks whose results it reads."""
        ...

    @property
    def under_way(self) -> str | None:
        """The name under which its unfinished state lies at a mirror."""
        ...

    def inputs(self, place: Any) -> Inputs | None:
        """All that decides it, None where that cannot be told; UserError or OSError where what it needs is missing."""
        ...

    def look(self, place: Any, inputs: Inputs) -> Entry:
        """Whether it is done under these inputs."""
        ...

    def run(self, place: Any, inputs: Inputs | None, watch: Watch) -> Evaluation: ...

    def left(self, place: Any, found: Evaluation) -> list[Path]:
        """The files that its note keeps the hashes of."""
        ...

    def sent(self, place: Any) -> list[Path]:
        """All files of it, done, in the order in which they vouch for those before."""
        ...


@dataclass(frozen=True)
class Training:
    """Train one model of a plan."""

    model: Model
    needs: tuple[str, ...] = ()
    kind: ClassVar[Kind] = "train"

    @property
    def name(self) -> str:
        return f"train-{self.model.name}"

    @property
    def under_way(self) -> str:
        return f"{self.name}.saved"

    def __str__(self) -> str:
        return f"train {self.model.name}"

    def inputs(self, place: Workspace) -> Inputs:
        return place.training(self.model)

    def look(self, place: Workspace, inputs: Inputs) -> Entry:
        return trainings.look(place, self.model, self.name, inputs)

    def run(self, place: Workspace, inputs: Inputs | None, watch: Watch) -> Evaluation:
        assert inputs is not None
        folder, settings = place.folder_of(self.model), place.settings
        trainings.train_model(
            self.model, inputs, place.dataset, place.textures, out=folder, seed=place.seed, device=settings.device,
            devices=settings.devices, trusted=settings.trusted, precision=place.precision,
            recompute=settings.recompute, progress=watch(str(self)),
            saved=place.cache.resume(self.under_way, folder / STATE, is_whole),
        )  # fmt: skip
        return Evaluation()

    def left(self, place: Workspace, found: Evaluation) -> list[Path]:  # noqa: ARG002
        return trainings.readable_log(place.folder_of(self.model))

    def sent(self, place: Workspace) -> list[Path]:
        return [place.folder_of(self.model) / name for name in (WEIGHTS, LOG, RECIPE)]


@dataclass(frozen=True)
class Building:
    """Build one adversarial set: a suite of one threat."""

    suite: Suite
    needs: tuple[str, ...]
    kind: ClassVar[Kind] = "set"
    under_way: ClassVar[str | None] = None

    @property
    def set(self) -> str:
        return self.suite.threats[0].name

    @property
    def name(self) -> str:
        return f"set-{self.set}"

    def __str__(self) -> str:
        return f"set {self.set}"

    def inputs(self, place: Workspace) -> Inputs:
        return Inputs.of(
            place.dataset.digests("train", place.plan.categories),
            code=made_by.code_version(*BUILDING_CODE), suite=self.suite.model_dump(mode="json", exclude={"title"}),
            sources=[place.identity(model.name) for model in place.sources], dataset=place.plan.dataset,
            seed=place.seed, **_foreign(attacks=codes_in(self.suite)), **place.base(""),
        )  # fmt: skip

    def look(self, place: Workspace, inputs: Inputs) -> Entry:
        entry = place.cache.read(self.name, inputs)
        if not entry.reasons:
            try:
                place.open_set(self.set)
            except UserError as error:
                return Entry((str(error),), damaged=(place.set_folder(self.set),))
        return entry

    def run(self, place: Workspace, inputs: Inputs | None, watch: Watch) -> Evaluation:
        assert inputs is not None
        suite, plan, folder = self.suite, place.plan, place.set_folder(self.set)
        if folder.exists() and not (folder / MANIFEST).is_file():
            Entry((f"{folder} is no set",), damaged=(folder,)).set_damaged_aside()
        composed = compose(
            place.dataset.load("train", None, place.size), anomalous=suite.anomalous, limit=suite.limit,
            seed=plan.seed, dataset=plan.dataset, device=place.device,
        )  # fmt: skip
        sources = {model.name: place.load(model) for model in place.sources}
        build_sets(
            {name: placed(source.detector, place.device) for name, source in sources.items()}, composed, suite,
            out=place.out / "sets", seed=plan.seed, device=place.device,
            source_hashes={name: source.sha256 for name, source in sources.items()}, dataset=plan.dataset,
            data_fingerprint=place.dataset.fingerprint, progress=by_threat(watch),
            precision=attack_dtype(place.precision),
        )  # fmt: skip
        return Evaluation()

    def left(self, place: Workspace, found: Evaluation) -> list[Path]:  # noqa: ARG002
        return [place.set_folder(self.set) / MANIFEST]

    def sent(self, place: Workspace) -> list[Path]:
        folder = place.set_folder(self.set)
        manifest = folder / MANIFEST
        return [*(path for path in sorted(folder.rglob("*")) if path.is_file() and path != manifest), manifest]


class _OfModel(ABC):
    """What scoring and attacking have in common: they ask a model, and leave rows and examples."""

    under_way: ClassVar[str | None] = None

    @property
    @abstractmethod
    def name(self) -> str: ...

    def look(self, place: Models, inputs: Inputs) -> Entry:
        return place.cache.read(self.name, inputs)

    def left(self, place: Models, found: Evaluation) -> list[Path]:
        return [place.cache.out / EXAMPLES / example.path for example in found.examples]

    def sent(self, place: Models) -> list[Path]:
        note = read_note(place.cache.folder, self.name) or {}
        return [place.cache.out / path for path in note.get("files", {})]


@dataclass(frozen=True)
class Scoring(_OfModel):
    """Score a model on a category of a set, or of the test split as it is (`clean`)."""

    model: str
    set: str
    category: str
    needs: tuple[str, ...] = ()
    examples: bool = True
    """Whether images are kept for the report."""
    kind: ClassVar[Kind] = "score"

    @property
    def name(self) -> str:
        return _named("score", self.model, self.set, self.category)

    def __str__(self) -> str:
        return f"score {self.model} on {self.set}{_of(self.model, self.category)}"

    def inputs(self, place: Models) -> Inputs | None:
        identity = place.identity(self.model)
        if identity is None:
            return None
        values = {
            "code": made_by.code_version(*SCORING_CODE), "model": identity, "set": self.set, "category": self.category,
            "examples": self.examples, **_foreign(metrics=codes_of(place.metrics)), **place.base(self.model),
        }  # fmt: skip
        if self.set == "clean":
            return Inputs.of(place.files(self.model, self.category), **values)
        return Inputs({**values, "images": place.open_set(self.set).digest(self.category)})

    def run(self, place: Models, inputs: Inputs | None, watch: Watch) -> Evaluation:  # noqa: ARG002
        adversarial = None if self.set == "clean" else place.open_set(self.set)
        images = adversarial.load(self.category) if adversarial else place.images(self.model, self.category)
        found = score_category(
            place.target(self.model), images, self.category, adversarial=adversarial, device=place.device,
            out=place.cache.out if self.examples else None,
        )  # fmt: skip
        if (progress := watch(str(self))) is not None:
            progress(1, 1, self.category)
        return found


@dataclass(frozen=True)
class Attacking(_OfModel):
    """Attack a model on a category of the test split under a suite, and show the result to others where it says so."""

    model: str
    suite: Suite
    category: str
    needs: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """The models that see what the attack makes of the images."""
    kind: ClassVar[Kind] = "evaluate"

    @property
    def name(self) -> str:
        return _named("evaluate", self.suite.name, self.model, self.category)

    def __str__(self) -> str:
        return f"evaluate {self.model} under {self.suite.name}{_of(self.model, self.category)}"

    def inputs(self, place: Models) -> Inputs | None:
        identities = [place.identity(model) for model in (self.model, *self.others)]
        if None in identities:
            return None
        return Inputs.of(
            place.files(self.model, self.category),
            code=made_by.code_version(*EVALUATION_CODE), suite=self.suite.model_dump(mode="json", exclude={"title"}),
            limit=place.limit, model=identities[0], targets=identities[1:], category=self.category, seed=place.seed,
            **_foreign(attacks=codes_in(self.suite), metrics=codes_of(place.metrics)), **place.base(self.model),
        )  # fmt: skip

    def run(self, place: Models, inputs: Inputs | None, watch: Watch) -> Evaluation:  # noqa: ARG002
        return evaluate(
            place.target(self.model), self.suite, place.images(self.model, self.category), self.category,
            (place.other_target(other) for other in self.others), seed=place.seed, device=place.device,
            precision=attack_dtype(place.precision), limit=place.limit, out=place.cache.out, progress=watch(str(self)),
        )  # fmt: skip


@dataclass(frozen=True)
class Reporting:
    """Write the report, after everything else."""

    needs: tuple[str, ...]
    kind: ClassVar[Kind] = "report"
    name: str = "report"

    def __str__(self) -> str:
        return self.name


def places_of(tasks: Sequence[Task]) -> list[set[int]]:
    """What each task needs, by its place among them."""
    place = {task.name: index for index, task in enumerate(tasks)}
    return [{place[name] for name in task.needs if name in place} for task in tasks]


def by_threat(watch: Watch) -> Any:
    """The single stream of news of `build_sets` as one progress a threat."""
    told: dict[str, Progress | None] = {}

    def tell(threat: str, done: int, total: int) -> None:
        if threat not in told:
            told[threat] = watch(f"attack {threat}")
        if (progress := told[threat]) is not None:
            progress(done, total, "")

    return tell


def _foreign(**codes: dict[str, str]) -> dict[str, Any]:
    """What there is of code from elsewhere; without any, a task has the key that it had before."""
    return {name: hashes for name, hashes in codes.items() if hashes}


def _named(*words: str) -> str:
    """Words as a file's name; the category of a separate model stands in the model's name already."""
    *others, category = words
    return "-".join(words) if not any(word.endswith(f"separate-{category}") for word in others) else "-".join(others)


def _of(model: str, category: str) -> str:
    return "" if model.endswith(f"separate-{category}") else f", {category}"
