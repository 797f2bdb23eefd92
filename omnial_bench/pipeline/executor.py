"""Tasks through the cache: what is done already is taken as it is, what is due is done and kept."""

import logging
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from omnial_bench.evaluation.outcome import Outcome, outcome_of
from omnial_bench.io.lock import shared
from omnial_bench.io.whole import make_folder
from omnial_bench.pipeline.ledger import Ledger
from omnial_bench.pipeline.task_cache import Cache, Entry, Inputs
from omnial_bench.pipeline.tasks import Task, needs_of
from omnial_bench.processes import Each
from omnial_bench.progress import Watch, overall

PRELOAD = (
    "omnial_bench.pipeline.workspace", "omnial_bench.pipeline.score_models", "omnial_bench.attacks.building",
    "scipy.ndimage", "skimage.filters",
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


def do(place: Any, task: Task, watch: Watch) -> Outcome:
    """Do a task if it is due, and give its outcome; UserError where what it needs is not there."""
    cache: Cache = place.cache
    with shared(make_folder(cache.folder)):
        cache.bring(task.needs)
        inputs = task.inputs(place)
        if inputs is None:
            # Whose weights cannot be told may have changed.
            return task.run(place, None, watch)
        entry = look(place, task, inputs)
        entry.set_damaged_aside()
        if entry.reasons or entry.value is None:
            outcome = task.run(place, inputs, watch)
        else:
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
    return outcome


def do_all(
    place: Any, tasks: list[Task], ledger: Ledger, watch: Watch, engine: AbstractContextManager[Each] | None
) -> None:
    """Every task in an order that their needs allow, where an engine says, or else here. The ledger has the rows of
    those that are done whatever ends the others, and who watches hears of each."""
    tell = overall(watch, ledger.tasks)

    def finished(index: int, outcome: Outcome) -> None:
        ledger.add(index, outcome)
        tell(index)

    try:
        if engine is None:
            # Every task comes after those that it needs.
            for index, task in enumerate(tasks):
                finished(index, do(place, task, watch))
        else:
            with engine as each:
                each(do, tasks, needs_of(tasks), finished)
    except BaseException:
        ledger.write_part()
        raise
