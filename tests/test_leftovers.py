"""What killed processes leave is gone when the run ends that they worked for, and when the next one begins."""

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Command
from safetensors.torch import save_file
from tiny_study import leave, left_in, prepare, settings

from omnial_bench.config.load import read_plan
from omnial_bench.data import cache
from omnial_bench.data.toy import make as toy
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.errors import UserError
from omnial_bench.io import lock
from omnial_bench.io.leftovers import sweep, swept
from omnial_bench.io.lock import shared, wait_until_left
from omnial_bench.io.whole import beside, whole
from omnial_bench.models import gradient
from omnial_bench.models.checkpoint import write_tensors
from omnial_bench.models.unfinished import STATE
from omnial_bench.pipeline.run_plan import run

JOBS = 3
"""More than the cores of the machines that test this."""


class Place(NamedTuple):
    root: Path
    rows: bytes
    """Of a run that nothing happened to."""
    said: str
    """The error of the run of which a worker was killed."""
    after: tuple[list[Path], list[Path]]
    """What lay in its folder and in the cache after that."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Place]:  # noqa: ARG001
    """A working folder with an undisturbed run in `undisturbed`, and one in `killed` of which a worker was killed."""
    root = tmp_path_factory.mktemp("leftovers")
    prepare(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("OMNIAL_BENCH_CACHE", str(root / "cache"))
        # As the plan's detector sets it whenever it is built; here it is set back at the end.
        patch.setattr(gradient, "SAVE_SECONDS", 0.0)
        plan = read_plan("plan.toml")
        run(plan, settings("undisturbed"))
        (root / "deadly").mkdir()
        # The process of the test builds the detector as well, to see whether it can be built.
        (root / "deadly" / "killed").write_text(str(os.getpid()))
        with pytest.raises(UserError) as caught:
            run(plan, settings("killed", jobs=JOBS))
        yield Place(
            root,
            (root / "undisturbed" / "results.csv").read_bytes(),
            str(caught.value),
            (left_in(root / "killed"), left_in(root / "cache")),
        )


def test_a_killed_worker_leaves_nothing_and_nobody(place: Place) -> None:
    assert place.said == "a worker process died, perhaps for lack of memory; run again with fewer jobs"
    assert not list((place.root / "deadly").iterdir())
    # The saves of trainings, from which they go on, stay.
    assert [path for paths in place.after for path in paths if path.name != STATE] == []
    assert multiprocessing.active_children() == []


def test_the_next_start_ends_as_if_nothing_had_happened(place: Place) -> None:
    """Even where a killed one left all that it can, which nobody swept."""
    out = Path("killed")
    leave(out)
    (out / ".lock").write_text("process 1 on elsewhere\n")
    run(read_plan("plan.toml"), settings("killed"))
    assert (out / "results.csv").read_bytes() == place.rows
    assert left_in(out) == left_in(place.root / "cache") == left_in(Path("undisturbed")) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, UserError])
def test_a_run_that_ends_otherwise_leaves_nothing_either(
    place: Place, tmp_path: Path, error: type[BaseException]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(place.root / "undisturbed", out)

    def fail(folder: Path) -> list[Path]:
        assert left_in(folder) == [folder / lock.CLAIM, folder / lock.NAME]
        leave(folder)
        raise error("at the end")

    with pytest.raises(error, match="at the end"):
        run(read_plan("plan.toml"), settings(str(out)), report=fail)
    assert left_in(out) == left_in(place.root / "cache") == []


def test_a_save_of_a_finished_training_goes_and_one_of_another_stays(place: Place, tmp_path: Path) -> None:
    """Whoever asks for the other one again goes on from it."""
    out = tmp_path / "run"
    shutil.copytree(place.root / "undisturbed", out)
    folders = sorted((out / "models").iterdir())
    for folder in (*folders, out / "models" / "of-another-plan"):
        folder.mkdir(exist_ok=True)
        (folder / STATE).write_text("half")
    run(read_plan("plan.toml"), settings(str(out)))
    assert left_in(out) == [out / "models" / "of-another-plan" / STATE]


TRAIN = "train mini.toml --data data --category cap --preset tiny"
OPENED = "--device cpu --trust tiny_study:small"
MODEL = "undisturbed/models/mini-unified"
DOORS = {
    "train": ("pipeline.train_task.train", f"{TRAIN} {OPENED} --out {{out}}"),
    "train apart": ("pipeline.train_task.train", f"{TRAIN} {OPENED} --paradigm separate --out {{out.parent}}"),
    "attack": (
        "pipeline.train_and_attack.build_sets", f"attack sets.toml --source {MODEL} --data data {OPENED} --out {{out}}",
    ),
    "score": ("pipeline.score_models._assessed", f"score {MODEL} --data data {OPENED} --out {{out}}"),
    "report": ("reports.document.write_report", "report {out}"),
    "draw": ("data.toy.make.streamed", "data toy {out}"),
}  # fmt: skip
"""What works in a folder: the function that does the work there, and a command that comes to it."""


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", DOORS)
def test_every_step_begins_and_ends_clean(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    function, line = DOORS[name]
    out = tmp_path / "mini-separate-cap"
    out.mkdir()
    if name == "draw":
        draw_toy(tmp_path / "drawn", size=32, train=1, test_good=1, test_defect=1)
        shutil.copy(tmp_path / "drawn" / toy.MARKER, out)
        monkeypatch.setattr(toy, "_claim", lambda *_: None)
    seen = []

    def work(*_: Any, **__: Any) -> None:
        seen.append([path for path in left_in(out) if path.name != lock.CLAIM])
        beside(out / "log.csv", "part").write_text("half")
        raise KeyboardInterrupt

    beside(out / "log.csv", "part").write_text("half")
    beside(out / "pgd-8", "old").mkdir()
    monkeypatch.setattr(f"omnial_bench.{function}", work)
    status, _, said = command(line.format(out=out))
    assert status == 130 and said.startswith("interrupted")
    assert seen == [[]] and left_in(out) == []


def test_a_report_of_a_run_at_work_is_refused(place: Place, command: Command) -> None:
    with lock.locked(place.root / "undisturbed"):
        status, _, said = command("report undisturbed")
        assert status == 2 and "undisturbed is in use by process" in said
        with pytest.raises(UserError, match="undisturbed is in use by process"):
            draw_toy(place.root / "undisturbed" / "data")


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    kept = ["results.csv", ".hidden", ".a.part", "a.0123abcd.part", ".tasks/score.json", ".a.0123ABCD.part"]
    left = [".a.0123abcd.part", "deep/.b.csv.89abcdef.part", "sets/.pgd.01234567.part/x.png", ".c.01234567.old"]
    for name in (*kept, *left):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    outside = tmp_path / "outside" / ".a.0123abcd.part"
    outside.parent.mkdir()
    outside.touch()
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    for name in ("folder", ".d.01234567.part"):
        (run_folder / name).symlink_to(outside.parent, target_is_directory=True)
    sweep(run_folder)
    assert outside.exists() and [path.name for path in run_folder.iterdir()] == ["folder"]
    shutil.rmtree(outside.parent)
    shutil.rmtree(run_folder)
    sweep(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


def test_what_was_left_at_the_top_or_long_ago_alone(tmp_path: Path) -> None:
    old, new, deep = (tmp_path / name for name in (".a.0123abcd.part", ".b.0123abcd.part", "deep/.c.0123abcd.part"))
    deep.parent.mkdir()
    for path in (old, new, deep):
        path.touch()
    os.utime(old, (0, 0))
    with shared(tmp_path):
        sweep(tmp_path, deep=False, spared=3600)
    assert [path.exists() for path in (old, new, deep)] == [False, True, True]
    sweep(tmp_path, deep=False)
    assert [path.exists() for path in (new, deep)] == [False, True]


def test_what_a_live_process_writes_further_in_is_not_swept(tmp_path: Path) -> None:
    """A run in a folder of another, and a set that is being built."""
    inner = tmp_path / "a" / "b" / "run"
    inner.mkdir(parents=True)
    part, building = beside(inner / "results.csv", "part"), beside(inner.parent / "pgd-8", "part")
    part.write_text("half")
    building.mkdir()
    with lock.locked(inner), shared(building.parent):
        with swept(tmp_path):
            pass
        assert part.exists() and building.exists() and (inner / lock.NAME).exists()
    with swept(tmp_path):
        assert left_in(tmp_path) == []


def test_workers_whose_end_nobody_sees_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = beside(tmp_path / "a.csv", "part")
    with ExitStack() as worker:
        worker.enter_context(shared(tmp_path))
        worker.callback(left.touch)
        # Instead of time passing, the worker ends, and leaves something.
        monkeypatch.setattr(lock.time, "sleep", lambda _: worker.close())
        with swept(tmp_path, workers=tmp_path):
            assert not left.exists()
        monkeypatch.undo()


def test_workers_who_do_not_end_are_not_waited_for_without_end(tmp_path: Path) -> None:
    wait_until_left(tmp_path, 60)
    wait_until_left(tmp_path / "nowhere", 60)
    with shared(tmp_path), shared(tmp_path):
        wait_until_left(tmp_path, 0.0)


def test_a_library_with_names_of_its_own_leaves_nothing_beside_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors writes `.tmp` and six letters beside the file that it is given, and renames that."""
    seen = []

    def killed(tensors: object, path: Path, metadata: object) -> None:  # noqa: ARG001
        (path.parent / ".tmpAbCdEf").write_text("half")
        seen.extend(tmp_path.iterdir())
        shutil.copytree(seen[0], tmp_path / ".copy.0123abcd.part")
        save_file({}, path)

    monkeypatch.setattr("omnial_bench.models.checkpoint.save_file", killed)
    write_tensors(tmp_path / "a.safetensors", {}, {})
    assert len(seen) == 1 and seen[0].name.endswith(".part")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


class TestCache:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path))
        return tmp_path

    def test_who_is_alone_sweeps_all(self, folder: Path) -> None:
        left = beside(folder / "a.json", "part")
        left.touch()
        assert cache.remember_text("b", [1], lambda: "text") == "text"
        assert left_in(folder) == [] and len(list(folder.iterdir())) == 1

    def test_what_another_writes_stays_for_a_day(self, folder: Path) -> None:
        with shared(folder), whole(folder / "a.json") as part:
            cache.remember_text("b", [1], lambda: "text")
            cache.sweep_cache()
            assert part.exists()

    def test_without_a_folder_there_is_nothing_to_sweep(self, folder: Path) -> None:
        folder.rmdir()
        cache.sweep_cache()
        assert not folder.exists()
