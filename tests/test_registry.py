"""Detectors by name, from records, and from outside; what a network costs."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from omnial_bench.config import load as reading
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError
from omnial_bench.models import registry
from omnial_bench.models.outside.foreign import make
from omnial_bench.models.registry import DETECTORS, build, describe
from omnial_bench.trust import code_of
from omnial_bench.types import GradientTrained

OUTSIDE = """
from torch import nn
from omnial_bench.models.draem import DRAEM, Options

def make(width=4):
    return DRAEM(Options(width=width, loc_width=4))

def plain():
    return nn.Conv2d(3, 1, 1)
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "outside_detectors.py").write_text(OUTSIDE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside_detectors", raising=False)
    return "outside_detectors"


def recipe(detector: str, size: tuple[int, int] = (64, 64), **options: Any) -> Recipe:
    return Recipe(detector=detector, preset="test", size=size, options=options)


TRAINED = [name for name, (kind, _) in DETECTORS.items() if issubclass(kind, GradientTrained)]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("preset", ["paper", "small", "tiny"])
def test_every_record_is_valid_and_described(name: str, preset: str) -> None:
    figures = describe(reading.read_recipe(name, preset))
    parts = figures["parameters"]
    if name == "gaussian":
        assert parts is None
    else:
        assert parts["total"] == sum(count for part, count in parts.items() if part != "total")
    if name not in TRAINED:
        assert figures["flops"] is None
        return
    limits = {"paper": 500e9, "small": 4e9, "tiny": 0.5e9}
    assert 0 < figures["flops"] <= limits[preset]


def test_flops_are_twice_the_multiply_adds() -> None:
    with torch.device("meta"):
        assert registry._flops(nn.Conv2d(3, 5, 3, padding=1), (8, 4)) == 2 * (3 * 5 * 9) * 32


@pytest.mark.parametrize("name", TRAINED)
def test_build_is_decided_by_the_generator(name: str) -> None:
    before = torch.get_rng_state()

    def weights(seed: int) -> dict[str, torch.Tensor]:
        detector = build(recipe(name, width=4, loc_width=4), torch.Generator().manual_seed(seed))
        assert detector.training
        return detector.state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(value.isfinite().all() and torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())
    assert torch.equal(torch.get_rng_state(), before)


HASH = """
import hashlib
from omnial_bench.models.registry import DETECTORS, build
from omnial_bench.config.load import read_recipe
states = [build(read_recipe(name, "tiny")).state_dict() for name in DETECTORS]
print(hashlib.sha256(b"".join(tensor.numpy().tobytes() for state in states for tensor in state.values())).hexdigest())
"""


def test_weights_are_the_same_whatever_the_processor() -> None:
    """Drawn by kernels without AVX, in another process, and by this one's."""
    other = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    drawn = subprocess.run([sys.executable, "-c", HASH], env=other, capture_output=True, text=True, check=True)
    states = [build(reading.read_recipe(name, "tiny")).state_dict() for name in DETECTORS]
    numbers = b"".join(tensor.numpy().tobytes() for state in states for tensor in state.values())
    assert drawn.stdout.strip() == hashlib.sha256(numbers).hexdigest()


def test_bad_recipes_are_one_line() -> None:
    cases = [
        (recipe("omnal"), "unknown detector 'omnal'; did you mean 'omnial'?"),
        (recipe("draem", wdth=3), "options of draem: unknown key 'wdth'; did you mean 'width'?"),
        (recipe("draem", size=(64, 72), width=4), "got 64x72"),
        (recipe("omnial", size=(64, 66), width=4), "got 64x66"),
        (recipe("padim", size=(40, 48)), "that 16 divides, got 40x48"),
    ]
    for bad, words in cases:
        with pytest.raises(UserError) as caught:
            build(bad)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_factory_from_outside_is_called_with_the_options(outside: str) -> None:
    before = torch.get_rng_state()
    name = f"{outside}:make"
    made = [build(recipe(name, width=8), torch.Generator().manual_seed(s), trusted=[name]) for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (part.reconstruction.out.weight for part in made)
    assert first.shape[1] == 8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert isinstance(make(f"{outside}:plain", {}, trusted=[f"{outside}:plain"]), nn.Conv2d)


def test_the_code_of_a_detector_is_the_whole_package_or_the_file_of_a_module(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("alone", "whole", "whole.deep", "whole.deep.made", "whole.other"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "whole/deep").mkdir(parents=True)
    for file in ("alone.py", "beside.py", "whole/__init__.py", "whole/deep/__init__.py", "whole/deep/made.py"):
        (tmp_path / file).write_text("make = None\n", encoding="utf-8")
    (tmp_path / "whole/other.py").write_text("", encoding="utf-8")
    alone, whole = code_of("alone:make"), code_of("whole.deep.made:make")
    assert (code_of("alone:make"), code_of("whole.deep.made:make")) == (alone, whole)
    (tmp_path / "whole/other.py").write_text("layers = 3\n", encoding="utf-8")
    (tmp_path / "beside.py").write_text("layers = 3\n", encoding="utf-8")
    assert code_of("alone:make") == alone and code_of("whole.deep.made:make") != whole
    (tmp_path / "alone.py").write_text("make = 0\n", encoding="utf-8")
    assert code_of("alone:make") != alone
