"""Tasks on a real Ray cluster of two nodes on this machine: a worker dies, a machine vanishes, the rows stay the same.

Ray runs in processes of its own, for it warns of what is not this project's to mend.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import left_in, prepare

from omnial_bench.errors import UserError
from omnial_bench.pipeline import ray_executor as ray_engine
from omnial_bench.pipeline.ray_executor import Cluster, ray_crew

pytestmark = pytest.mark.slow

STUDY = """
import json, os, signal, sys, threading, time
from pathlib import Path

import torch

# Before what watches the imports of others.
from ray.cluster_utils import Cluster as Machines

from omnial_bench.pipeline import ray_executor as ray_engine
from omnial_bench.errors import UserError
from omnial_bench.pipeline.ray_executor import Cluster, ray_crew
from omnial_bench.config.load import read_plan
from omnial_bench.pipeline.run_plan import run
from tiny_study import settings, study

SAID = {}


def base(value):
    return value


def add(shared, task, watch):
    return shared + task, os.getcwd(), torch.get_num_threads()


def refuse(shared, task, watch):
    if task == 2:
        raise UserError("expected 1, got 2; try 1")
    return task


def always_die(shared, task, watch):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(shared, task, watch):
    Path(f"sleeps-{task}").write_text(str(os.getpid()))
    time.sleep(300)


def lose(machine):
    # As soon as something is done, a machine vanishes with all that runs there.
    while not list(Path("ray/.tasks").glob("*.json")):
        time.sleep(0.05)
    machines.remove_node(machine, allow_graceful=False)
    SAID["lost"] = True


def interrupt():
    while not list(Path().glob("sleeps-*")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def gone(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    study("local")
    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = machines.add_node(num_cpus=1)
    cluster = Cluster(address=machines.address)
    try:
        Path("deadly").mkdir()
        Path("deadly", "ray").write_text(str(os.getpid()))
        threading.Thread(target=lose, args=(second,), daemon=True).start()
        told = []
        watch = lambda name: lambda done, total, note: told.append((name, done, total, note))
        run(read_plan("plan.toml"), settings("ray"), cluster=cluster, watch=watch)
        SAID["told"] = told[-1][:3]
        SAID["poison"] = len(list(Path("deadly").iterdir()))

        ray_engine.RETRIES = 0
        try:
            # One crew, for each begins with workers that import torch.
            with ray_crew(base, (10,), cluster) as each:
                for name, work, tasks in (("died", always_die, ["dies"]), ("refused", refuse, [1, 2])):
                    try:
                        each(work, tasks)
                    except UserError as error:
                        SAID[name] = str(error)
                SAID["values"] = each(add, [3, 1, 2], [(), (0,), (0, 1)])
                threading.Thread(target=interrupt, daemon=True).start()
                each(sleep, [1])
        except KeyboardInterrupt:
            SAID["interrupted"] = True
        process, limit = int(Path("sleeps-1").read_text()), time.monotonic() + 20
        while not gone(process) and time.monotonic() < limit:
            time.sleep(0.1)
        SAID["sleeper gone"] = gone(process)
    finally:
        machines.shutdown()
    Path("said.json").write_text(json.dumps(SAID))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ray")
    prepare(root)
    (root / "study.py").write_text(STUDY)
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMNIAL_BENCH_CACHE": str(root / "cache"),
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "study.py"], cwd=root, env=environment, check=False, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture(scope="module")
def said(place: Path) -> dict[str, object]:
    table: dict[str, object] = json.loads((place / "said.json").read_text())
    return table


def test_lost_workers_and_a_lost_machine_change_nothing(place: Path, said: dict[str, object]) -> None:
    assert (said["poison"], said["lost"]) == (0, True)
    assert (place / "ray" / "results.csv").read_bytes() == (place / "local" / "results.csv").read_bytes()
    assert left_in(place / "ray") == left_in(place / "cache") == []
    assert not list((place / "ray").rglob("*.damaged"))


def test_progress_counts_tasks(place: Path, said: dict[str, object]) -> None:
    tasks = len(list((place / "ray" / ".tasks").glob("*.json")))
    assert said["told"] == ["run", tasks, tasks]


def test_values_come_in_order_from_this_folder_with_one_thread(place: Path, said: dict[str, object]) -> None:
    assert said["values"] == [[10 + task, str(place), 1] for task in (3, 1, 2)]


def test_errors_are_one_line(said: dict[str, object]) -> None:
    assert said["refused"] == "expected 1, got 2; try 1"
    assert str(said["died"]).startswith("dies: its worker was lost at each of 1 attempts")


def test_an_interrupt_ends_what_runs(said: dict[str, object]) -> None:
    assert said["interrupted"] is True
    assert said["sleeper gone"] is True


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UserError, match=r"pip install 'omnial-bench\[ray\]'"),
        ray_crew(dict, (), Cluster()),
    ):
        pass


def test_nobody_at_an_address_is_told_at_once() -> None:
    with pytest.raises(UserError, match=r"^no Ray cluster at 127\.0\.0\.1:9: .*refused"):
        ray_engine._check_address("127.0.0.1:9")
    for other in ("auto", "local", "", "ray://head:10001", "http://head:8265"):
        ray_engine._check_address(other)


class TestWorker:
    """What a worker does before its first task."""

    def place(self, tmp_path: Path, **changes: object) -> ray_engine._Place:
        made = {
            "folder": str(tmp_path), "environment": {"OMNIAL_BENCH_TEST": "here"},
            "code": ray_engine.provenance.code_version(), "versions": ray_engine.provenance.versions(), "make": dict,
            "arguments": (), "name": "a",
        }  # fmt: skip
        return ray_engine._Place(**{**made, **changes})  # type: ignore[arg-type]

    def test_other_code_or_packages_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("OMNIAL_BENCH_TEST", raising=False)
        with pytest.raises(UserError, match="has other code"):
            ray_engine._settle(self.place(tmp_path, code="other"))
        with pytest.raises(UserError, match="has other packages"):
            ray_engine._settle(self.place(tmp_path, versions={}))
        assert os.environ["OMNIAL_BENCH_TEST"] == "here"

    def test_a_folder_that_is_not_shared_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"has no folder .*; expected one that all machines share"):
            ray_engine._settle(self.place(tmp_path, folder=str(tmp_path / "nowhere")))
