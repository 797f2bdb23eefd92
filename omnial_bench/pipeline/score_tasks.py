"""The tasks that ask a model: score it on images, or attack it on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from omnial_bench import provenance
from omnial_bench.attacks.sets.sealed import AdversarialSet
from omnial_bench.attacks.threats import codes_in
from omnial_bench.config.schema import Suite
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.outcome import Outcome
from omnial_bench.evaluation.scoring import score_category
from omnial_bench.evaluation.target import Target
from omnial_bench.pipeline.task_cache import Cache, Inputs, read_note
from omnial_bench.pipeline.tasks import EVALUATION_CODE, SCORING_CODE, Kind, Task, code_hashes
from omnial_bench.progress import Watch
from omnial_bench.runtime import Precision, attack_dtype
from omnial_bench.trust import codes_of

if TYPE_CHECKING:
    import torch

    from omnial_bench.data.images import Images


class Models(Protocol):
    """What scoring and attacking ask of where models and images are: the folder of a plan, or a request."""

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


class _OnModel(Task):
    """What scoring and attacking have in common: they leave rows and examples."""

    def written(self, place: Models, outcome: Outcome) -> list[Path]:
        return [place.cache.out / EXAMPLES / example.path for example in outcome.examples]

    def sent(self, place: Models) -> list[Path]:
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

    def inputs(self, place: Models) -> Inputs | None:
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

    def run(self, place: Models, inputs: Inputs | None, watch: Watch) -> Outcome:  # noqa: ARG002
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

    def __str__(self) -> str:
        return f"evaluate {self.model} under {self.suite.name}{_of(self.model, self.category)}"

    def inputs(self, place: Models) -> Inputs | None:
        identities = [place.identity(model) for model in (self.model, *self.others)]
        if None in identities:
            return None
        return Inputs.of(
            place.files(self.model, self.category), code=provenance.code_version(*EVALUATION_CODE),
            suite=self.suite.model_dump(mode="json", exclude={"title"}), limit=place.limit, model=identities[0],
            targets=identities[1:], category=self.category, seed=place.seed,
            **code_hashes(attacks=codes_in(self.suite), metrics=codes_of(place.metrics)), **place.base(self.model),
        )  # fmt: skip

    def run(self, place: Models, inputs: Inputs | None, watch: Watch) -> Outcome:  # noqa: ARG002
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
