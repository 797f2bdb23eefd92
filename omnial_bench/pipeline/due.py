"""What a run would do with each task, and why; nothing is done."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from omnial_bench.errors import UserError
from omnial_bench.pipeline.executor import look
from omnial_bench.pipeline.task_cache import MADE_BY_TASKS, NEVER, Inputs, read_note
from omnial_bench.pipeline.tasks import Kind, Task
from omnial_bench.pipeline.train_task import Training, unfinished
from omnial_bench.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Reporting:
    """Write the report, after everything else."""

    needs: tuple[str, ...]
    kind: ClassVar[Kind] = "report"
    name: str = "report"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Standing:
    """A task and why it is due; done where there is no reason."""

    task: Task | Reporting
    reasons: tuple[str, ...]

    @property
    def done(self) -> bool:
        return not self.reasons


def standings(place: Workspace, reporting: Callable[[], Inputs]) -> list[Standing]:
    """Every task in order, the report last, whose inputs `reporting` tells.

    A task that depends on one that is due is due itself. A run spares it after all where what it depends on comes out
    as it was.
    """
    table: list[Standing] = []
    due: dict[str, str] = {}
    report = Reporting(tuple(task.name for task in place.tasks))
    every: list[Task | Reporting] = [*place.tasks, report]
    for task in every:
        waits = tuple(f"depends on {due[name]}, which is due" for name in task.needs if name in due)
        if isinstance(task, Reporting):
            reasons = waits[:1] or place.cache.read(task.name, reporting()).reasons
        elif waits:
            reasons = (*_own_reasons(place, task), *waits)
        elif (
            isinstance(task, Training)
            and place.cache.mirror is None
            and (entry := unfinished(place.folder_of(task.model)))
        ):
            # With nothing to compare, no file need be read, nor a texture decoded, for what decides it.
            reasons = entry.reasons
        else:
            inputs = task.inputs(place)
            assert inputs is not None, "of the models of a plan the weights are known"
            reasons = look(place, task, inputs).reasons
        table.append(Standing(task, reasons))
        if reasons:
            due[task.name] = str(task)
    return table


def _own_reasons(place: Workspace, task: Task) -> tuple[str, ...]:
    """Why a task that waits for others would be due without them."""
    try:
        note = read_note(place.cache.folder, task.name)
    except UserError as error:
        return (str(error),)
    if note is None:
        return (NEVER,)
    try:
        now = task.inputs(place)
    except (UserError, OSError):
        return ()
    before = note.get("decided_by")
    if now is None or not isinstance(before, dict):
        return ()
    return place.cache.changes(before, now, leave_out=MADE_BY_TASKS, unnamed=())
