"""Detectors from elsewhere on the command line: named, with options, one a category, as sources, and kept on disk."""

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from conftest import Command, Said

import omnial_bench as ob
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.pipeline.own_detector import Wanted, option_of
from omnial_bench.results import read_rows

CODE = '''
import torch
from torch import nn
from torch.nn import functional as F

import omnial_bench as ob
from omnial_bench.types import Synthetic

BUILT = []


class Mean(nn.Module):
    """The distance from the normals' mean, which is kept in a buffer, at `side` pixels."""

    def __init__(self, normals, side: int = 32, category: str = ""):
        super().__init__()
        BUILT.append((len(normals), side, category))
        self.register_buffer("mean", F.interpolate(normals.mean(0, keepdim=True), size=(side, side)))
        self.weigh = nn.Conv2d(3, 1, 1, bias=False)

    def forward(self, images):
        mean = F.interpolate(self.mean, size=images.shape[-2:], mode="nearest")
        return (images - mean).square().sum(1) + 0 * self.weigh(images)[:, 0]


class Bank(nn.Module):
    """A memory of as many images as it was given: a buffer whose shape the fit decides."""

    def __init__(self, normals):
        super().__init__()
        self.register_buffer("bank", normals[::2])

    def forward(self, images):
        return (images[:, None] - self.bank).square().sum(2).amin(1)


class Secret(nn.Module):
    """What it was fitted to is no buffer."""

    def __init__(self, normals):
        super().__init__()
        self.mean = normals.mean(0)

    def forward(self, images):
        return (images - self.mean).square().sum(1)


class Made(ob.GradientTrained):
    """A Detector, whose methods do as their options say."""

    def __init__(self, says: str = ""):
        super().__init__()
        self.net, self.says = nn.Conv2d(3, 2, 3, padding=1), says

    def forward(self, images):
        logits = self.net(images)
        if self.says == "tensor":
            return logits
        if self.says == "stumbles":
            raise KeyError("no\\nkey")
        if self.says == "alone" and len(images) > 1:
            raise ValueError("no batch")
        return ob.Prediction(logits[..., ::2, ::2] if self.says == "half" else logits)

    def synthesize(self, images, textures, generator):
        if self.says == "no batch":
            return images
        if self.says == "no image":
            raise IndexError("no image")
        labels = torch.zeros(len(images), *images.shape[-2:], dtype=torch.long)
        labels[:, 8:16, 8:16] = 1
        return Synthetic(torch.where(labels[:, None] == 1, textures, images), images, labels)

    def loss(self, batch):
        if self.says == "no loss":
            raise KeyError("no loss")
        given = self.net(batch.images)
        wrong = {"no names": given.mean(), "no terms": {}, "no scalar": {"mean": given}}
        wrong["no slope"] = {"mean": torch.zeros(())}
        return wrong.get(self.says, {"entropy": F.cross_entropy(given, batch.labels)})


class Wants(Mean):
    def __init__(self, normals, backbone, *, layers, size=(8, 8), **rest):
        super().__init__(normals)


class Level(Mean):
    """Whatever it is shown, one score: its map goes from 0 to 1."""

    def forward(self, images):
        found = super().forward(images)
        return found / found.amax((1, 2), keepdim=True)


class Exit(Mean):
    def forward(self, images):
        raise SystemExit(0)


class Odd(BaseException):
    pass


def odd():
    raise Odd("an\\nodd one")
'''
SIZE = "--size 32x32 --device cpu"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    draw_toy(root / "data", size=32, train=20, test_good=3, test_defect=1)
    return root


@pytest.fixture
def command(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Iterator[Command]:
    """Runs a line of the command in a folder with data and the module above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(drawn / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "data").symlink_to(drawn / "data")
    (tmp_path / "means.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "odd.py").write_text("class Odd(BaseException): ...\nraise Odd('at import')", encoding="utf-8")
    yield command
    sys.modules.pop("means", None)


def check(said: Said) -> None:
    assert said.status == 0, said.err


def refused(said: Said) -> str:
    """The one line of a refusal, after what may be said on the way."""
    assert said.status == 2, said.err
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == said.err.splitlines()[-1:]
    return said.err


def test_names_options_and_a_network_for_each_category(command: Command) -> None:
    line = "score --detector near=means:Mean --option side=16 --paradigm separate --category cap --category weave"
    check(command(f"{line} --data data --white-box quick --limit 4 --out out {SIZE}"))
    rows = read_rows(Path("out"))
    assert set(zip(rows["detector"], rows["paradigm"], strict=True)) == {("near", "separate")}
    assert set(rows["category"]) == {"cap", "weave", "mean"}
    assert all(len(weights) == 12 for weights in rows["weights"])
    assert rows[rows["category"] != "mean"].groupby("category")["weights"].nunique().tolist() == [1, 1]
    built = sys.modules["means"].BUILT
    assert {(10, 16, "cap"), (10, 16, "weave")} == set(built)


def test_two_detectors_attack_each_other(command: Command) -> None:
    line = "score --detector a=means:Mean --detector b=means:Bank --category cap --data data --white-box transfer"
    check(command(f"{line} --limit 4 --out out {SIZE}"))
    rows = read_rows(Path("out"))
    attacked = rows[(rows["set"] != "clean") & (rows["source"] != "none")]
    pairs = set(zip(attacked["source"], attacked["detector"], strict=True))
    assert pairs == {("self", "a"), ("self", "b"), ("a-unified", "b"), ("b-unified", "a")}
    check(command("report out --format md"))
    assert "transfer" in Path("out/report.md").read_text(encoding="utf-8").lower()


def test_sets_are_built_on_them_and_scored(command: Command) -> None:
    line = "attack paper --detector a=means:Mean --detector b=means:Bank --category cap --data data --limit 5"
    check(command(f"{line} --out sets {SIZE}"))
    (one, *_) = sorted(Path("sets").iterdir())
    check(command(f"score --detector b=means:Bank --category cap --data data --set {one} --out out {SIZE}"))
    rows = read_rows(Path("out"))
    assert set(rows[rows["set"] == one.name]["source"]) <= {"a-unified+b-unified", "none"}
    said = refused(command(f"attack paper --detector a=means:Mean --paradigm separate --data data --out other {SIZE}"))
    assert "expected one category for separate detectors" in said
    assert "expected a source or a detector" in refused(command("attack paper --data data --out other"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--detector a b=means:Mean", "no checkpoint at b=means:Mean"),
        ("--detector =means:Mean", "expected a name of letters"),
        ("--detector a/b=means:Mean", "expected a name of letters"),
        ("--detector means:Mean --detector mean=means:Bank", "the same rows twice"),
        ("--detector means:Mean --option side", "expected an option such as depth=3"),
        ("--detector means:Mean --option side=3 --option side=4", "expected each --option once, got side twice"),
        ("--detector means:Mean --option depth=3", "unexpected keyword argument 'depth'"),
        ("--detector means:Mean --option side=wide", "means:Mean failed to build"),
        ("--detector means:Nothing", "cannot load the detector 'means:Nothing'"),
        ("--detector means:Mean --held-out nowhere", "no folder of held_out images"),
        ("--detector means:Exit", "Exit failed on 8 float32 images of 32x32 in [0, 1]: SystemExit: 0"),
        ("--detector means:Wants", "Wants asks for backbone, layers, which are not known; give --option backbone="),
        ("--detector means.py:Mean", "expected package.module:object, as it is imported"),
        ("means:Mean", "or a module of your own with --detector"),
        ("--detector means:odd", "means:odd failed to build: Odd: an odd one"),
        ("--detector means:Made --option says=tensor", "expected a Prediction from Made, for it is a Detector, got"),
        ("--detector means:Made --option says=half", "expected a Prediction with logits of shape (1, k, 32, 32)"),
        ("--detector means:Made --option says=stumbles", "Made failed on 1 float32 image of 32x32 in [0, 1]: KeyError"),
        ("--detector odd:Mean", "cannot load the detector 'odd:Mean': Odd: at import"),
    ],
)
def test_mistakes_are_one_line(command: Command, words: str, line: str) -> None:
    assert line in refused(command(f"score {words} --category cap --data data --out out {SIZE}"))
    assert not Path("out/results.csv").exists()


def test_checks_that_fail_and_rows_that_are_replaced_are_told(command: Command, caplog) -> None:
    line = f"score --detector means:Level --category cap --data data --white-box quick --limit 4 --out out {SIZE}"
    check(command(line))
    first = caplog.messages
    caplog.clear()
    check(command(line))
    checks = (
        "level unified fails checks (loss rises, no zero gradients), which puts figures in doubt: "
        f"{Path('out/health.csv')} says which and why"
    )
    made = f"{Path('out/results.csv')}: rows of detectors from elsewhere are made anew, in place of those there"
    assert checks in first and made not in first
    assert checks in caplog.messages and made in caplog.messages


def test_an_interrupt_says_that_detectors_from_elsewhere_begin_anew(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnial_bench.pipeline.score_models.assess", Mock(side_effect=KeyboardInterrupt))
    said = command(f"score --detector means:Mean --category cap --data data --out out {SIZE}")
    line = "interrupted; what is done stays, the same command scores detectors from elsewhere from the beginning\n"
    assert said == Said(130, "", line)


@pytest.mark.parametrize("size", ["\uff13\uff12x32", "100000x100000", "0x32", "32x32x3"])
def test_a_size_is_two_numbers_of_digits(command: Command, size: str) -> None:
    said = refused(command(f"score --detector means:Mean --category cap --data data --out out --size {size}"))
    assert "expected height x width such as 256x320" in said


RECORD = """
detector = "means:Made"
title = "Made"
source = "nowhere"
[presets.tiny]
size = [32, 32]
training = {{ max_iterations = 3, batch = 4, lr = 1e-3 }}
options = {{ says = "{says}" }}
"""
PLAN = """
name = "made"
title = "Made"
dataset = "toy"
categories = ["cap"]
detectors = ["made.toml"]
preset = "tiny"
suites = ["paper", "transfer"]
sources = ["made-separate-cap"]
limit = 4
test_limit = 4
"""
FAILURES = {
    "tensor": "expected a Prediction from Made, for it is a Detector, got a tensor of shape (1, 2, 32, 32)",
    "alone": "Made failed to localise anomalies: ValueError: no batch",
    "no batch": "expected a Synthetic of omnial_bench.types from Made.synthesize, got Tensor",
    "no image": "Made failed to synthesize: IndexError: no image",
    "no loss": "Made failed to give its loss: KeyError: 'no loss'",
    "no names": "expected named scalar tensors from Made.loss, got Tensor",
    "no terms": "expected named scalar tensors from Made.loss, got none",
    "no scalar": "expected named scalar tensors from Made.loss, got something else for 'mean'",
    "no slope": "Made failed to give its loss: RuntimeError: element 0 of tensors does not require grad",
}


@pytest.mark.parametrize("says", ["", *FAILURES])
def test_a_detector_in_a_plan_is_source_and_target_or_one_line(command: Command, says: str) -> None:
    Path("made.toml").write_text(RECORD.format(says=says), encoding="utf-8")
    Path("plan.toml").write_text(PLAN, encoding="utf-8")
    said = command("run plan.toml --trust means:Made --data data --out out --device cpu")
    if says:
        assert FAILURES[says] in refused(said)
        return
    check(said)
    rows = read_rows(Path("out"))
    pairs = set(zip(rows["source"], rows["paradigm"], rows["set"], strict=True))
    assert {("made-separate-cap", "unified", "pgd-8"), ("made-unified", "separate", "transfer-mi")} <= pairs


def test_a_plan_trains_detectors_of_records_alone(command: Command) -> None:
    Path("made.toml").write_text(RECORD.format(says="").replace("Made", "Mean"), encoding="utf-8")
    Path("plan.toml").write_text(PLAN, encoding="utf-8")
    line = "run plan.toml --trust means:Mean --trust means:Made --data data --out out --device cpu"
    assert "means:Mean: expected a Detector of omnial_bench.types, got another module" in refused(command(line))
    Path("plan.toml").write_text(PLAN.replace("made.toml", "means:Made"), encoding="utf-8")
    assert "expected a detector's record, got the code 'means:Made'; write a TOML file" in refused(command(line))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "--size 32x32 --category weave --detector kept=means:Mean",
            "expected models of different names in suite transfer",
        ),
        (
            "--size 48x48 --category cap --detector a=means:Bank",
            "got kept-unified 32x32, a-unified 48x48; give a detector the size",
        ),
        ("--option side=3", "expected --option with a --detector, got checkpoints alone"),
        ("--paradigm separate", "expected --paradigm with a --detector"),
        ("--held-out data/cap", "expected --held-out with a --detector"),
    ],
)
def test_models_that_cannot_meet_are_one_line_before_any_work(command: Command, words: str, line: str) -> None:
    detector = ob.adapt_module("means:Mean", "data", categories=["cap"], size=(32, 32), options={"side": 16})
    ob.save_adapted(
        "kept", detector, "means:Mean", "data", categories=["cap"], size=(32, 32), options={"side": 16}, name="kept"
    )
    shown = f"score kept --trust means:Mean {words} --data data --device cpu --limit 4 --out out"
    assert line in refused(command(f"{shown} --white-box transfer"))
    assert not Path("out").exists()
    if "--detector" not in words:
        built = f"attack paper --source kept --trust means:Mean {words} --data data --device cpu --out sets"
        assert line in refused(command(built)) and not Path("sets").exists()


def test_words_of_the_command() -> None:
    assert Wanted.named("my.pack:Some_Net") == Wanted("some-net", "my.pack:Some_Net")
    assert Wanted.named("net=my.pack:Some_Net") == Wanted("net", "my.pack:Some_Net")
    assert [option_of(text) for text in ("k=3", "k=0.5", "k=true", "k=[1, 2]", "k=a=b", "k=x y")] == [
        ("k", 3), ("k", 0.5), ("k", True), ("k", [1, 2]), ("k", "a=b"), ("k", "x y"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["k=1\nother=2", "k=\x1b[31mred", "k=a\u2028b", "k\n=1"])
def test_an_option_is_one_line(text: str) -> None:
    with pytest.raises(ob.UserError, match="expected an option such as depth=3") as caught:
        option_of(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["Mean", "Bank"])
def test_kept_on_disk_it_comes_back_the_same(command: Command, tmp_path: Path, name: str) -> None:
    factory = f"means:{name}"
    detector = ob.adapt_module(factory, "data", categories=["cap"], size=(32, 32))
    ob.save_adapted("kept", detector, factory, "data", categories=["cap"], size=(32, 32), name="mine")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with pytest.raises(ob.UserError, match=f"asks to run the code {factory}; .* add --trust"):
        ob.load_detector("kept")
    again = ob.load_detector("kept", trusted=[factory])
    assert isinstance(again, Adapted) and torch.equal(again.threshold, detector.threshold)  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(again(images).log_odds, detector(images).log_odds)
    assert "add --trust" in refused(command("score kept --data data --out out --device cpu"))
    check(command(f"score kept --trust {factory} --data data --out out --device cpu"))
    check(command(f"score --detector mine={factory} --category cap --data data --out own {SIZE}"))
    columns = ["category", "metric"]
    values = [read_rows(tmp_path / where).set_index(columns)["value"] for where in ("out", "own")]
    pd.testing.assert_series_equal(*values)
    with pytest.raises(ob.UserError, match="kept holds a checkpoint, which would be lost"):
        ob.save_adapted("kept", detector, factory, "data", size=(32, 32))


def test_what_does_not_come_back_is_not_kept(command: Command) -> None:  # noqa: ARG001
    detector = ob.adapt_module("means:Secret", "data", categories=["cap"], size=(32, 32))
    with pytest.raises(ob.UserError, match="Secret does not come back the same from its parameters and buffers"):
        ob.save_adapted("kept", detector, "means:Secret", "data", categories=["cap"], size=(32, 32))
    assert not list(Path("kept").iterdir())
    with pytest.raises(ob.UserError, match="expected options that TOML can hold"):
        ob.save_adapted("kept", detector, "means:Mean", "data", size=(32, 32), options={"side": object()})
    with pytest.raises(ob.UserError, match=r"expected package\.module:object"):
        ob.save_adapted("kept", detector, "Mean", "data", size=(32, 32))
