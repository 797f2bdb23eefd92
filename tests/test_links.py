"""A link inside a run folder is refused at every door, and nothing is written to where it leads."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, Said
from fake_run import fake_run

from omnial_bench.errors import UserError
from omnial_bench.io.links import check_links
from omnial_bench.pipeline.request import Request
from omnial_bench.pipeline.score_models import assess
from omnial_bench.pipeline.train_and_attack import train_models

SET, MODEL = "pgd-8", "mini-unified"
PARTS = (
    "tables", "figures", "models", f"models/{MODEL}", "sets", f"sets/{SET}", f"sets/{SET}/cap", ".tasks", "examples",
    "results.csv", "report.md", "plan.toml", ".lock", "models/nothing",
)  # fmt: skip
RUN_DOORS = (
    "run plan.toml --data data --out RUN", "run plan.toml --data data --out RUN --dry-run", "demo --out RUN",
    "report RUN", "check RUN --baseline good.csv", "check RUN --baseline good.csv --update",
)  # fmt: skip
"""What looks at a whole run folder."""
TRAIN = "train mini.toml --data data --category cap --preset tiny --out RUN"
STEP_DOORS = [
    (line, name)
    for line, names in (
        (TRAIN, "checkpoint.safetensors recipe.toml log.csv last.safetensors"),
        (f"{TRAIN} --paradigm separate", "mini-separate-cap mini-separate-cap/log.csv"),
        ("attack two.toml --source none --data data --out RUN", "unattacked pgd-8 pgd-8/cap"),
        (
            "score none --data data --out RUN",
            "results.csv attacks.csv health.csv environment.json .tasks .tasks/score.json examples examples/index.csv",
        ),
    )
    for name in names.split()
]
"""What writes a few files to a folder, and one of those."""


@pytest.fixture
def place(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with data, records and a baseline; `outside` is what no link may lead to."""
    for name in ("data", "mini.toml", "two.toml", "plan.toml"):
        (tmp_path / name).symlink_to(mini / name)
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path / "outside")
    yield tmp_path
    assert snapshot(tmp_path / "outside") == before


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("drawn") / "run", size=(16, 16))


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes() if path.is_file() else b"", path.lstat().st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
    }


def lead_outside(link: Path, outside: Path) -> None:
    """Put a link in the place of a file or a folder: to a folder where that is one, to a file, or to nothing."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.name == "nothing":
        link.symlink_to(outside / "nowhere")
        return
    folder = link.is_dir() or not link.suffix
    if link.is_dir():
        link.rename(link.with_name("moved-away"))
    link.unlink(missing_ok=True)
    link.symlink_to(outside if folder else outside / "file", target_is_directory=folder)


def refusal(link: str) -> Said:
    return Said(
        2, "", f"error: expected no links inside RUN, got RUN/{link}; put what it leads to in its place, or remove it\n"
    )


@pytest.mark.parametrize("part", PARTS)
def test_every_door_of_a_run_refuses(place: Path, drawn: Path, part: str, command: Command) -> None:
    out = shutil.copytree(drawn, place / "RUN", copy_function=os.link)
    (place / "good.csv").hardlink_to(drawn / "results.csv")
    lead_outside(out / part, place / "outside")
    before = snapshot(out)
    for line in RUN_DOORS:
        assert command(line) == refusal(part)
    assert snapshot(out) == before


@pytest.mark.parametrize(("line", "link"), STEP_DOORS)
def test_every_step_refuses_links_where_it_writes(place: Path, line: str, link: str, command: Command) -> None:
    lead_outside(place / "RUN" / link, place / "outside")
    assert command(line) == refusal(link)


def test_links_of_the_user_beside_what_a_step_writes_are_let_be(place: Path) -> None:
    """And a run folder that is a link itself, and a model that is read where it is one."""
    out = place / "RUN"
    (out / "mine").mkdir(parents=True)
    (out / "mine" / "there").symlink_to(place / "outside", target_is_directory=True)
    (place / "linked").symlink_to(out, target_is_directory=True)
    (folder,) = train_models(
        "mini.toml", data=Path("data"), categories=["cap"], paradigm="unified", preset="tiny", textures=None,
        out=Path("linked"), device="cpu", precision="32-true", seed=0, watch=lambda _: None,
    )  # fmt: skip
    (place / "model").mkdir()
    for name in ("checkpoint.safetensors", "recipe.toml"):
        (place / "model" / name).symlink_to(place / folder / name)
    rows = assess(Request(data=Path("data"), out=Path("linked"), checkpoints=("model",), device="cpu"))
    assert len(rows) and (out / "results.csv").is_file()


def test_the_first_link_is_named_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / Path(*["d"] * 50)
    deep.mkdir(parents=True)
    (deep / "link").symlink_to(tmp_path)
    (tmp_path / "e").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"/d/link; put"):
        check_links(tmp_path)
    (deep / "link").unlink()
    with pytest.raises(UserError, match=r"got \S+/e; put"):
        check_links(tmp_path)
    check_links(tmp_path, ["d", "nowhere"])
    check_links(tmp_path / "nowhere")
