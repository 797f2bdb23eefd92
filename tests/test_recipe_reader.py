"""A data set in a layout of one's own: the recipe of CONTRIBUTING.md runs as it stands; its gate and its keys."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner, Result
from PIL import Image

import omnial_bench as ob
from omnial_bench.cli.main import cli
from omnial_bench.config.load import read_plan
from omnial_bench.config.schema import Plan
from omnial_bench.data.dataset import find_dataset
from omnial_bench.errors import UserError
from omnial_bench.models.checkpoint import read_provenance
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.workspace import Workspace
from omnial_bench.results import read_rows

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPE = PAGE.partition("### A data set\n")[2].partition("\n## ")[0]
(CODE,) = re.findall(r"```python\n(.*?)```", RECIPE, re.DOTALL)
(SHELL,) = re.findall(r"```\n(export .*?)```", RECIPE, re.DOTALL)
NAME = "tablets:layout"


def draw(root: Path) -> None:
    """Six normal tablets to train on, two to test on and two with a hole, 48 pixels square."""
    (root / "marks").mkdir(parents=True)
    names = [f"round_train_good_{n}" for n in range(6)] + [f"round_test_good_{n}" for n in range(2)]
    for number, name in enumerate([*names, "round_test_hole_0", "round_test_hole_1"]):
        pixels = np.random.default_rng(number).integers(90, 130, (48, 48, 3), dtype=np.uint8)
        if "hole" in name:
            mask = np.zeros((48, 48), np.uint8)
            mask[10:22, 20:34] = 255
            pixels[mask > 0] = 10
            Image.fromarray(mask).save(root / f"marks/{name}.png")
        Image.fromarray(pixels).save(root / f"{name}.png")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the recipe's code in tablets.py and images in its layout, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    trace = "from pathlib import Path\n\nPath('imported').touch()\n"
    (tmp_path / "tablets.py").write_text(f"{CODE}\n{trace}", encoding="utf-8")
    draw(tmp_path / "photos")
    yield tmp_path
    sys.modules.pop("tablets", None)


def invoke(line: str) -> Result:
    program, *words = shlex.split(line)
    assert program == "omnial-bench"
    return CliRunner().invoke(cli, words)


def test_the_recipe_is_under_twenty_lines_and_runs(place: Path) -> None:
    assert len(CODE.strip().splitlines()) < 20
    export, *lines = SHELL.strip().splitlines()
    assert export == "export PYTHONPATH=." and [line.split()[1] for line in lines] == ["data", "train", "score"]
    outputs = []
    for line in lines:
        done = invoke(line)
        assert done.exit_code == 0, (line, done.output, done.exception)
        outputs.append(done.output)
    assert f"{NAME} layout" in outputs[0] and "every image can be read" in outputs[0]
    assert set(read_rows(place / "scores/results.csv")["category"]) == {"round", "mean"}
    # Name and hash travel with what was made.
    made = read_provenance(place / "model")
    environment = json.loads((place / "scores/environment.json").read_text(encoding="utf-8"))
    assert made is not None and made.reader == environment["dataset"]["reader"]
    assert made.reader["name"] == NAME and len(made.reader["code"]) == 64


UNTRUSTED = {
    "verify": "omnial-bench data verify photos",
    "train": "omnial-bench train draem --preset tiny --data photos --out out",
    "attack": "omnial-bench attack quick --detector anything:made --data photos --out out",
    "score": "omnial-bench score --detector anything:made --data photos --out out",
    "run": "omnial-bench run plan.toml --data photos --out out",
    "dry run": "omnial-bench run plan.toml --data photos --out out --dry-run",
}


def plan(place: Path, **changes: object) -> Plan:
    table = {
        "name": "own", "title": "Own", "dataset": "tablets", "categories": ["round"], "detectors": ["draem"],
        "paradigms": ["unified"], "preset": "tiny", "suites": [], **changes,
    }  # fmt: skip
    (place / "plan.toml").write_text(tomli_w.dumps(table), encoding="utf-8")
    return read_plan("plan.toml")


@pytest.mark.parametrize("command", UNTRUSTED)
def test_no_command_runs_a_reader_that_its_own_line_does_not_trust(place: Path, command: str) -> None:
    plan(place)
    for trust in ("", " --trust tablets:other"):
        refused = invoke(f"{UNTRUSTED[command]} --reader {NAME}{trust}")
        assert isinstance(refused.exception, UserError), refused.output
        line = str(refused.exception)
        assert f"asks to run the code {NAME}; if you know and trust it, add --trust {NAME}" in line and "\n" not in line
    assert not (place / "imported").exists() and not (place / "out").exists()


def test_a_plan_that_names_a_reader_is_looked_at_under_trust_alone(place: Path) -> None:
    plan(place, reader=NAME)
    line = UNTRUSTED["dry run"]
    refused = invoke(line)
    assert isinstance(refused.exception, UserError) and f"add --trust {NAME}" in str(refused.exception)
    assert invoke("omnial-bench show plans plan.toml").exit_code == 0 and not (place / "imported").exists()
    listed = invoke(f"{line} --trust {NAME}")
    assert listed.exit_code == 0 and "due" in listed.output, listed.exception
    refused = invoke(f"{line} --reader os:path --trust os:path")
    assert "of Python's standard library, which holds no reader" in str(refused.exception)


def test_other_code_of_a_reader_is_another_key(place: Path) -> None:
    chosen = plan(place, reader=NAME)

    def keys() -> list[str]:
        sys.modules.pop("tablets", None)
        workspace = Workspace(chosen, Settings(data=Path("photos"), out=place / "out", device="cpu", trusted=(NAME,)))
        (model,) = workspace.models
        return [workspace.training(model).key, str(workspace.base(model.name)["reader"])]

    before = keys()
    assert keys() == before
    (place / "tablets.py").write_text(CODE + "\n", encoding="utf-8")
    assert all(new != old for new, old in zip(keys(), before, strict=True))


def test_what_is_no_reader_is_one_line(place: Path) -> None:
    for name, message in {
        "tablets:read": "expected a Reader of omnial_bench, got function",
        "tablets:missing": "cannot load the reader 'tablets:missing': AttributeError",
        "tablets": "unknown reader 'tablets'",
        "tablets:lay out": "names the reader 'tablets:lay out'; expected package.module:object",
    }.items():
        with pytest.raises(UserError, match=message):
            find_dataset(Path("photos"), reader=name, trusted=[name])
    (place / "photos/round_train_good_1_1.png").write_bytes((place / "photos/round_train_good_1.png").read_bytes())
    with pytest.raises(UserError, match=r"reader tablets:layout failed to read photos: ValueError: too many values"):
        find_dataset(Path("photos"), reader=NAME, trusted=[NAME])


def test_benchmark_takes_a_reader_or_its_name(place: Path) -> None:
    class Dark(ob.Detector):
        def forward(self, images):  # type: ignore[no-untyped-def]
            import torch

            return ob.Prediction(torch.stack((images.mean(1), 1 - images.mean(1)), 1))

    rows = ob.benchmark(
        Dark(), "photos", suite="quick", reader=NAME, size=(48, 48), limit=2, device="cpu", save=place / "saved"
    )
    (value,) = rows.query("set == 'clean' and metric == 'pixel_auroc' and category == 'round'")["value"]
    assert value > 0.99
    with pytest.raises(UserError, match="expected a Reader or the name of one, got 3"):
        ob.benchmark(Dark(), "photos", reader=3)  # type: ignore[arg-type]
    layout = sys.modules["tablets"].layout
    with pytest.raises(UserError, match="did you mean 'round'"):
        ob.benchmark(Dark(), "photos", reader=layout, categories=["rund"])
