"""Tasks through the cache: what is done already is taken as it is, what is due is done and kept."""

import logging
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from typing import Any

from omnial_bench.evaluation.outcome import Evaluation, evaluation_of
from omnial_bench.io.lock import shared
from omnial_bench.io.whole import make_folder
from omnial_bench.pipeline.cache import Cache
from omnial_bench.pipeline.results import Ledger
from omnial_bench.pipeline.tasks import Task, places_of
from omnial_bench.processes import Each
from omnial_bench.progress import Watch, overall

PRELOAD = (
    "omnial_bench.pipeline.workspace", "omnial_bench.pipeline.score", "omnial_bench.attacks.building",
    "scipy.ndimage", "skimage.filters",
)  # fmt: skip
"""What tasks import: before their processes are begun, it costs each of them next to nothing."""

log = logging.getLogger(__name__)


def do(place: Any, task: Task, watch: Watch) -> Evaluation:
    """Do a task if it is due, and give what it found; UserError where what it needs is not there."""
    cache: Cache = place.cache
    with shared(make_folder(cache.folder)):
        cache.bring(task.needs)
        inputs = task.inputs(place)
        if inputs is None:
            # Whose weights cannot be told may have changed.
            return task.run(place, None, watch)
        entry = cache.look(task.name, inputs, partial(task.look, place, inputs))
        entry.set_damaged_aside()
        if entry.reasons or entry.value is None:
            found = task.run(place, inputs, watch)
            cache.put(task.name, inputs, asdict(found), task.left(place, found))
        else:
            if "commit" in entry.value:
                log.warning("%s is kept as it was trained at commit %s", entry.value["model"], entry.value["commit"])
            found = evaluation_of(entry.value, task.name)
            if entry.damaged:
                # Of a training, whose note is lost or damaged, or its log, which is out of the way by now.
                cache.put(task.name, inputs, asdict(found), task.left(place, found))
        cache.send(
            task.name, [path for path in (*task.sent(place), *cache.beside(task.name, inputs)) if path.is_file()]
        )
        if task.under_way is not None:
            cache.withdraw(task.under_way)
    return found


def do_all(engine: AbstractContextManager[Each], tasks: list[Task], ledger: Ledger, watch: Watch) -> None:
    """Every task in an order that their needs allow. The ledger has the rows of those that are done whatever ends the
    others, and who watches hears of each."""
    tell = overall(watch, ledger.tasks)

    def finished(index: int, found: Evaluation) -> None:
        ledger.add(index, found)
        tell(index)

    try:
        with engine as each:
            each(do, tasks, places_of(tasks), finished)
    except BaseException:
        ledger.write_part()
        raise
