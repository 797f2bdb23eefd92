"""The tasks of a plan as a graph: what each is about, and what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from omnial_bench.config.schema import Suite
from omnial_bench.pipeline.plan import Model, check_names
from omnial_bench.pipeline.study import Decided, Study

Kind = Literal["train", "set", "score", "evaluate", "report"]


@dataclass(frozen=True)
class Training:
    """Train one model. Like every task it has the name of its file in `.tasks/`, a title as text, and the names of the
    tasks that it needs."""

    model: Model
    needs: tuple[str, ...] = ()
    kind: Kind = "train"

    @property
    def name(self) -> str:
        return f"train-{self.model.name}"

    def __str__(self) -> str:
        return f"train {self.model.name}"


@dataclass(frozen=True)
class Building:
    """Build one adversarial set: a suite of one threat."""

    suite: Suite
    needs: tuple[str, ...]
    kind: Kind = "set"

    @property
    def pictures(self) -> str:
        return self.suite.threats[0].name

    @property
    def name(self) -> str:
        return f"set-{self.pictures}"

    def __str__(self) -> str:
        return f"set {self.pictures}"


@dataclass(frozen=True)
class Scoring:
    """Score a model on a set, or on the test split as it is (`clean`)."""

    model: Model
    pictures: str
    needs: tuple[str, ...]
    kind: Kind = "score"

    @property
    def name(self) -> str:
        return f"score-{self.model.name}-{self.pictures}"

    def __str__(self) -> str:
        return f"score {self.model.name} on {self.pictures}"


@dataclass(frozen=True)
class Evaluating:
    """Attack a model under a suite that attacks the test split."""

    model: Model
    suite: Suite
    needs: tuple[str, ...]
    kind: Kind = "evaluate"

    @property
    def name(self) -> str:
        return f"evaluate-{self.suite.name}-{self.model.name}"

    def __str__(self) -> str:
        return f"evaluate {self.model.name} under {self.suite.name}"


@dataclass(frozen=True)
class Reporting:
    """Write the report, after everything else."""

    needs: tuple[str, ...]
    kind: Kind = "report"
    name: str = "report"

    def __str__(self) -> str:
        return self.name


Task = Training | Building | Scoring | Evaluating


def graph(study: Study) -> list[Task]:
    """Every task but the report, each after those that it needs; the order is that of the rows."""
    trained = {model.name: Training(model) for model in study.models}
    attacked = tuple(trained[model.name].name for model in study.sources)
    built = [Building(suite, attacked) for suite in study.threats]
    scored = [
        Scoring(model, pictures, (trained[model.name].name, *needs))
        for model in study.models
        for pictures, needs in [("clean", ()), *((one.pictures, (one.name,)) for one in built)]
    ]
    evaluated = [
        Evaluating(model, suite, tuple(trained[one.name].name for one in (model, *study.targets(model, suite))))
        for suite in study.evaluations
        for model in study.models
    ]
    tasks: list[Task] = [*trained.values(), *built, *scored, *evaluated]
    check_names("tasks", [task.name for task in tasks])
    return tasks


def places(tasks: Sequence[Task]) -> list[set[int]]:
    """What each task needs, by its place among them."""
    place = {task.name: index for index, task in enumerate(tasks)}
    return [{place[name] for name in task.needs} for task in tasks]


def decided(study: Study, task: Task) -> Decided:
    """What decides a task; UserError or OSError where something that it needs is not there."""
    match task:
        case Training():
            return study.training(task.model)
        case Building():
            return study.building(task.suite)
        case Scoring():
            return study.scoring(task.model, task.pictures)
        case Evaluating():
            return study.evaluating(task.model, task.suite)
