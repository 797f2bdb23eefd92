"""A run that is killed, runs out of disk or meets another: the next one ends with the same bytes.

`make torture` sets TORTURE to the number of moments at which runs are killed.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from tiny_study import Nursery, left_in, nursery, prepare

from omnial_bench.attacks.sets.build import load_set
from omnial_bench.cli.main import main
from omnial_bench.models import gradient
from omnial_bench.models.checkpoint import load
from omnial_bench.pipeline.run_plan import REPORT_FILES
from omnial_bench.results import read_rows

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TORTURE", "3"))
LOSS_TOLERANCE = 1e-4
"""Between the losses of the first step with one thread and with two, relative; 3e-6 was seen."""


class Place(NamedTuple):
    root: Path
    nursery: Nursery
    seconds: float
    """What an undisturbed run takes."""
    rows: bytes

    def finish(self, name: str, **how: Any) -> None:
        """Run to the end, with the rows of the undisturbed run, all whole and nothing beside."""
        status, _, said = self.nursery.run(name, **how)
        assert (status, said) == (0, "")
        self.check(self.root / name)

    def check(self, out: Path) -> None:
        assert (out / "results.csv").read_bytes() == self.rows
        for path in (out / "models").iterdir():
            load(path, trusted=["tiny_study:small"])
        for path in (out / "sets").iterdir():
            load_set(path)
        assert left_in(out) == [] and not list(out.rglob("*.damaged"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("crash")
    prepare(root)
    with pytest.MonkeyPatch.context() as patch, nursery(root) as born:
        # As the plan's detector sets it whenever it is opened; here it is set back at the end.
        patch.setattr(gradient, "SAVE_SECONDS", 0.0)
        status, _, said = born.run("first")
        assert (status, said) == (0, "")
        # The second run is timed: the first one decodes images.
        status, seconds, _ = born.run("undisturbed")
        assert status == 0
        rows = (root / "undisturbed" / "results.csv").read_bytes()
        assert rows == (root / "first" / "results.csv").read_bytes()
        yield Place(root, born, seconds, rows)


def moments(kills: int, name: str) -> list[float]:
    """Fractions of an undisturbed run, spread over all of it and drawn within each part."""
    chance = random.Random(f"{name} {kills}")
    return [(part + chance.random()) / kills for part in range(kills)]


@pytest.mark.parametrize("moment", moments(KILLS, "alone"), ids=lambda moment: f"at {moment:.3f}")
def test_a_killed_run_goes_on_to_the_same_rows(place: Place, moment: float) -> None:
    name = f"killed-{moment:.6f}"
    status, _, said = place.nursery.run(name, kill_after=moment * place.seconds)
    assert status in (-9, 0), said
    place.finish(name)


def test_a_run_that_is_killed_again_and_again_ends_too(place: Place) -> None:
    """Each time it gets a little further; of two processes with their parent that one alone is killed in every second
    turn."""
    for turn, moment in enumerate(sorted(moments(max(1, KILLS // 4), "again"))):
        # Workers take seconds to begin, in which nothing happens.
        place.nursery.run("again", jobs=2, kill_after=4 + moment * place.seconds, kill_group=turn % 2 == 1)
    place.finish("again", jobs=2)


def test_a_run_that_is_killed_while_it_writes_its_report(place: Place) -> None:
    """The next one writes the same text, figures and tables, but for the time of its start; of the PDF, which holds
    that as well, only that it is there."""

    def left(name: str) -> dict[str, bytes]:
        place.check(place.root / name)
        paths = [path for pattern in REPORT_FILES for path in (place.root / name).glob(pattern) if path.is_file()]
        found = {path.relative_to(place.root / name).as_posix(): path.read_bytes() for path in paths}
        return {file: re.sub(rb"20..-..-..T..:..:..|%PDF(?s:.*)", b"", content) for file, content in found.items()}

    def report(name: str, **how: float) -> tuple[int, float, str]:
        """Of a finished run, so that the report is all that is left to do."""
        if not (place.root / name).exists():
            shutil.copytree(place.root / "first", place.root / name)
            (place.root / name / ".tasks" / "report.json").unlink()
        return place.nursery.run(name, document=True, **how)

    status, seconds, said = report("reported")
    assert (status, said) == (0, "")
    whole = left("reported")
    assert {"report.md", "report.pdf", "report.html"} < set(whole)
    for moment in moments(max(1, KILLS // 10), "report"):
        name = f"report-{moment:.6f}"
        report(name, kill_after=moment * seconds)
        place.finish(name, document=True)
        assert left(name) == whole


@pytest.mark.parametrize("after", [round(90 * moment) for moment in moments(max(1, KILLS // 10), "syncs")])
def test_a_disk_that_is_full_from_some_sync_on(place: Place, after: int) -> None:
    name = f"full-{after}"
    status, _, said = place.nursery.run(name, full_after=after)
    assert status == 1
    assert "OSError: [Errno 28] No space left on device: " in said.splitlines()[-1]
    place.finish(name)


def mount(folder: Path, options: str) -> bool:
    """Whether a file system in memory could be mounted, which root may do and others may not."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("share", [0.9 * moment for moment in moments(max(1, KILLS // 10), "room")])
def test_a_file_system_that_fills(place: Place, share: float) -> None:
    """Of the room that a run takes there is but a share; where none can be mounted, syncs fail from some one on."""
    folder = place.root / f"disk-{share}"
    folder.mkdir()
    needed = sum(path.stat().st_blocks * 512 for path in (place.root / "first").rglob("*"))
    mounted = mount(folder, f"size={int(share * needed)}")
    try:
        # The report's place in the order of a run is its end: there must be too little room before it.
        status, _, said = place.nursery.run(
            f"{folder.name}/run", **({} if mounted else {"full_after": int(share * 60)})
        )  # fmt: skip
        assert status == 1 and "No space left on device" in said.splitlines()[-1]
        assert not mounted or mount(folder, "remount,size=64m")
        place.finish(f"{folder.name}/run")
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_second_process_is_sent_away(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.root)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(place.root / "cache"))
    command = ["run", "plan.toml", "--data", "data", "--out", "twice", "--device", "cpu"]
    command += ["--trust", "tiny_study:small"]
    monkeypatch.setattr(sys, "argv", ["omnial-bench", *command])
    place.nursery.begin("twice", wait="go")
    try:
        limit = time.monotonic() + 120
        while not (place.root / "go.begun").exists() and time.monotonic() < limit:
            time.sleep(0.05)
        before = {path: path.stat().st_mtime_ns for path in (place.root / "twice").rglob("*")}
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert re.fullmatch(
            r"error: twice is in use by process \d+ on \S+ since \S+; expected one run at a time, .*\n", said
        )
        assert {path: path.stat().st_mtime_ns for path in (place.root / "twice").rglob("*")} == before
    finally:
        (place.root / "go").touch()
        status, _, said = place.nursery.end()
    assert (status, said) == (0, "")
    place.check(place.root / "twice")


@pytest.fixture(scope="module")
def two(place: Place) -> Path:
    """The folder of a run with two threads."""
    status, _, said = place.nursery.run("two-threads", threads=2)
    assert (status, said) == (0, "")
    return place.root / "two-threads"


class TestDeterminism:
    """What docs/reproducibility.md says of the CPU; that a second run or two processes change nothing is seen above."""

    def test_two_threads_give_the_bytes_of_two_threads(self, place: Place, two: Path) -> None:
        assert place.nursery.run("two-again", threads=2)[0] == 0
        assert (place.root / "two-again" / "results.csv").read_bytes() == (two / "results.csv").read_bytes()

    def test_another_number_of_threads_rounds_otherwise(self, place: Place, two: Path) -> None:
        """Adam's steps amplify that, so the first loss is compared, and of the rows all but values and intervals."""
        for path in (place.root / "first" / "models").iterdir():
            one, other = [pd.read_csv(out / "models" / path.name / "log.csv")["loss"] for out in (path.parents[1], two)]
            assert other[1] == pytest.approx(one[1], rel=LOSS_TOLERANCE)
        rows = [read_rows(out).drop(columns=["value", "weights", "low", "high"]) for out in (place.root / "first", two)]
        pd.testing.assert_frame_equal(*rows)
