"""Tasks one after the other, or side by side in processes that share the cores."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from omnial_bench.errors import UserError

Task = TypeVar("Task")
Value = TypeVar("Value")
Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and a note for the reader."""
Watch = Callable[[str], Progress | None]
"""Given the name of a task, what its progress is told to; None where nobody looks."""
Work = Callable[[Any, Any, Watch], Any]
"""A function of what every task shares, the task, and who watches."""
Each = Callable[[Work, Sequence[Any]], list[Any]]

THREADS = 1
"""Threads of each process: the same however many run, so that a figure does not depend on `jobs`."""


@contextmanager
def crew(make: Callable[..., Any], arguments: tuple[Any, ...], jobs: int, watch: Watch) -> Iterator[Each]:
    """A function that does a piece of work for every task and gives the values in order.

    `make(*arguments)` is what the tasks share, made once a process. One job runs here, with torch's own threads.
    """
    if jobs == 1:
        shared = make(*arguments)
        yield lambda work, tasks: [work(shared, task, watch) for task in tasks]
        return
    context = multiprocessing.get_context("spawn")
    news = context.SimpleQueue()
    reader = threading.Thread(target=_tell, args=(news, watch), daemon=True)
    reader.start()
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(news, make, arguments))
    try:
        yield lambda work, tasks: list(pool.map(_do, [(work, task) for task in tasks]))
    except BrokenProcessPool as error:
        raise UserError("a worker process died, perhaps for lack of memory; run again, with fewer --jobs") from error
    except BaseException:
        # Nobody waits for tasks whose result is not wanted any more.
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        news.put(None)
        reader.join()


def _tell(news: Any, watch: Watch) -> None:
    told: dict[str, Progress | None] = {}
    while (item := news.get()) is not None:
        name, done, total, note = item
        if name not in told:
            told[name] = watch(name)
        progress = told[name]
        if progress is not None:
            progress(done, total, note)


_here: dict[str, Any] = {}


def _begin(news: Any, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(THREADS)

    def watch(name: str) -> Progress:
        return lambda done, total, note: news.put((name, done, total, note))

    _here.update(shared=make(*arguments), watch=watch)


def _do(item: tuple[Work, Any]) -> Any:
    work, task = item
    return work(_here["shared"], task, _here["watch"])
