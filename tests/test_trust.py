"""Files never run code by themselves: every door, with code that leaves a trace when it is imported."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
import torch
from conftest import Command
from torch import nn

import omnial_bench as ob
from omnial_bench.attacks.threats import NoOptions
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_text
from omnial_bench.models import registry
from omnial_bench.models.outside.foreign import make
from omnial_bench.models.registry import build
from omnial_bench.pipeline.train_and_attack import train_models
from omnial_bench.trust import code_of

CODE = """
from functools import partial
from os import system
from pathlib import Path
from subprocess import run as renamed

from torch import nn

from omnial_bench.models.draem import DRAEM, Options

Path("imported").touch()


def network():
    Path("built").touch()
    return DRAEM(Options(width=4, loc_width=4, pooling=5))


class Late(nn.Module):
    pass


def leave():
    raise SystemExit(0)


borrowed = partial(network)
number = 3
ready = network()
"""
NAME = "traced_detector:network"
PLAN = {
    "name": "own", "title": "Own", "dataset": "toy", "categories": ["cap"], "detectors": ["own.toml"],
    "paradigms": ["unified"], "preset": "tiny", "suites": ["two.toml"],
}  # fmt: skip


@pytest.fixture
def place(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module, a record that names it, a plan that names the record, and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "traced_detector", raising=False)
    write_text(tmp_path / "traced_detector.py", CODE)
    write_text(tmp_path / "leaving.py", "raise SystemExit(0)\n")
    record = (mini / "mini.toml").read_text(encoding="utf-8")
    for file, name in (("own.toml", NAME), ("shell.toml", "os:system")):
        text = record.replace('"draem"', f'"{name}"')
        options = 'options = { command = "touch run" }' if file == "shell.toml" else ""
        write_text(tmp_path / file, text.replace("options = { width = 4, loc_width = 4, pooling = 5 }", options))
    for file, name in (("own-plan.toml", "own.toml"), ("shell-plan.toml", "shell.toml")):
        write_text(tmp_path / file, tomli_w.dumps({**PLAN, "detectors": [name]}))
    shutil.copy(mini / "two.toml", tmp_path)
    (tmp_path / "data").symlink_to(mini / "data")
    yield tmp_path
    monkeypatch.delitem(sys.modules, "traced_detector", raising=False)


def train(place: Path) -> None:
    """A finished training in `model`, whose recipe names code that no process has imported any more."""
    train_models(
        "own.toml", data=place / "data", categories=["cap"], paradigm="unified", preset="tiny", textures=None,
        out=place / "model", device="cpu", precision="32-true", seed=0, watch=lambda _: None, trusted=[NAME],
    )  # fmt: skip
    forget(place)


def forget(place: Path) -> None:
    sys.modules.pop("traced_detector", None)
    for trace in ("imported", "built", "run"):
        (place / trace).unlink(missing_ok=True)


def nothing_ran(place: Path) -> bool:
    return not any((place / trace).exists() for trace in ("imported", "built", "run"))


COMMANDS = {
    "run": "run own-plan.toml --data data --out out --device cpu",
    "train": "train own.toml --data data --preset tiny --out out --device cpu",
    "attack": "attack two.toml --source model --data data --out out --device cpu",
    "score": "score model --data data --out out --device cpu",
}


def check_trust(place: Path, command: Command, line: str) -> None:
    """A command runs only what its own line trusts."""
    for other in ("", "--trust traced_detector:other", "--trust traced_detector"):
        status, _, said = command(f"{line} {other}")
        assert f"asks to run the code {NAME}; if you know and trust it, add --trust {NAME}" in said
        assert (status, said.count("\n")) == (2, 1) and nothing_ran(place) and not (place / "out").exists()
    assert command(f"{line} --trust {NAME}").status == 0
    assert (place / "built").exists()


@pytest.mark.parametrize("name", ["train", "attack", "score"])
def test_a_command_runs_only_what_its_own_line_trusts(place: Path, command: Command, name: str) -> None:
    if name != "train":
        train(place)
    check_trust(place, command, COMMANDS[name])


@pytest.mark.parametrize("name", ["run", "train"])
def test_the_standard_library_is_never_a_detector(place: Path, command: Command, name: str) -> None:
    for trust in ("", "--trust os:system"):
        status, _, said = command(f"{COMMANDS[name].replace('own', 'shell')} {trust}")
        assert status == 2 and "standard library" in said and nothing_ran(place)


@pytest.mark.parametrize("kind", ["own", "shell"])
def test_looking_never_builds(place: Path, command: Command, kind: str) -> None:
    for line in (f"detectors {kind}.toml --preset tiny", f"detectors {kind}.toml", f"plans {kind}-plan.toml"):
        assert command(f"show {line}").status == 0
    (facts,) = json.loads(command(f"show detectors {kind}.toml --preset tiny --json").out)
    assert facts["parameters"] is facts["flops"] is None and facts["size"] == [32, 32]
    for trust in ("", f"--trust {NAME}"):
        status, shown, said = command(f"run {kind}-plan.toml --data data --out out --dry-run {trust}")
        assert (status == 0 and "due" in shown) if kind == "own" else (status == 2 and "standard library" in said)
    assert nothing_ran(place) and not (place / "out").exists()


def test_a_run_does_so_too_and_a_dry_run_over_it_never_builds(place: Path, command: Command) -> None:
    line = COMMANDS["run"]
    check_trust(place, command, line)
    forget(place)
    status, listed, _ = command(f"{line} --dry-run")
    assert status == 0 and ", 0 due" in listed and nothing_ran(place)
    write_text(place / "traced_detector.py", CODE + "# Changed.\n")
    (first, *_) = json.loads(command(f"{line} --dry-run --json").out)
    assert first["why"] == ["detector changed"] and nothing_ran(place)
    write_text(place / "traced_detector.py", CODE)
    # A recipe of the run that was changed to name other code is no reason either.
    path = next((place / "out/models").glob("*/recipe.toml"))
    write_text(path, path.read_text(encoding="utf-8").replace(NAME, "os:system"))
    status, listed, _ = command(f"{line} --dry-run")
    assert status == 0 and "damaged" in listed and nothing_ran(place)
    assert command("report out --format md").status == 0 and nothing_ran(place)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("os:system", "standard library"),
        ("subprocess:run", "standard library"),
        ("builtins:eval", "standard library"),
        ("os.path:join", "standard library"),
        ("traced_detector:system", "expected a torch.nn.Module class, a Detector or a function defined in"),
        ("traced_detector:renamed", "expected a torch.nn.Module class"),
        ("traced_detector:borrowed", "expected a torch.nn.Module class"),
        ("traced_detector:number", "expected a torch.nn.Module class"),
        ("traced_detector:__builtins__", "expected a torch.nn.Module class"),
        ("traced_detector:Path", "expected a torch.nn.Module class"),
        ("test.support.os_helper:rmtree", "standard library"),
        ("__hello__:main", "standard library"),
        ("traced_detector:network.__globals__", "expected package.module:object"),
        ("traced_detector:", "expected package.module:object"),
        ("os\0:popen", "expected package.module:object"),
        ("../traced_detector:network", "expected package.module:object"),
        ("leaving:network", "cannot load the detector 'leaving:network': SystemExit"),
        ("traced_detector:leave", "traced_detector:leave failed to build: SystemExit"),
        ("traced_detector:network; touch ran", "expected package.module:object"),
        ("$(touch ran):network", "expected package.module:object"),
        ("no_such_module:network", "cannot load the detector"),
        (":network", "expected package.module:object"),
    ],
)
def test_a_trusted_name_that_is_no_detector_is_one_line(place: Path, name: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        make(name, {}, trusted=[name])
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (place / "run").exists()


@pytest.mark.usefixtures("place")
def test_what_a_name_may_stand_for() -> None:
    for attribute, kind in (("network", ob.Detector), ("Late", nn.Module), ("ready", ob.Detector)):
        name = f"traced_detector:{attribute}"
        assert isinstance(make(name, {}, trusted=[name]), kind)
    first, second = (make("traced_detector:ready", {}, trusted=["traced_detector:ready"]) for _ in range(2))
    assert first is not second


def test_what_a_module_draws_when_it_is_imported_moves_no_weight(place: Path) -> None:
    text = (place / "traced_detector.py").read_text(encoding="utf-8")
    write_text(place / "traced_detector.py", f"{text}\nimport torch\nSTART = torch.randn(3)\n")
    recipe, before = Recipe(detector=NAME, preset="test", size=(32, 32)), torch.get_rng_state()
    first, again = (build(recipe, torch.Generator().manual_seed(1), trusted=[NAME]).state_dict() for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert torch.equal(torch.get_rng_state(), before)


def test_code_in_a_package_is_found_without_running_it(place: Path) -> None:
    package = place / "traced_package" / "inner"
    package.mkdir(parents=True)
    for path in (package / "__init__.py", package.parent / "__init__.py", package / "leaf.py"):
        write_text(path, CODE)
    assert code_of("traced_package.inner.leaf:network")
    assert nothing_ran(place) and "traced_package" not in sys.modules
    with pytest.raises(UserError, match="found no module 'no_such_module'"):
        code_of("no_such_module.inner:network")


class Everything(ob.Detector):
    """A network of all that the detectors here do without."""

    def __init__(self, options: object) -> None:
        super().__init__()
        self.options = options
        self.linear, self.norm, self.table = nn.Linear(3, 5), nn.LayerNorm(5), nn.Embedding(4, 5)
        self.scale = nn.Parameter(torch.randn(7))
        self.register_buffer("noise", torch.randn(3))
        self.register_buffer("steps", torch.arange(4))
        self.register_buffer("spare", torch.zeros(2), persistent=False)
        self.tied = nn.Linear(3, 5)
        self.tied.weight = self.linear.weight

    def forward(self, images: torch.Tensor) -> ob.Prediction:
        maps = images.mean(1) * self.scale.sum()
        return ob.Prediction(torch.stack((-maps, maps), 1))


def test_weights_and_buffers_are_what_the_constructor_makes_whatever_the_default_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry.DETECTORS, "everything", (Everything, NoOptions))
    recipe = Recipe(detector="everything", preset="test", size=(32, 32))
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    # Memory that is handed out without values holds others than those wanted.
    litter = [torch.full((1 << size,), torch.nan) for size in range(4, 12)]
    del litter
    built = build(recipe, generator)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = Everything(NoOptions())
        assert torch.equal(generator.get_state(), torch.get_rng_state())
    tensors = dict(expected.named_parameters()) | dict(expected.named_buffers())
    made = dict(built.named_parameters()) | dict(built.named_buffers())
    assert all(torch.equal(made[name], tensor) and tensor.isfinite().all() for name, tensor in tensors.items())
    assert built.tied.weight is built.linear.weight
    assert built.training
    with torch.device("meta"):
        built = build(recipe)
    assert {part.device.type for part in (*built.parameters(), *built.buffers())} == {"cpu"}
