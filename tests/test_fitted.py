"""Detectors that are fitted: what they see, their scale, their state of any shape, and every command that takes one."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import tomli_w
import torch
from click.testing import CliRunner, Result
from torch import Tensor

import omnial_bench as ob
from omnial_bench.cli.main import cli
from omnial_bench.config.load import read_recipe
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.images import to_float
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.errors import UserError
from omnial_bench.io.whole import write_text
from omnial_bench.models.checkpoint import WEIGHTS, examine, load, read_tensors
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.fitting import fit_detector
from omnial_bench.models.registry import build, describe
from omnial_bench.results import read_rows

CODE = '''
import torch

import omnial_bench as ob

SEEN = []


class Bank(ob.Fitted):
    """The distance to the nearest of the images that it drew: a memory whose size the fit decides."""

    def __init__(self, says=""):
        super().__init__()
        self.says = says
        self.register_buffer("bank", None)

    def fit(self, normals, generator):
        if self.says == "stumbles":
            raise KeyError("no\\nkey")
        if self.says == "stopped":
            raise KeyboardInterrupt
        assert {normals: "a key"} and normals == normals
        first = torch.cat(list(normals))
        assert all(torch.equal(one, other) for one, other in zip(torch.cat(list(normals)), first))
        assert not torch.is_grad_enabled() and not self.training
        SEEN.append(first.clone())
        self.bank = first[torch.rand(len(first), generator=generator) < 0.5]
        self.secret = first.mean()
        if self.says == "late":
            self.register_buffer("late", torch.zeros(3))

    def forward(self, images):
        apart = (images[:, None] - self.bank).square().mean(2).add(1e-6).sqrt()
        if self.says == "secret":
            apart = apart * self.secret
        if self.says == "flat":
            apart = 0 * apart
        if self.says == "score":
            return self.prediction(images, apart.amin(1)[:, ::2, ::2], apart.mean((1, 2, 3)))
        if self.says == "wide":
            return self.prediction(images, apart)
        return self.prediction(images, apart.amin(1))


class Neither(ob.Detector):
    def forward(self, images):
        return ob.Prediction(images[:, :2])
'''
RECORD = """
detector = "banks:Bank"
title = "Bank"
source = "none"
[presets.tiny]
size = [32, 32]
training = { batch = 3 }
"""
PLAN = {
    "name": "banks", "title": "Banks", "dataset": "toy", "categories": ["cap"],
    "detectors": ["bank.toml", "gaussian"], "preset": "tiny", "size": [32, 32], "suites": ["two.toml", "self.toml"],
}  # fmt: skip
SUITES = {
    "two.toml": 'name = "two"\ntitle = "Sets"\nlimit = 3\n[[threats]]\nname = "pgd-8"\neps = "8/255"\nsteps = 2\n',
    "self.toml": (
        'name = "spot"\ntitle = "White-box"\nagainst = "self"\nlimit = 3\n[[threats]]\nname = "spot-any"\n'
        'eps = "8/255"\nsteps = 2\nobjective = "ranking"\n'
    ),
}  # fmt: skip
TRUST = ("--trust", "banks:Bank")
WHERE = ("--data", "data", "--device", "cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_toy(folder, size=32, train=18, test_good=2, test_defect=1)
    return folder


@pytest.fixture(autouse=True)
def place(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with data, the module above and its record, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "banks", raising=False)
    shutil.copytree(drawn, tmp_path / "data")
    write_text(tmp_path / "banks.py", CODE)
    write_text(tmp_path / "bank.toml", RECORD)
    yield tmp_path
    sys.modules.pop("banks", None)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def fit(out: str, *words: str, record: str = "bank.toml", trust: tuple[str, ...] = TRUST) -> Path:
    done = invoke("train", record, "--preset", "tiny", "--out", out, *WHERE, *trust, *words)
    if done.exception is not None:
        raise done.exception
    return Path(out)


def saying(says: str) -> str:
    write_text(Path(f"{says}.toml"), RECORD + f'options = {{ says = "{says}" }}\n')
    return f"{says}.toml"


def state(folder: Path) -> dict[str, Tensor]:
    return read_tensors(folder / WEIGHTS)[0]


def test_it_is_fitted_on_some_normals_and_scaled_on_the_others(place: Path) -> None:
    folder = fit("model", "--category", "cap", "--category", "gear")
    (seen,) = sys.modules["banks"].SEEN
    found = load(folder, trusted=["banks:Bank"])
    recipe = read_recipe("bank.toml", "tiny")
    data = find_dataset(place / "data", ["cap", "gear"])
    images = to_float(data.load("train", None, recipe.size).images)
    # A tenth of 36 would be four: a scale takes eight.
    held_out = torch.stack([image for image in images if not (image == seen).flatten(1).all(1).any()])
    assert len(seen) == 28 and len(held_out) == 8 and seen.min() >= 0 and 0.5 < seen.max() <= 1
    with torch.no_grad():
        odds = found.detector(held_out).log_odds.flatten()
    assert float(odds.quantile(0.5)) == pytest.approx(-4, abs=1e-3)
    assert float(odds.quantile(0.995)) == pytest.approx(0, abs=1e-3)
    assert found.provenance.iterations == 0 and found.provenance.categories == ("cap", "gear")
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.safetensors", "log.csv", "recipe.toml"]
    log = pd.read_csv(folder / "log.csv").iloc[0]
    assert (log["iteration"], log["normals"], log["held_out"]) == (0, 28, 8) and pd.isna(log["loss"])
    assert log["threshold"] == pytest.approx(float(found.detector.odds_threshold[0]))


def test_the_seed_alone_decides_it_and_a_finished_one_is_not_done_again() -> None:
    """Not the number of devices, of which it takes one."""
    first, again, other = (
        fit(name, "--category", "cap", "--seed", seed, "--devices", devices)
        for name, seed, devices in (("a", "1", "1"), ("b", "1", "3"), ("c", "2", "1"))
    )
    count = len(sys.modules["banks"].SEEN)
    fit("a", "--category", "cap", "--seed", "1")
    assert len(sys.modules["banks"].SEEN) == count
    assert state(first)["bank"].shape != (0,) and len(state(first)["bank"]) not in (0, 10)
    assert all(torch.equal(tensor, state(again)[name]) for name, tensor in state(first).items())
    assert not torch.equal(state(first)["odds_threshold"], state(other)["odds_threshold"])


def test_an_image_score_has_a_scale_of_its_own_and_a_small_map_is_resized() -> None:
    folder = fit("model", "--category", "cap", record=saying("score"))
    detector = ob.load_detector(folder, trusted=["banks:Bank"])
    images = torch.rand(2, 3, 32, 32)
    said = detector(images)
    assert said.logits.shape == (2, 2, 32, 32) and said.score is not None and said.score.shape == (2,)
    thresholds, temperatures = state(folder)["odds_threshold"], state(folder)["odds_temperature"]
    assert thresholds[0] != thresholds[1] and temperatures[0] != temperatures[1]
    raw = (images[:, None] - state(folder)["bank"]).square().mean(2).add(1e-6).sqrt().mean((1, 2, 3))
    torch.testing.assert_close(said.score, (raw - thresholds[1]) / temperatures[1])


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("stumbles", "Bank failed to fit: KeyError: 'no\\nkey'"),
        ("secret", "Bank does not come back the same from its parameters and buffers; register all that fit learns"),
        ("late", "from its parameters and buffers (late); register"),
        ("flat", "expected anomaly maps that differ among normal images"),
        ("wide", "expected an anomaly map of floats, (1, h, w) or (1, 1, h, w)"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_no_model(place: Path, says: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        fit("model", "--category", "cap", record=saying(says))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (place / "model/recipe.toml").exists()


def test_too_few_normals_and_a_detector_that_learns_nothing_are_one_line(place: Path) -> None:
    for image in sorted((place / "data/cap/train/good").glob("*.png"))[:3]:
        image.unlink()
    with pytest.raises(UserError, match="at least 16 normal training images, half to fit on and half to take the scal"):
        fit("model", "--category", "cap")
    write_text(place / "neither.toml", RECORD.replace("Bank", "Neither"))
    with pytest.raises(UserError, match=r"Neither learns nothing here; derive it from omnial_bench\.GradientTrained"):
        fit("model", record="neither.toml", trust=("--trust", "banks:Neither"))


def test_an_interrupted_fit_starts_afresh(place: Path) -> None:
    stopped = saying("stopped")
    assert invoke("train", stopped, "--preset", "tiny", "--out", "model", *WHERE, *TRUST).exit_code != 0
    assert not (place / "model").exists() or not list((place / "model").iterdir())
    fit("model")


def test_a_plan_takes_it_with_all_its_commands(place: Path) -> None:
    """Unified and separate, beside one that ships: sets built on it, scores, attacks in place, and the report."""
    for name, text in {**SUITES, "plan.toml": tomli_w.dumps(PLAN)}.items():
        write_text(place / name, text)
    words = ("run", "plan.toml", "--out", "out", *WHERE)
    looked = invoke(*words, "--dry-run")
    assert looked.exit_code == 0 and "banks" not in sys.modules, looked.exception
    done = invoke(*words, *TRUST)
    assert done.exit_code == 0, done.exception
    again = invoke(*words, "--dry-run")
    assert again.exit_code == 0 and ", 0 due" in again.output
    rows = read_rows(place / "out")
    at_threshold = rows[rows["metric"] == "image_missed"]
    assert len(at_threshold) and at_threshold["value"].between(0, 1).all() and at_threshold["low"].notna().all()
    rows = rows[(rows["category"] == "mean") & (rows["metric"] == "pixel_auroc")]
    for (detector, paradigm), part in rows.groupby(["detector", "paradigm"]):
        values = part.set_index("set")["value"]
        assert values["spot-any"] < values["spot-unattacked"], (detector, paradigm)
        assert {"clean", "pgd-8"} <= set(values.index)
    assert len(rows.groupby(["detector", "paradigm"])) == 4
    reported = invoke("report", "out", "--format", "md")
    assert reported.exit_code == 0, reported.exception
    text = (place / "out/report.md").read_text(encoding="utf-8")
    assert "| Bank unified |" in text and "At a threshold set for " in text
    assert "Gaussian of fixed filters unified" in text and "Training settings" in text
    assert "Training: sum of the loss terms" not in text


def test_a_class_alone_is_fitted_where_it_is_benchmarked(place: Path) -> None:
    from_class = invoke(
        "score", "--detector", "banks:Bank", "--category", "cap", "--size", "32x32", "--out", "a", *WHERE
    )
    assert from_class.exit_code == 0, from_class.exception
    bank = sys.modules["banks"].Bank
    detector = ob.adapt_module(bank, place / "data", categories=["cap"], size=(32, 32))
    assert isinstance(detector, Fitted) and detector.is_scaled
    # One that is fitted already is taken as it is.
    seen = len(sys.modules["banks"].SEEN)
    assert ob.adapt_module(lambda: detector, place / "data", categories=["cap"], size=(32, 32)) is detector
    assert len(sys.modules["banks"].SEEN) == seen


def test_the_one_that_ships_comes_back_without_being_built(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fit("model", record="gaussian", trust=())
    assert describe(read_recipe("gaussian", "tiny"))["parameters"] is None
    assert examine(folder).recipe.detector == "gaussian"
    recipe = read_recipe("gaussian", "tiny")
    generator = torch.Generator().manual_seed(0)
    detector = build(recipe, generator)
    assert isinstance(detector, Fitted) and not detector.is_scaled
    images = find_dataset(place / "data", None).load("train", None, recipe.size).images
    fit_detector(detector, recipe, images, generator, device=torch.device("cpu"))
    monkeypatch.setattr("omnial_bench.models.checkpoint.build", lambda *_, **__: pytest.fail("built"))
    opened, shown = load(folder).detector, to_float(images[:2])
    with torch.no_grad():
        assert torch.equal(opened(shown).logits, detector(shown).logits)
