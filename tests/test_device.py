"""Devices and precision by name."""

import subprocess
import sys

import pytest
import torch

from omnial_bench.errors import UserError
from omnial_bench.runtime import OneDevice, attack_dtype, fabric


@pytest.mark.parametrize("name", ["gpu", "cpu:x", "cuda:99", "tpu"])
def test_an_unknown_device_is_named(name: str) -> None:
    with pytest.raises(UserError, match=name):
        fabric(name, "32-true")


def test_one_device_in_float32_is_the_one_that_fabric_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("auto", "cpu"):
        alone = fabric(name, "32-true")
        assert isinstance(alone, OneDevice) and alone.device == fabric(name, "bf16-mixed").device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = [str(fabric(name, "32-true").device) for name in ("auto", "cuda", "cuda:1")]
    assert devices == ["cuda:0", "cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [str(fabric(name, "32-true").device) for name in ("auto", "mps")] == ["mps:0", "mps:0"]


def test_a_fabric_is_quiet_in_a_process_that_makes_its_first() -> None:
    """What it tells would stand between the bars."""
    code = "from omnial_bench.runtime import fabric; fabric('cpu', 'bf16-mixed')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_attacks_never_compute_in_float16() -> None:
    found = [attack_dtype(precision) for precision in ("32-true", "bf16-mixed", "16-mixed")]
    assert found == [None, torch.bfloat16, torch.bfloat16]
