"""A task of one's own, to try the cache with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from omnial_bench.evaluation.target import Outcome
from omnial_bench.pipeline.executor import do
from omnial_bench.pipeline.model_tasks import Attacking
from omnial_bench.pipeline.task_cache import Cache, Inputs


@dataclass(frozen=True)
class OneTask(Attacking):
    """What `make` finds, under a seed."""

    make: Callable[[], Outcome] = Outcome
    seed: int = 0

    @property
    def name(self) -> str:
        return self.model

    def inputs(self, place: object) -> Inputs:  # noqa: ARG002
        return Inputs({"seed": self.seed})

    def run(self, *_: object) -> Outcome:
        return self.make()


def remembered(out: Path, name: str, make: Callable[[], Outcome], seed: int = 0) -> Outcome:
    """What a task of that name finds, through the cache of a folder."""
    task = OneTask(name, None, "", make=make, seed=seed)  # type: ignore[arg-type]
    return do(SimpleNamespace(cache=Cache(out)), task, lambda _: None).outcome
