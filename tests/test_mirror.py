"""A run that is kept at a URL: another machine goes on from there, and takes nothing that is damaged."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import fsspec
import pytest
import tomli_w
from conftest import Command
from fsspec.implementations.local import LocalFileSystem
from tiny_study import SELF

from omnial_bench.config.schema import Plan
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256, without_none, write_text
from omnial_bench.models import gradient
from omnial_bench.pipeline import mirror
from omnial_bench.pipeline.mirror import INDEX, Mirror
from omnial_bench.pipeline.model_tasks import Attacking, Building, Scoring
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.run_plan import dry_run, run
from omnial_bench.pipeline.train_task import Training
from omnial_bench.progress import LOG

URL = "memory://bucket/run"


def settings(mini: Path, out: str, url: str = URL) -> Settings:
    return Settings(data=mini / "data", out=mini / out, device="cpu", mirror=url)


def plan(mini: Path) -> Plan:
    write_text(mini / "self.toml", SELF)
    return Plan(
        name="mini", title="Mini", dataset="toy", categories=("cap",), detectors=(str(mini / "mini.toml"),),
        paradigms=("unified",), preset="tiny", suites=(str(mini / "two.toml"), str(mini / "self.toml")), test_limit=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(mini: Path) -> Iterator[Path]:
    """A finished run, kept in memory too, and its folder."""

    def report(out: Path) -> list[Path]:
        (out / "report.md").write_text("# Report\n")
        return [out / "report.md"]

    run(plan(mini), settings(mini, "first"), report=report)
    yield mini / "first"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.fixture
def copy(first: Path, tmp_path: Path) -> Path:
    """What lies at the URL, as files that a test may damage."""
    assert first.is_dir()
    fsspec.filesystem("memory").get("/bucket/run", str(tmp_path / "there"), recursive=True)
    return tmp_path / "there"


def files(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(but)]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


KINDS = {Training, Building, Scoring, Attacking}


def forbid(patch: pytest.MonkeyPatch, *names: type) -> None:
    for name in names:
        patch.setattr(name, "run", Mock(side_effect=AssertionError("done again")))


def test_all_that_a_run_leaves_lies_at_the_url(first: Path, copy: Path) -> None:
    assert files(copy) == files(first, but=(LOG,))
    assert {"report.md", "results.csv", "models/mini-unified/checkpoint.safetensors"} <= set(files(copy))


def test_another_machine_brings_what_is_done_and_does_nothing_again(
    mini: Path, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(one.done for one in dry_run(plan(mini), settings(mini, "second")) if one.task.kind != "report")
    forbid(monkeypatch, *KINDS)
    # The report is not written again either.
    run(plan(mini), settings(mini, "second"), report=lambda _: pytest.fail("written again"))
    assert files(mini / "second", but=("environment.json", LOG)) == files(first, but=("environment.json", LOG))


@pytest.mark.parametrize(
    ("damaged", "again"),
    [
        ("models/mini-unified/checkpoint.safetensors", {Training}),
        ("models/mini-unified/recipe.toml", {Training}),
        ("sets/pgd-8/manifest.json", {Building}),
        (f"{INDEX}/train-mini-unified.json", {Training}),
        (".tasks/score-mini-unified-clean-cap.json", {Scoring}),
    ],
)
@pytest.mark.parametrize("how", ["gone", "other"])
def test_what_is_damaged_there_is_made_again_and_mended(
    mini: Path, first: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, damaged: str, again: set[type], how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    content = (copy / damaged).read_bytes()
    (copy / damaged).unlink()
    if how != "gone":
        (copy / damaged).write_bytes(content[:-9] + b"x" * 9)
    forbid(monkeypatch, *(KINDS - again))
    shutil.rmtree(mini / "mended", ignore_errors=True)
    run(plan(mini), settings(mini, "mended", copy.as_uri()))
    assert (mini / "mended" / "results.csv").read_bytes() == (first / "results.csv").read_bytes()
    assert damaged in caplog.text or how == "gone"
    ends = ("checkpoint.safetensors", "manifest.json", "results.csv")
    assert {n: h for n, h in files(copy).items() if n.endswith(ends)} == {
        n: h for n, h in files(first).items() if n.endswith(ends)
    }


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "recipe.toml", "log.csv"])
def test_what_is_damaged_here_is_brought_again(
    mini: Path, first: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    forbid(monkeypatch, *KINDS)
    path = mini / "hurt" / "models" / "mini-unified" / name
    run(plan(mini), settings(mini, "hurt", copy.as_uri()))
    content = path.read_bytes()
    for damage in (Path.unlink, lambda cut: cut.write_bytes(content[:-9])):
        damage(path)
        run(plan(mini), settings(mini, "hurt", copy.as_uri()))
        assert path.read_bytes() == content and files(copy) == files(first, but=(LOG,))


def test_work_that_was_not_sent_yet_is_kept_and_sent(mini: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(plan(mini), settings(mini, "unsent", copy.as_uri()))
    shutil.rmtree(copy / INDEX)
    forbid(monkeypatch, *KINDS)
    run(plan(mini), settings(mini, "unsent", copy.as_uri()))
    assert files(copy) == files(mini / "unsent", but=(LOG,))


@pytest.mark.parametrize("how", ["all", "cut", "folder", "nothing"])
def test_a_training_under_way_goes_on_from_its_copy(
    mini: Path, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(mirror, "EVERY", -1.0)
    monkeypatch.setattr(gradient, "SAVE_SECONDS", -1.0)
    url, steps, advance = (tmp_path / "there").as_uri(), [], gradient.Loop.advance

    def stop(self: gradient.Loop, *given: object) -> object:
        steps.append(self.step)
        if steps == [0, 1]:
            raise KeyboardInterrupt
        return advance(self, *given)

    monkeypatch.setattr(gradient.Loop, "advance", stop)
    lost, state = mini / f"lost-{how}", mini / f"lost-{how}" / "models" / "mini-unified" / "last.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(plan(mini), settings(mini, lost.name, url))
    assert [name for name in files(tmp_path / "there") if "train-mini-unified.saved." in name]
    if how == "all":
        shutil.rmtree(lost)
    elif how == "cut":
        state.write_bytes(state.read_bytes()[:-9])
    elif how == "folder":
        state.unlink()
        state.mkdir()
    run(plan(mini), settings(mini, lost.name, url))
    assert steps == [0, 1, 1]
    assert (lost / "results.csv").read_bytes() == (first / "results.csv").read_bytes()
    assert not [name for name in files(tmp_path / "there") if "last" in name or "saved" in name]


def test_a_copy_is_there_until_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "EVERY", -1.0)
    here, there = Mirror((tmp_path / "there").as_uri(), tmp_path / "here"), tmp_path / "there" / INDEX
    path, pipe = tmp_path / "here" / "state", LocalFileSystem.pipe_file
    write_text(path, "first")
    here.save("it", path)
    write_text(path, "second")
    monkeypatch.setattr(LocalFileSystem, "pipe_file", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        here.save("it", path)
    monkeypatch.setattr(LocalFileSystem, "pipe_file", pipe)
    other = Mirror(here.url, tmp_path / "other")
    other.resume("it", tmp_path / "other" / "state", Path.is_file)
    assert (tmp_path / "other" / "state").read_text() == "first"
    here.save("it", path)
    other.resume("it", tmp_path / "other" / "state", Path.is_file)
    assert (tmp_path / "other" / "state").read_text() == "second"
    write_text(path, "third, not sent")
    here.resume("it", path, Path.is_file)
    assert path.read_text() == "third, not sent"
    here.withdraw("it")
    assert not list(there.iterdir())


def test_what_is_newer_here_is_not_lost_to_the_url(mini: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of another recipe, made without the URL, whose log alone is damaged."""
    longer = (mini / "mini.toml").read_text().replace("max_iterations = 2", "max_iterations = 3", 1)
    write_text(mini / "longer" / "mini.toml", longer)
    other = plan(mini).model_copy(update={"detectors": (str(mini / "longer" / "mini.toml"),)})
    shutil.rmtree(mini / "newer", ignore_errors=True)
    run(plan(mini), settings(mini, "newer", copy.as_uri()))
    run(other, replace(settings(mini, "newer"), mirror=None))
    folder = mini / "newer" / "models" / "mini-unified"
    weights = (folder / "checkpoint.safetensors").read_bytes()
    (folder / "log.csv").write_bytes((folder / "log.csv").read_bytes()[:-9])
    for given in (other, plan(mini)):
        dry_run(given, settings(mini, "newer", copy.as_uri()))
        assert (folder / "checkpoint.safetensors").read_bytes() == weights
    forbid(monkeypatch, Training)
    run(other, settings(mini, "newer", copy.as_uri()))
    assert (folder / "checkpoint.safetensors").read_bytes() == weights


def test_a_training_goes_on_while_the_url_cannot_be_reached(mini: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    (mini / "state").write_text("weights")
    one = Mirror((tmp_path / "there").as_uri(), mini)
    monkeypatch.setattr(Mirror, "_put", lambda *_: pytest.fail("sent"))
    refuse(monkeypatch)
    one.save("training.saved", mini / "state")
    assert "goes on without a copy" in caplog.text and "no keys were found" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(LocalFileSystem, "put_file", Mock(side_effect=OSError(28, "No space left on device")))
    one.save("other.saved", mini / "state")
    assert "No space left on device" in caplog.text


def refuse(patch: pytest.MonkeyPatch) -> None:
    """Let the file system behind `file://` raise what only its own library knows."""

    class NoKeysError(Exception):
        pass

    for name in ("exists", "cat_file", "get_file", "put_file", "makedirs", "rm_file"):
        patch.setattr(LocalFileSystem, name, Mock(side_effect=NoKeysError("no keys were found")))


def test_what_other_libraries_raise_is_one_line(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Mirror((tmp_path / "there").as_uri(), tmp_path / "here")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a").write_text("a")
    refuse(monkeypatch)
    for ask in (one.check, lambda: one.fetch("task"), lambda: one.send("task", [tmp_path / "here" / "a"])):
        with pytest.raises(UserError, match=r"there: no keys were found; "):
            ask()
    with pytest.raises(UserError, match="no keys were found"):
        run(plan(mini), settings(mini, "unreached", one.url))


OUTSIDE = ("../out.txt", "/etc/out.txt", "a/../../out.txt", "C:/out.txt", "a\\..\\out.txt", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 1}',
        "[" * 100_000,
        "\ud800",
        *(json.dumps({name: hashlib.sha256(b"theirs").hexdigest()}) for name in OUTSIDE),
    ],
)
def test_an_index_that_is_none_or_leaves_the_folder(tmp_path: Path, text: str, caplog) -> None:
    (tmp_path / "there" / INDEX).mkdir(parents=True)
    (tmp_path / "out.txt").write_text("theirs")
    (tmp_path / "there" / INDEX / "task.json").write_text(text, errors="surrogatepass")
    assert not Mirror((tmp_path / "there").as_uri(), tmp_path / "here").fetch("task")
    assert "damaged" in caplog.text and not files(tmp_path / "here")


def test_only_what_changed_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    mirror, sent = Mirror((tmp_path / "there").as_uri(), here), []
    put = Mirror._put
    monkeypatch.setattr(Mirror, "_put", lambda self, path, name: (sent.append(name), put(self, path, name)))
    mirror.send("task", [here / "a", here / "b"])
    mirror.send("task", [here / "a", here / "b"])
    (here / "b").write_text("c")
    mirror.send("task", [here / "a", here / "b"])
    index = f"{INDEX}/task.json"
    assert sent == ["a", "b", index, "b", index]


def test_a_url_that_nothing_opens(mini: Path, command: Command) -> None:
    write_text(mini / "plan.toml", tomli_w.dumps(without_none(plan(mini).model_dump(mode="json"))))
    words = f"run {mini}/plan.toml --data {mini}/data --out {mini}/no --device cpu --mirror nosuch://bucket"
    status, _, said = command(words)
    assert (status, said.count("\n")) == (2, 1) and "nosuch" in said and not (mini / "no").exists()


def test_several_processes_of_a_machine_bring_the_same_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees what another has half brought: who comes back from `fetch` finds whole files and nothing beside."""
    there = tmp_path / "sent"
    (there / "set").mkdir(parents=True)
    for index in range(20):
        (there / "set" / f"{index}.png").write_bytes(bytes([index]) * 100)
    Mirror((tmp_path / "there").as_uri(), there).send("task", sorted((there / "set").iterdir()))
    found: list[int] = []

    def fetch(_: int) -> None:
        Mirror((tmp_path / "there").as_uri(), tmp_path / "here").fetch("task")
        found.append(len(list((tmp_path / "here" / "set").iterdir())))

    bring = Mirror._bring

    def slow(self: Mirror, target: Path, name: str, digest: str) -> bool:
        time.sleep(0.002)
        return bring(self, target, name, digest)

    monkeypatch.setattr(Mirror, "_bring", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, range(4)))
    assert found == [20] * 4
