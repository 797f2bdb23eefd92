"""What a task is: it says what decides it, does it, and leaves files; where the code of each kind begins."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from omnial_bench.evaluation.target import Outcome
from omnial_bench.pipeline.task_cache import Cache, Entry, Inputs
from omnial_bench.progress import Watch

Kind = Literal["train", "set", "score", "evaluate", "report"]

_MODELS = ("data.dataset", "models.registry", "models.outside.adapter")
TRAINING_CODE = ("data.dataset", "models.registry", "models.training", "models.losses")
BUILDING_CODE = (*_MODELS, "attacks.sets.build")
SCORING_CODE = (*_MODELS, "evaluation.scoring", "evaluation.examples")
EVALUATION_CODE = (*_MODELS, "evaluation.evaluate")
"""Where the code of each kind of task begins: `code_version` finds the rest."""


class Task(ABC):
    """A piece of work, named as its note in `.tasks/` is; its text is a title for people."""

    kind: ClassVar[Kind]
    needs: tuple[str, ...]
    """The names of the tasks whose results it reads."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def alike(self) -> str:
        """The same for tasks that should take about as long."""
        return self.kind

    @property
    def under_way(self) -> str | None:
        """The name under which its unfinished state lies at a mirror."""
        return None

    @abstractmethod
    def inputs(self, place: Any) -> Inputs | None:
        """All that decides it, None where that cannot be told; UserError or OSError where what it needs is missing."""

    def look(self, place: Any, inputs: Inputs) -> Entry:
        """Whether it is done under these inputs."""
        cache: Cache = place.cache
        return cache.read(self.name, inputs)

    @abstractmethod
    def run(self, place: Any, inputs: Inputs | None, watch: Watch) -> Outcome: ...

    @abstractmethod
    def written(self, place: Any, outcome: Outcome) -> list[Path]:
        """The files that its note holds the hashes of."""

    @abstractmethod
    def sent(self, place: Any) -> list[Path]:
        """All files of it, done, in the order in which they vouch for those before."""


def code_hashes(**codes: dict[str, str]) -> dict[str, Any]:
    """The hashes of code from elsewhere that there are; without any, a task has the key that it had before."""
    return {name: hashes for name, hashes in codes.items() if hashes}
