"""Tasks on the machines of a Ray cluster: each is tried again where its worker or its machine is lost."""

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from omnial_bench import provenance
from omnial_bench.errors import UserError
from omnial_bench.memory import keep_freed_memory
from omnial_bench.processes import THREADS, Each, Engine, Make, Work, flow

log = logging.getLogger(__name__)

Asks = Callable[[Any], tuple[float, float]]
"""Tells the CPU cores and GPUs that a task needs."""
ANSWER_SECONDS = 10.0
RETRIES = 5
"""Times that a task is begun again after its worker or its machine was lost."""
ENVIRONMENT = "OMNIAL_BENCH_"
"""How the names of those variables begin that workers are given."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where Ray runs: `address` of a cluster (`auto`, `host:port`, `ray://host:port`); None begins one here."""

    address: str | None = None


@dataclass(frozen=True)
class _Place:
    """What a worker must share with the one who gave it the task."""

    folder: str
    environment: dict[str, str]
    code: str
    versions: dict[str, str]
    make: Make
    arguments: tuple[Any, ...]
    name: str
    """Of this crew, for a worker may serve one after the other."""


@contextmanager
def ray_crew(
    make: Make, arguments: tuple[Any, ...], cluster: Cluster, *, asks: Asks = lambda _: (1, 0)
) -> Iterator[Each]:
    """As `processes.crew`, on a Ray cluster: every task goes to where the CPU cores and GPUs that it `asks` for are
    free.

    `make(*arguments)` is made once a worker, in this process's working folder, which every machine must have under the
    same path. A task whose worker dies is begun again; an error or an interrupt cancels all others. UserError where Ray
    is not installed or not reached, where a machine has other code or lacks the folder, and for a task that cost
    `RETRIES` workers and one.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "the engine ray needs the package ray; expected the extra: pip install 'omnial-bench[ray]', or leave it out"
        ) from error
    # A cluster that is begun here tells nobody of its use.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _check_address(cluster.address or os.environ.get("RAY_ADDRESS", ""))
    try:
        ray.init(address=cluster.address, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises that very class for a node that does not come up.
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"no Ray cluster at {cluster.address or 'this machine'}: {line}; see `ray status`") from error
    machines = None
    try:
        environment = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
        code, versions = provenance.code_version(), provenance.versions()
        place = _Place(str(Path.cwd()), environment, code, versions, make, arguments, os.urandom(8).hex())
        machines = _Machines(ray, place, asks)
        yield partial(flow, Engine(machines.submit, machines.first, machines.value))
    except BaseException:
        if machines is not None:
            machines.cancel()
        raise
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """UserError where nobody answers at `host:port`: Ray itself asks for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster at {address}: {error}; see `ray status`") from error


class _Machines:
    """The cluster at work; a handle is the reference that Ray gives."""

    def __init__(self, ray: Any, place: _Place, asks: Asks) -> None:
        self.ray, self.place, self.asks = ray, ray.put(place), asks
        self.do = ray.remote(max_retries=RETRIES)(_do)
        self.running: dict[Any, str] = {}

    def submit(self, work: Work, task: Any) -> Any:
        cpus, gpus = self.asks(task)
        if gpus and not self.ray.cluster_resources().get("GPU"):
            log.warning("the cluster has no GPU now, and %s waits for one; try --device cpu", task)
        options = {"name": str(task), "num_cpus": cpus, "num_gpus": gpus}
        handle = self.do.options(**options).remote(self.place, work, task)
        self.running[handle] = str(task)
        return handle

    def first(self, running: Collection[Any]) -> Collection[Any]:
        done: list[Any] = self.ray.wait(list(running), num_returns=1)[0]
        return done

    def value(self, handle: Any) -> Any:
        task = self.running.pop(handle)
        try:
            return self.ray.get(handle)
        except self.ray.exceptions.RayTaskError as error:
            # What the task raised, without the story of how it came here.
            raise error.cause from error
        except self.ray.exceptions.RayError as error:
            line = (str(error).splitlines() or [""])[0]
            raise UserError(
                f"{task}: its worker was lost at each of {RETRIES + 1} attempts ({type(error).__name__}: {line}); "
                "look for memory that ran out, then give the same command again"
            ) from error

    def cancel(self) -> None:
        """End what runs, at once: whatever it was writing is written aside."""
        for handle in self.running:
            self.ray.cancel(handle, force=True)


_here: dict[str, Any] = {}
"""What a worker keeps between its tasks, by the crew that it works for."""


def _do(place: _Place, work: Work, task: Any) -> Any:
    """Run in a worker, which may be on another machine."""
    if place.name not in _here:
        _here.clear()
        _here[place.name] = _settle(place)
    return work(_here[place.name], task, lambda _: None)


def _settle(place: _Place) -> Any:
    node = socket.gethostname()
    if not Path(place.folder).is_dir():
        raise UserError(f"machine {node} has no folder {place.folder}; expected one that all machines share")
    os.chdir(place.folder)
    os.environ.update(place.environment)
    here = {"code": provenance.code_version(), "packages": provenance.versions()}
    for what, there in (("code", place.code), ("packages", place.versions)):
        if here[what] != there:
            raise UserError(f"machine {node} has other {what} of omnial-bench than this one; install the same on all")
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    return place.make(*place.arguments)
