"""Exported models: what they say, what they refuse, and which attacks they can be put to."""

import sys
from pathlib import Path

import pytest
import tiny_onnx
import torch
from torch import nn

import omnial_bench as ob
from omnial_bench.config.load import read_suite
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.evaluation.suited import check_suited, takes_gradient
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.models.outside.gradients import ForwardOnly
from omnial_bench.pipeline.own_detector import weights_of
from omnial_bench.pipeline.request import Request
from omnial_bench.pipeline.score_models import assess

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path / "cache"))


def test_which_suites_take_no_gradient() -> None:
    assert not takes_gradient(read_suite("queries")) and not takes_gradient(read_suite("corruptions"))
    quick = read_suite("quick")
    assert takes_gradient(quick) == [threat.name for threat in quick.threats if threat.attack == "pgd"] != []
    detector = Adapted(ForwardOnly(nn.Identity()))
    check_suited(detector, read_suite("queries"), "mine")
    with pytest.raises(ob.UserError, match=r"mine is .* no gradient, which quick-any, .* of suite quick take; try"):
        check_suited(detector, read_suite("quick"), "mine")


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ob.UserError, match=r"pip install omnial-bench\[onnx\]"):
        ob.from_onnx(tiny_onnx.bright(tmp_path / "m.onnx"))


class TestWithRuntime:
    @pytest.fixture(autouse=True)
    def needs(self) -> None:
        pytest.importorskip("onnxruntime")

    @pytest.mark.parametrize("sides", [("b", 3, "h", "w"), (1, 3, 32, 32), (2, 3, 32, 32), ("b", 3, 32, 32)])
    def test_map_and_score_by_hand(self, tmp_path: Path, sides: tiny_onnx.Sides) -> None:
        module = ob.from_onnx(tiny_onnx.bright(tmp_path / "m.onnx", sides))
        maps, score = module(IMAGES)
        torch.testing.assert_close(maps, IMAGES.mean(1, keepdim=True))
        torch.testing.assert_close(score, IMAGES.mean(1).amax((1, 2)))

    def test_normalised_images_and_named_outputs(self, tmp_path: Path) -> None:
        path = tiny_onnx.bright(tmp_path / "m.onnx")
        module = ob.from_onnx(path, maps="anomaly_map", score="pred_score", mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1))
        torch.testing.assert_close(module(IMAGES)[0], 10 * IMAGES.mean(1, keepdim=True) - 5, atol=1e-5, rtol=1e-5)

    def test_two_files_are_told_apart(self, tmp_path: Path) -> None:
        one, other = (
            ob.from_onnx(tiny_onnx.bright(tmp_path / f"{labels}.onnx", labels=labels)) for labels in (True, False)
        )
        assert weights_of(one) != weights_of(other)

    @pytest.mark.parametrize(
        ("sides", "kind", "line"),
        [
            (("b", 32, 32, 3), tiny_onnx.FLOAT, "expected images with the 3 channels first"),
            (("b", 1, 32, 32), tiny_onnx.FLOAT, "expected images with the 3 channels first"),
            ((3, 32, 32), tiny_onnx.FLOAT, r"expected one float32 input of shape \(b, 3, h, w\)"),
            (("b", 3, "h", "w"), tiny_onnx.INT64, r"one float32 input .*, got images tensor\(int64\) bx3xhxw"),
        ],
    )
    def test_inputs_that_will_not_do(self, tmp_path: Path, sides: tiny_onnx.Sides, kind: int, line: str) -> None:
        inputs, outputs = ([tiny_onnx.value_info(name, kind, sides)] for name in ("images", "out"))
        path = tiny_onnx.write(tmp_path / "m.onnx", [tiny_onnx.node("Identity", ["images"], "out")], inputs, outputs)
        with pytest.raises(ob.UserError, match=line):
            ob.from_onnx(path)

    def test_two_inputs_and_other_files(self, tmp_path: Path) -> None:
        sides = ("b", 3, "h", "w")
        values = [tiny_onnx.value_info(name, tiny_onnx.FLOAT, sides) for name in ("images", "more", "out")]
        added = tiny_onnx.node("Add", ["images", "more"], "out")
        path = tiny_onnx.write(tmp_path / "two.onnx", [added], values[:2], values[2:])
        with pytest.raises(ob.UserError, match="expected one float32 input"):
            ob.from_onnx(path)
        (tmp_path / "text.onnx").write_text("no model")
        with pytest.raises(ob.UserError, match="is no ONNX model that can be run") as caught:
            ob.from_onnx(tmp_path / "text.onnx")
        assert "\n" not in str(caught.value)
        with pytest.raises(ob.UserError, match="no ONNX model at"):
            ob.from_onnx(tmp_path / "none.onnx")

    def test_outputs_and_sizes_that_will_not_do(self, tmp_path: Path) -> None:
        path = tiny_onnx.bright(tmp_path / "m.onnx", ("b", 3, 32, 32))
        with pytest.raises(ob.UserError, match="has no float output 'pred_label'; it has pred_score"):
            ob.from_onnx(path, score="pred_label")
        with pytest.raises(ob.UserError, match="takes images of 32x32, got 16x32"):
            ob.from_onnx(path)(IMAGES[:, :, ::2])
        with pytest.raises(ob.UserError, match="expected three numbers for std, above 0"):
            ob.from_onnx(path, std=(1, 1, 0))
        sides = ("b", 3, "h", "w")
        values = [tiny_onnx.value_info(name, tiny_onnx.FLOAT, sides) for name in ("images", "one", "other")]
        nodes = [tiny_onnx.node("Identity", ["images"], name) for name in ("one", "other")]
        path = tiny_onnx.write(tmp_path / "both.onnx", nodes, values[:1], values[1:])
        with pytest.raises(ob.UserError, match=r"expected one output of .*; name it with maps="):
            ob.from_onnx(path)

    @pytest.mark.filterwarnings("ignore:.*has learnt")
    def test_it_is_scored_and_attacked_by_forward_passes_alone(self, tmp_path: Path) -> None:
        draw_toy(tmp_path / "data", size=32, train=16, test_good=2, test_defect=1)
        path = tiny_onnx.bright(tmp_path / "m.onnx")
        (tmp_path / "squares.toml").write_text(
            'name = "squares"\ntitle = "t"\nagainst = "self"\nlimit = 4\n'
            '[[threats]]\nname = "square"\neps = "8/255"\nattack = "square"\nsteps = 30\n'
            '[[threats]]\nname = "noise"\neps = "8/255"\nattack = "noise"\nsteps = 1\n',
            encoding="utf-8",
        )
        given = {"categories": ["cap"], "size": (32, 32), "device": "cpu"}
        rows = ob.benchmark(ob.from_onnx(path), tmp_path / "data", str(tmp_path / "squares.toml"), **given)
        assert rows.attempts["flat"].isna().all() and set(rows["set"]) >= {"clean", "square", "noise"}
        losses = [float(one) for one in rows.attempts["losses"].iloc[0].split()]
        assert losses[-1] > losses[0]
        with pytest.raises(ob.UserError, match="has no gradient, which quick-any"):
            ob.benchmark(ob.from_onnx(path), tmp_path / "data", "quick", **given)

    def test_on_the_command_line_it_sees_what_another_model_makes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        draw_toy(tmp_path / "data", size=32, train=16, test_good=2, test_defect=1)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        Path("bright.py").write_text(
            "from omnial_bench import from_onnx\nfrom learning import Bright\n\n\n"
            "def torch_one():\n    return Bright()\n\n\ndef exported():\n    return from_onnx('m.onnx')\n"
        )
        tiny_onnx.bright(Path("m.onnx"))
        request = Request(
            data=Path("data"), out=Path("out"), detectors=("bright:exported", "bright:torch_one"), categories=("cap",),
            size=(32, 32), limit=3, suites=("transfer",), device="cpu",
        )  # fmt: skip
        rows = assess(request)
        assert "exported-unified has no gradient: in transfer it sees what others make" in caplog.text
        shown = rows[(rows["source"] == "torch-one-unified") & (rows["detector"] == "exported")]
        own = rows[(rows["source"] == "self") & (rows["detector"] == "torch-one")]
        assert len(shown) and set(shown["set"]) == set(own["set"]) - {"transfer-unattacked"}
        assert "exported-unified" not in set(rows["source"])
        sys.modules.pop("bright", None)
