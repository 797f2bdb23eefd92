"""Work one piece after the other, or side by side in processes that share the cores."""

import multiprocessing
import os
import signal
import sys
import sysconfig
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from graphlib import TopologicalSorter
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from omnial_bench.errors import UserError
from omnial_bench.memory import keep_freed_memory
from omnial_bench.progress import Watch, by_task

Make = Callable[..., Any]
"""Makes what all tasks share, once a process."""
Work = Callable[[Any, Any, Watch], Any]
"""A function of what every task shares, the task, and who watches."""
Finished = Callable[[int, Any], None]
"""Told the place of a task that is done, and the value that it gave."""
Needs = Sequence[Collection[int]]
"""For each task the places of earlier ones that must be done before it begins."""

THREADS = 1
"""Threads of each process: the same however many run, so that a figure does not depend on how many."""


class Each(Protocol):
    """Does a piece of work for every task and gives the values in the tasks' order."""

    def __call__(
        self, work: Work, tasks: Sequence[Any], needs: Needs = (), finished: Finished | None = None
    ) -> list[Any]: ...


class Engine(NamedTuple):
    """Where tasks run: here in other processes, or on other machines."""

    submit: Callable[[Work, Any], Any]
    """Gives the handle of a task."""
    first: Callable[[Collection[Any]], Collection[Any]]
    """Waits until one or more of these are done, and says which."""
    value: Callable[[Any], Any]
    """What the task of a handle gave; raises what it raised."""


def flow(
    engine: Engine, work: Work, tasks: Sequence[Any], needs: Needs = (), finished: Finished | None = None
) -> list[Any]:
    """Give each task to the engine as soon as what it needs is done; the first error is raised at once."""
    order = TopologicalSorter(dict(enumerate(needs or [()] * len(tasks))))
    order.prepare()
    values: list[Any] = [None] * len(tasks)
    running: dict[Any, int] = {}
    while order.is_active():
        running |= {engine.submit(work, tasks[index]): index for index in sorted(order.get_ready())}
        for handle in engine.first(running):
            index = running.pop(handle)
            values[index] = engine.value(handle)
            if finished is not None:
                finished(index, values[index])
            order.done(index)
    return values


def threads_of(jobs: int) -> int:
    """The threads that each of `jobs` processes computes with: torch's own number where there is but one."""
    return torch.get_num_threads() if jobs == 1 else THREADS


@contextmanager
def crew(
    make: Make, arguments: Sequence[Any], jobs: int, watch: Watch, *, called: str = "jobs", preload: Sequence[str] = ()
) -> Iterator[Each]:
    """A function that does a piece of work for every task and gives the values in order.

    `make(*arguments)` is what the tasks share, made once a process, so all of it is pickled. The first error ends every
    task and reaches the caller; UserError where a process dies, with the advice to take fewer of what they are
    `called`. Modules to `preload` are imported once for all of them where the system can copy a process that has done
    so.
    """
    # Processes that are begun look for no module in the working folder, where anybody's may lie.
    with _environment("PYTHONSAFEPATH", "1"):
        before, context = multiprocessing.active_children(), _context(preload)
        news, over = context.SimpleQueue(), threading.Event()
        reader = threading.Thread(target=_tell, args=(news, watch, over), daemon=True)
        reader.start()
        pool = ProcessPoolExecutor(jobs, context, _begin, (dict(os.environ), news, make, arguments))
        engine = Engine(
            submit=lambda work, task: pool.submit(_do, work, task),
            first=lambda running: wait(running, return_when=FIRST_COMPLETED).done,
            value=Future.result,
        )
        try:
            yield partial(flow, engine)
        except BaseException as error:
            # Nobody waits for tasks whose result is not wanted any more, and what they were writing is swept next.
            children = set(multiprocessing.active_children()) - set(before)
            for child in children:
                child.kill()
            for child in children:
                child.join()
            if isinstance(error, BrokenProcessPool):
                raise died(called) from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            over.set()
            # A process that died while it told something leaves half a message, which would be waited for without end.
            reader.join(timeout=2)


def _context(preload: Sequence[str]) -> BaseContext:
    """How processes are begun: on Linux as copies of a server that has imported what they need, and has neither
    computed anything nor seen a GPU; elsewhere from nothing, for system libraries of macOS do not bear to be copied."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    # This very package, wherever it was found; for all else the path of a new interpreter.
    home, given = str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")
    paths = [*([] if home == sysconfig.get_path("purelib") else [home]), *([given] if given else [])]
    # An interrupt is the parent's to handle, also while the server still imports.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _environment("PYTHONPATH", os.pathsep.join(paths)):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    return context


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def died(called: str) -> UserError:
    return UserError(f"a worker process died, perhaps for lack of memory; run again with fewer {called}")


def _tell(news: Any, watch: Watch, over: threading.Event) -> None:
    """Pass on what the processes tell, until it is over and nothing more has come."""
    tell = by_task(watch, "{}")
    while not (over.is_set() and news.empty()):
        if news.empty():
            over.wait(0.05)
        else:
            tell(*news.get())


_here: dict[str, Any] = {}
"""What a worker process keeps between its tasks."""


def _begin(environment: dict[str, str], news: Any, make: Make, arguments: Sequence[Any]) -> None:
    # A server may have been begun under another one.
    os.environ.clear()
    os.environ.update(environment)
    # An interrupt is the parent's to handle; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    _here.update(shared=make(*arguments), watch=lambda name: lambda *step: news.put((name, *step)))


def _end_with_parent() -> None:
    """A killed parent takes its workers along: nobody would ask for what they make."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(work: Work, task: Any) -> Any:
    return work(_here["shared"], task, _here["watch"])
