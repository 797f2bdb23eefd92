"""The recipes of CONTRIBUTING.md for what lives elsewhere: their files and commands run as they stand; a reader's gate
and keys."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w
from click.testing import CliRunner
from conftest import RECORD
from PIL import Image

import omnial_bench as ob
from omnial_bench.cli.main import cli
from omnial_bench.config.load import read_plan
from omnial_bench.config.schema import Plan
from omnial_bench.data.dataset import find_dataset
from omnial_bench.metrics.metric import METRICS
from omnial_bench.models.checkpoint import read_provenance
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.train_and_attack import train_models
from omnial_bench.pipeline.workspace import Workspace
from omnial_bench.results import read_rows

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
LINES = 20
READER = "tablets:layout"


@dataclass(frozen=True)
class Written:
    """What a section of the page shows: files by their names, which stand in their first lines or before them, and
    commands."""

    files: dict[str, str]
    commands: list[list[str]]


def written(section: str) -> Written:
    (text,) = re.findall(rf"^### {section}\n(.*?)(?=^#)", PAGE.replace("\n# ", "\n\0 "), re.MULTILINE | re.DOTALL)
    files, lines = {}, []
    for before, block in re.findall(
        r"(.*?)^```\w*\n(.*?)^```", text.replace("\n\0 ", "\n# "), re.MULTILINE | re.DOTALL
    ):
        if re.match(r"(export|PYTHONPATH=|omnial-bench) ?", block):
            lines += block.replace("\\\n", "").splitlines()
        else:
            first = re.match(r"# (\S+)\n", block)
            files[first[1] if first else re.findall(r"`([\w.]+\.(?:py|toml))`", before)[-1]] = block
    words = [[word for word in shlex.split(line) if word not in ("export", "PYTHONPATH=.")] for line in lines]
    assert files and all(one[0] == "omnial-bench" for one in words if one)
    return Written(files, [one[1:] for one in words if one])


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


def call(words: list[str] | str) -> str:
    """What a command that succeeds prints."""
    done = CliRunner().invoke(cli, words.split() if isinstance(words, str) else words)
    assert done.exit_code == 0, done.exception or done.output
    return done.output


def refusal(words: list[str] | str) -> str:
    """The one line that a command ends in."""
    error = CliRunner().invoke(cli, words.split() if isinstance(words, str) else words).exception
    assert isinstance(error, ob.UserError) and "\n" not in str(error)
    return str(error)


def follow(place: Path, section: str) -> list[str]:
    """Write the files of a recipe, each under twenty lines of Python, and run its commands; what these print."""
    recipe = written(section)
    for name, text in recipe.files.items():
        (place / name).write_text(text, encoding="utf-8")
        assert not name.endswith(".py") or len([line for line in text.splitlines() if line]) < LINES
    return [call(words) for words in recipe.commands]


@pytest.mark.parametrize(("learns", "name"), [("fit", "places"), ("gradient", "blend")])
def test_a_detector(place: Path, learns: str, name: str) -> None:
    follow(place, f"A detector by {learns}")
    rows = read_rows(place / "scored")
    means = rows[(rows["category"] == "mean") & (rows["metric"] == "pixel_auroc")].set_index("set")["value"]
    assert set(rows["detector"]) == {name} and rows["value"].notna().any()
    assert means["quick-any"] < means["quick-noise"] - 0.01 and means["quick-any"] < means["quick-unattacked"] - 0.01


def test_an_attack(place: Path) -> None:
    follow(place, "An attack")
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
    words = written("An attack").commands[0]
    at = words.index("--trust")
    untrusted = refusal([*words[:at], *words[at + 2 :], "--out", "other"])
    assert untrusted.endswith("if you know and trust it, add --trust climb:Climb") and not (place / "other").exists()


def test_a_metric(place: Path) -> None:
    follow(place, "A metric")
    rows = read_rows(place / "gap-run")
    own = rows[rows["metric"] == "gap"].set_index("category")
    assert list(own.index) == ["cap", "mean"] and own["value"].notna().all() and own["low"].isna().all()
    report = (place / "gap-run/report.md").read_text(encoding="utf-8")
    assert "Image gap (higher is better)" in report and "not known to this version" not in report


def test_a_defence(place: Path) -> None:
    follow(place, "A defence")
    (place / "mini.toml").write_text(RECORD)
    record = place / "draem-blurred.toml"
    record.write_text(record.read_text().replace('base = "draem"', 'base = "mini.toml"'))
    train = "train draem-blurred.toml --preset tiny --data demo-run/data --category cap"
    plain, behind = (f"score {model} --data demo-run/data" for model in ("demo-run/models/draem-unified", "blurred"))
    for words in (
        f"{train} --trust blur:Blur --out blurred", f"{plain} --out plain",
        f"{behind} --trust blur:Blur --out blurred-run",
    ):  # fmt: skip
        call(words)
    runs = [read_rows(place / run) for run in ("plain", "blur-run", "blurred-run")]
    assert [set(rows["detector"]) for rows in runs] == [{"mini"}, {"mini-blur"}, {"draem-blurred"}]
    bare, blurred, trained = (rows[rows["set"] == "clean"]["value"].reset_index(drop=True) for rows in runs)
    assert blurred.equals(trained) and not bare.equals(blurred)
    for words in (train, behind):
        assert refusal(f"{words} --out other").endswith("if you know and trust it, add --trust blur:Blur")
        assert not (place / "other").exists()


@pytest.fixture
def photos(place: Path) -> Path:
    """Beside the recipe's code in tablets.py, which leaves a trace, images in its layout: six normal tablets to train
    on, two to test on and two with a hole."""
    trace = "from pathlib import Path\n\nPath('imported').touch()\n"
    (place / "tablets.py").write_text(f"{written('A data set').files['tablets.py']}\n{trace}", encoding="utf-8")
    root = place / "photos"
    (root / "marks").mkdir(parents=True)
    names = [*(f"train_good_{n}" for n in range(6)), "test_good_0", "test_good_1", "test_hole_0", "test_hole_1"]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(90, 130, (48, 48, 3), dtype=np.uint8)
        if "hole" in name:
            mask = np.zeros((48, 48), np.uint8)
            mask[10:22, 20:34] = 255
            pixels[mask > 0] = 10
            Image.fromarray(mask).save(root / f"marks/round_{name}.png")
        Image.fromarray(pixels).save(root / f"round_{name}.png")
    return root


@pytest.mark.usefixtures("photos")
def test_a_data_set(place: Path) -> None:
    verified, *_ = follow(place, "A data set")
    assert [words[0] for words in written("A data set").commands] == ["data", "train", "score"]
    assert f"{READER} layout" in verified and "every image can be read" in verified
    assert set(read_rows(place / "scores/results.csv")["category"]) == {"round", "mean"}
    # Name and hash travel with what was made.
    made = read_provenance(place / "model")
    environment = json.loads((place / "scores/environment.json").read_text(encoding="utf-8"))
    assert made is not None and made.reader == environment["dataset"]["reader"]
    assert made.reader["name"] == READER and len(made.reader["code"]) == 64
    assert environment["detectors"] == {made.detector: made.title}
    assert environment["families"] == {made.detector: made.family} == {"draem": "reconstruction"}
    # The way to the data may lead out of the folder, what lies in it may not.
    assert call(f"data verify ../{place.name}/photos --reader {READER} --trust {READER}")


UNTRUSTED = {
    "verify": "data verify photos",
    "train": "train draem --preset tiny --data photos --out out",
    "attack": "attack paper --detector anything:made --data photos --out out",
    "score": "score --detector anything:made --data photos --out out",
    "run": "run plan.toml --data photos --out out",
    "dry run": "run plan.toml --data photos --out out --dry-run",
}


def plan(place: Path, **changes: object) -> Plan:
    table = {
        "name": "own", "title": "Own", "dataset": "tablets", "categories": ["round"], "detectors": ["draem"],
        "paradigms": ["unified"], "preset": "tiny", "suites": [], **changes,
    }  # fmt: skip
    (place / "plan.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    return read_plan("plan.toml")


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("command", UNTRUSTED)
def test_no_command_runs_a_reader_that_its_own_line_does_not_trust(place: Path, command: str) -> None:
    plan(place)
    for trust in ("", " --trust tablets:other"):
        line = refusal(f"{UNTRUSTED[command]} --reader {READER}{trust}")
        assert f"asks to run the code {READER}; if you know and trust it, add --trust {READER}" in line
    assert not (place / "imported").exists() and not (place / "out").exists()


@pytest.mark.usefixtures("photos")
def test_a_plan_that_names_a_reader_is_looked_at_under_trust_alone(place: Path) -> None:
    plan(place, reader=READER)
    line = UNTRUSTED["dry run"]
    assert f"add --trust {READER}" in refusal(line)
    call("show plans plan.toml")
    assert not (place / "imported").exists()
    assert "due" in call(f"{line} --trust {READER}")
    refused = refusal(f"{line} --reader os:path --trust os:path")
    assert "of Python's standard library, which holds no reader" in refused


@pytest.mark.usefixtures("photos")
def test_other_code_of_a_reader_is_another_key(place: Path) -> None:
    chosen = plan(place, reader=READER)

    def keys() -> list[str]:
        sys.modules.pop("tablets", None)
        workspace = Workspace(chosen, Settings(data=Path("photos"), out=place / "out", device="cpu", trusted=(READER,)))
        (model,) = workspace.models
        return [workspace.training(model).key, str(workspace.base(model.name)["reader"])]

    before = keys()
    assert keys() == before
    with (place / "tablets.py").open("a") as file:
        file.write("\n")
    assert all(new != old for new, old in zip(keys(), before, strict=True))


def test_what_is_no_reader_is_one_line(photos: Path) -> None:
    for name, message in {
        "tablets:read": "expected a Reader of omnial_bench, got function",
        "tablets:missing": "cannot load the reader 'tablets:missing': AttributeError",
        "tablets": "unknown reader 'tablets'",
        "tablets:lay out": "names the reader 'tablets:lay out'; expected package.module:object",
    }.items():
        with pytest.raises(ob.UserError, match=message):
            find_dataset(Path("photos"), reader=name, trusted=[name])
    shutil.copy(photos / "round_train_good_1.png", photos / "round_train_good_1_1.png")
    with pytest.raises(ob.UserError, match=r"reader tablets:layout failed to read photos: ValueError: too many values"):
        find_dataset(Path("photos"), reader=READER, trusted=[READER])


@pytest.mark.usefixtures("photos")
def test_benchmark_takes_a_reader_or_its_name(place: Path) -> None:
    class Dark(ob.Detector):
        def forward(self, images):  # type: ignore[no-untyped-def]
            import torch

            return ob.Prediction(torch.stack((images.mean(1), 1 - images.mean(1)), 1))

    rows = ob.benchmark(
        Dark(), "photos", suite="quick", reader=READER, size=(48, 48), limit=2, device="cpu", save=place / "saved"
    )
    (value,) = rows.query("set == 'clean' and metric == 'pixel_auroc' and category == 'round'")["value"]
    assert value > 0.99
    with pytest.raises(ob.UserError, match="expected a Reader or the name of one, got 3"):
        ob.benchmark(Dark(), "photos", reader=3)  # type: ignore[arg-type]
    layout = sys.modules["tablets"].layout
    with pytest.raises(ob.UserError, match="did you mean 'round'"):
        ob.benchmark(Dark(), "photos", reader=layout, categories=["rund"])
