"""Tasks through the cache: what is done already is taken as it is, what is due is done and kept, or told with why."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import Outcome, outcome_of
from omnial_bench.io.lock import shared
from omnial_bench.io.whole import make_folder
from omnial_bench.pipeline.ledger import Ledger
from omnial_bench.pipeline.task_cache import MADE_BY_TASKS, NEVER, Cache, Entry, Inputs, read_note
from omnial_bench.pipeline.tasks import Kind, Task
from omnial_bench.pipeline.train_task import Training, unfinished
from omnial_bench.processes import Each
from omnial_bench.progress import Watch, overall

if TYPE_CHECKING:
    from omnial_bench.pipeline.workspace import Workspace

PRELOAD = (
    "omnial_bench.pipeline.workspace", "omnial_bench.pipeline.score_models", "omnial_bench.attacks.building",
    "scipy.ndimage", "skimage.filters", "sklearn.metrics",
)  # fmt: skip
"""What tasks import: before their processes are begun, it costs each of them next to nothing."""

log = logging.getLogger(__name__)


def look(place: Any, task: Task, inputs: Inputs) -> Entry:
    """Whether a task is done under these inputs, here or at the mirror, from which what is missing here is brought."""
    entry, cache = task.look(place, inputs), place.cache
    if not cache.restore(task.name, entry):
        return entry
    again = task.look(place, inputs)
    if entry.damaged and not again.damaged:
        log.warning("brought again from %s: %s", cache.mirror.url, entry.damaged[0])
    return again


class Done(NamedTuple):
    """What a task gave."""

    outcome: Outcome
    seconds: float | None
    """Those that it took; None where it had been done before."""


def do(place: Any, task: Task, watch: Watch) -> Done:
    """Do a task if it is due, and give its outcome; UserError where what it needs is not there."""
    cache: Cache = place.cache
    began, due = time.monotonic(), True
    with shared(make_folder(cache.folder)):
        cache.bring(task.needs)
        inputs = task.inputs(place)
        if inputs is None:
            # Whose weights cannot be told may have changed.
            return Done(task.run(place, None, watch), time.monotonic() - began)
        entry = look(place, task, inputs)
        entry.set_damaged_aside()
        if entry.reasons or entry.value is None:
            outcome = task.run(place, inputs, watch)
        else:
            due = False
            if "commit" in entry.value:
                log.warning("%s is kept as it was trained at commit %s", entry.value["model"], entry.value["commit"])
            outcome = outcome_of(entry.value, task.name)
        if entry.reasons or entry.value is None or entry.damaged:
            # Of a training that is done its note is lost or damaged, or its log, which is out of the way by now.
            cache.put(task.name, inputs, asdict(outcome), task.written(place, outcome))
        cache.send(
            task.name, [path for path in (*task.sent(place), *cache.beside(task.name, inputs)) if path.is_file()]
        )
        if task.under_way is not None:
            cache.withdraw(task.under_way)
    return Done(outcome, time.monotonic() - began if due else None)


def do_all(
    place: Any,
    tasks: list[Task],
    ledger: Ledger,
    watch: Watch,
    engine: AbstractContextManager[Each] | None,
    jobs: int | None,
) -> None:
    """Every task in an order that their needs allow, where an engine says, `jobs` at once if that is known, or else
    here. The ledger has the rows of those that are done whatever ends the others, and who watches hears of each."""
    tell = overall(watch, ledger.tasks, [task.alike for task in tasks], jobs)

    def finished(index: int, done: Done) -> None:
        ledger.add(index, done.outcome)
        tell(index, done.seconds)

    try:
        if engine is None:
            # Every task comes after those that it needs.
            for index, task in enumerate(tasks):
                finished(index, do(place, task, watch))
        else:
            with engine as each:
                place_of = {task.name: index for index, task in enumerate(tasks)}
                needs = [{place_of[name] for name in task.needs if name in place_of} for task in tasks]
                each(do, tasks, needs, finished)
    except BaseException:
        ledger.write_part()
        raise


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
    every: list[Task | Reporting] = [*place.tasks, Reporting(tuple(task.name for task in place.tasks))]
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
