"""The recipes of CONTRIBUTING.md for what lives elsewhere: their files and commands run as they stand."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import RECORD

import omnial_bench as ob
from omnial_bench.cli.main import cli
from omnial_bench.metrics.metric import METRICS
from omnial_bench.pipeline.train_and_attack import train_models
from omnial_bench.results import read_rows

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
LINES = 20


@dataclass(frozen=True)
class Written:
    """What a section of the page shows: files by their names, which stand in their first lines, and commands."""

    files: dict[str, str]
    commands: list[list[str]]


def written(section: str) -> Written:
    (text,) = re.findall(rf"^### {section}\n(.*?)(?=^#)", PAGE.replace("\n# ", "\n\0 "), re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text.replace("\n\0 ", "\n# "), re.MULTILINE | re.DOTALL)
    files = {block.split("\n")[0].removeprefix("# "): block for block in blocks if block.startswith("# ")}
    lines = [line for block in blocks if not block.startswith("# ") for line in block.replace("\\\n", "").splitlines()]
    words = [[word for word in shlex.split(line) if word != "PYTHONPATH=."] for line in lines]
    assert files and all(one[0] == "omnial-bench" for one in words)
    return Written(files, [one[1:] for one in words])


@pytest.fixture(scope="module")
def demo(mini: Path) -> Path:
    """A folder with `demo-run`: the data and one of the models that `omnial-bench demo` leaves, tiny."""
    (mini / "demo-run").mkdir()
    (mini / "data").rename(mini / "demo-run/data")
    train_models(
        str(mini / "mini.toml"), data=mini / "demo-run/data", categories=["cap"], paradigm="unified", preset="tiny",
        textures=None, out=mini / "demo-run/models/draem-unified", device="cpu", precision="32-true", seed=0,
        watch=lambda _: None,
    )  # fmt: skip
    return mini


@pytest.fixture
def place(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that an outsider works in, where his modules are found."""
    shutil.copytree(demo / "demo-run", tmp_path / "demo-run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def follow(place: Path, section: str) -> Written:
    """Write the files of a recipe, each under twenty lines of Python, and run its commands one after the other."""
    recipe = written(section)
    for name, text in recipe.files.items():
        (place / name).write_text(text, encoding="utf-8")
        assert not name.endswith(".py") or len([line for line in text.splitlines() if line]) < LINES
    for words in recipe.commands:
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.exception or done.output
    return recipe


def test_an_attack(place: Path) -> None:
    recipe = follow(place, "An attack")
    rows, attempts = read_rows(place / "climb-run"), pd.read_csv(place / "climb-run/attacks.csv")
    attacked = rows[(rows["set"] == "climb-any") & (rows["category"] == "cap")]
    assert set(attacked["attack"]) == {"climb:Climb"} and set(attacked["aim"]) == {"pixel"}
    assert set(attacked["metric"]) >= set(METRICS)
    went, noise = attempts.to_dict("records")
    assert (noise["attack"], noise["spec"]) == ("noise", "control")
    assert (went["attack"], went["title"], went["spec"]) == ("climb:Climb", "Sign climb", "iterative uses_gradient")
    losses = [float(loss) for loss in went["losses"].split()]
    assert len(losses) == 4 and losses[-1] > losses[0] and went["largest_change"] == 8
    assert went["options"] == "share = 0.5"
    assert "Sign climb (share = 0.5)" in (place / "climb-run/report.md").read_text(encoding="utf-8")
    words = recipe.commands[0]
    at = words.index("--trust")
    untrusted = CliRunner().invoke(cli, [*words[:at], *words[at + 2 :], "--out", "other"])
    assert isinstance(untrusted.exception, ob.UserError) and not (place / "other").exists()
    assert str(untrusted.exception).endswith("if you know and trust it, add --trust climb:Climb")


def test_a_metric(place: Path) -> None:
    follow(place, "A metric")
    rows = read_rows(place / "gap-run")
    own = rows[rows["metric"] == "gap"].set_index("category")
    assert list(own.index) == ["cap", "mean"] and own["value"].notna().all() and own["low"].isna().all()
    report = (place / "gap-run/report.md").read_text(encoding="utf-8")
    assert "Image gap (higher is better)" in report and "not known to this version" not in report


def test_a_defence(place: Path) -> None:
    recipe = follow(place, "A defence")
    (place / "mini.toml").write_text(RECORD)
    record = recipe.files["draem-blurred.toml"].replace('base = "draem"', 'base = "mini.toml"')
    (place / "draem-blurred.toml").write_text(record)
    data = ["--data", "demo-run/data"]
    train = ["train", "draem-blurred.toml", "--preset", "tiny", *data, "--category", "cap"]
    scores = [["score", model, *data] for model in ("demo-run/models/draem-unified", "blurred")]
    trusting = ["--trust", "blur:Blur"]
    for words, out in ((train + trusting, "blurred"), (scores[0], "plain"), (scores[1] + trusting, "blurred-run")):
        done = CliRunner().invoke(cli, [*words, "--out", out])
        assert done.exit_code == 0, done.exception or done.output
    runs = [read_rows(place / run) for run in ("plain", "blur-run", "blurred-run")]
    assert [set(rows["detector"]) for rows in runs] == [{"mini"}, {"mini-blur"}, {"draem-blurred"}]
    plain, behind, trained = (rows[rows["set"] == "clean"]["value"].reset_index(drop=True) for rows in runs)
    assert behind.equals(trained) and not plain.equals(behind)
    for words in (train, scores[1]):
        done = CliRunner().invoke(cli, [*words, "--out", "other"])
        assert str(done.exception).endswith("if you know and trust it, add --trust blur:Blur")
        assert not (place / "other").exists()
