"""The tasks on trained models: build an adversarial set on some, score one on images, or attack one on them.

Each asks a `place` for models and images: the run folder of a plan, or the desk of a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from omnial_bench import provenance
from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.attacks.sets.manifest import NAME as MANIFEST
from omnial_bench.attacks.threats import codes_in
from omnial_bench.config.schema import Suite
from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.scoring import score_category
from omnial_bench.evaluation.target import Outcome
from omnial_bench.pipeline.task_cache import Entry, Inputs, read_note
from omnial_bench.pipeline.tasks import BUILDING_CODE, EVALUATION_CODE, SCORING_CODE, Kind, Task, code_hashes
from omnial_bench.progress import Watch, by_task
from omnial_bench.runtime import attack_dtype, placed
from omnial_bench.trust import codes_of

if TYPE_CHECKING:
    from omnial_bench.pipeline.request import Desk
    from omnial_bench.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Building(Task):
    """Build one adversarial set: a suite of one threat."""

    suite: Suite
    needs: tuple[str, ...]
    kind: ClassVar[Kind] = "set"

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
            code=provenance.code_version(*BUILDING_CODE), suite=self.suite.model_dump(mode="json", exclude={"title"}),
            sources=[place.identity(model.name) for model in place.sources], dataset=place.plan.dataset,
            seed=place.seed, **code_hashes(attacks=codes_in(self.suite)), **place.base(""),
        )  # fmt: skip

    def look(self, place: Workspace, inputs: Inputs) -> Entry:
        entry = super().look(place, inputs)
        if not entry.reasons:
            try:
                place.open_set(self.set)
            except UserError as error:
                return Entry((str(error),), damaged=(place.set_folder(self.set),))
        return entry

    def run(self, place: Workspace, inputs: Inputs | None, watch: Watch) -> Outcome:  # noqa: ARG002
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
            data_fingerprint=place.dataset.fingerprint, progress=by_task(watch, "attack {}"),
            precision=attack_dtype(place.precision),
        )  # fmt: skip
        return Outcome()

    def written(self, place: Workspace, outcome: Outcome) -> list[Path]:  # noqa: ARG002
        return [place.set_folder(self.set) / MANIFEST]

    def sent(self, place: Workspace) -> list[Path]:
        files = [path for path in place.set_folder(self.set).rglob("*") if path.is_file()]
        manifest = place.set_folder(self.set) / MANIFEST
        return [*sorted({*files} - {manifest}), manifest]


class _OnModel(Task):
    """What scoring and attacking have in common: they leave rows and examples."""

    def written(self, place: Workspace | Desk, outcome: Outcome) -> list[Path]:
        return [place.cache.out / EXAMPLES / example.path for example in outcome.examples]

    def sent(self, place: Workspace | Desk) -> list[Path]:
        note = read_note(place.cache.folder, self.name) or {}
        return [place.cache.out / path for path in note.get("files", {})]


@dataclass(frozen=True)
class Scoring(_OnModel):
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

    def inputs(self, place: Workspace | Desk) -> Inputs | None:
        identity = place.identity(self.model)
        if identity is None:
            return None
        values = {
            "code": provenance.code_version(*SCORING_CODE), "model": identity, "set": self.set,
            "category": self.category, "examples": self.examples, **code_hashes(metrics=codes_of(place.metrics)),
            **place.base(self.model),
        }  # fmt: skip
        if self.set == "clean":
            return Inputs.of(place.files(self.model, self.category), **values)
        return Inputs({**values, "images": place.open_set(self.set).digest(self.category)})

    def run(self, place: Workspace | Desk, inputs: Inputs | None, watch: Watch) -> Outcome:  # noqa: ARG002
        adversarial = None if self.set == "clean" else place.open_set(self.set)
        images = adversarial.load(self.category) if adversarial else place.images(self.model, self.category)
        outcome = score_category(
            place.target(self.model), images, self.category, adversarial=adversarial, device=place.device,
            out=place.cache.out if self.examples else None,
        )  # fmt: skip
        if (progress := watch(str(self))) is not None:
            progress(1, 1, self.category)
        return outcome


@dataclass(frozen=True)
class Attacking(_OnModel):
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

    @property
    def alike(self) -> str:
        return f"{self.kind} {self.suite.name}"

    def __str__(self) -> str:
        return f"evaluate {self.model} under {self.suite.name}{_of(self.model, self.category)}"

    def inputs(self, place: Workspace | Desk) -> Inputs | None:
        identities = [place.identity(model) for model in (self.model, *self.others)]
        if None in identities:
            return None
        return Inputs.of(
            place.files(self.model, self.category), code=provenance.code_version(*EVALUATION_CODE),
            suite=self.suite.model_dump(mode="json", exclude={"title"}), limit=place.limit, model=identities[0],
            targets=identities[1:], category=self.category, seed=place.seed,
            **code_hashes(attacks=codes_in(self.suite), metrics=codes_of(place.metrics)), **place.base(self.model),
        )  # fmt: skip

    def run(self, place: Workspace | Desk, inputs: Inputs | None, watch: Watch) -> Outcome:  # noqa: ARG002
        return evaluate(
            place.target(self.model), self.suite, place.images(self.model, self.category), self.category,
            (place.other_target(other) for other in self.others), seed=place.seed, device=place.device,
            precision=attack_dtype(place.precision), limit=place.limit, out=place.cache.out, progress=watch(str(self)),
        )  # fmt: skip


def _named(*words: str) -> str:
    """Words as a file's name; the category of a separate model stands in the model's name already."""
    *others, category = words
    return "-".join(words) if not any(word.endswith(f"separate-{category}") for word in others) else "-".join(others)


def _of(model: str, category: str) -> str:
    return "" if model.endswith(f"separate-{category}") else f", {category}"


def others_on(suite: Suite, model: str, category: str, served: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The other models of a category, by what each serves, that see what the attack on a model makes of its images."""
    if suite.against != "each":
        return ()
    return tuple(name for name in served if name != model and category in served[name])
