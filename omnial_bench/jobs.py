"""Tasks one after the other, or side by side in processes that share the cores; and what finished ones left."""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from omnial_bench.errors import UserError
from omnial_bench.store import write_json

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a note for the reader."""
Watch = Callable[[str], Progress | None]
"""Given the name of a task, what its progress is told to; None where nobody looks."""
Work = Callable[[Any, Any, Watch], Any]
"""A function of what every task shares, the task, and who watches."""
Each = Callable[[Work, Sequence[Any]], list[Any]]

THREADS = 1
"""Threads of each process: the same however many run, so that a figure does not depend on how many."""


def threads_of(jobs: int) -> int:
    """The threads that each of `jobs` processes computes with: torch's own number where there is but one."""
    return torch.get_num_threads() if jobs == 1 else THREADS


@contextmanager
def crew(make: Callable[..., Any], arguments: tuple[Any, ...], jobs: int, watch: Watch) -> Iterator[Each]:
    """A function that does a piece of work for every task and gives the values in order.

    `make(*arguments)` is what the tasks share, made once a process. One job runs here; more run in processes of their
    own, so all of it is pickled. The first error ends every task and reaches the caller; UserError where a process
    dies.
    """
    if jobs == 1:
        shared = make(*arguments)
        yield lambda work, tasks: [work(shared, task, watch) for task in tasks]
        return
    before, context = multiprocessing.active_children(), multiprocessing.get_context("spawn")
    news, over = context.SimpleQueue(), threading.Event()
    reader = threading.Thread(target=_tell, args=(news, watch, over), daemon=True)
    reader.start()
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(news, make, arguments))
    try:
        yield lambda work, tasks: _values([pool.submit(_do, (work, task)) for task in tasks])
    except BaseException as error:
        # Nobody waits for tasks whose result is not wanted any more.
        for child in set(multiprocessing.active_children()) - set(before):
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a worker process died, perhaps for lack of memory; run again with fewer of them"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        over.set()
        # A process that died while it told something leaves half a message, which would be waited for without end.
        reader.join(timeout=2)


def _values(futures: list[Future[Any]]) -> list[Any]:
    """What the tasks gave, in order; the first error without waiting for the tasks that run still."""
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        if future.done():
            future.result()
    return [future.result() for future in futures]


def _tell(news: Any, watch: Watch, over: threading.Event) -> None:
    """Pass on what the processes tell, until it is over and nothing more has come."""
    told: dict[str, Progress | None] = {}
    while not (over.is_set() and news.empty()):
        if news.empty():
            over.wait(0.05)
            continue
        name, done, total, note = news.get()
        if name not in told:
            told[name] = watch(name)
        progress = told[name]
        if progress is not None:
            progress(done, total, note)


_here: dict[str, Any] = {}
"""What a worker process keeps between its tasks."""


def _begin(news: Any, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # An interrupt is the parent's to handle; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(THREADS)

    def watch(name: str) -> Progress:
        return lambda done, total, note: news.put((name, done, total, note))

    _here.update(shared=make(*arguments), watch=watch)


def _end_with_parent() -> None:
    """A killed parent takes its workers along: nobody would ask for what they make."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(item: tuple[Work, Any]) -> Any:
    work, task = item
    return work(_here["shared"], task, _here["watch"])


def recall(folder: Path, task: str, key: str) -> dict[str, Any] | None:
    """What a finished task left in `folder`, if it was done under the same key."""
    try:
        found = json.loads((folder / f"{task}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


def remember(folder: Path, task: str, key: str, value: dict[str, Any]) -> None:
    """Keep what a finished task leaves (JSON values) under its key, in place of what an earlier one left."""
    write_json(folder / f"{task}.json", {**value, "key": key})
