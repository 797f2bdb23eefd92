"""Device and precision by their names, several devices or less than float32 through lightning-fabric."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.types import Detector

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class OneDevice:
    """One device in float32, with what a training asks of Fabric, whose import takes longer than a small run."""

    is_global_zero = True
    global_rank = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def setup(self, detector: Detector, optimizer: torch.optim.Optimizer) -> tuple[Detector, torch.optim.Optimizer]:
        return detector.to(self.device), optimizer

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


def fabric(device: str, precision: Precision, devices: int = 1) -> Any:
    """A device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; UserError where it or its precision is not to be had.

    One device in float32 is a OneDevice, all else a Fabric. With `devices` above one, a process's own of that many CUDA
    devices or CPU processes: the environment tells which.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise UserError(f"unknown device {device!r}; expected auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices; try cpu")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("device 'mps' is not there; try cpu")
    elsewhere = torch.cuda.is_available() or torch.backends.mps.is_available()
    if precision == "16-mixed" and (kind == "cpu" or (kind == "auto" and not elsewhere)):
        raise UserError("expected precision 32-true or bf16-mixed on the CPU, got 16-mixed; try bf16-mixed")
    if devices == 1 and precision == "32-true":
        return OneDevice(_first_of(kind, int(index or 0)))
    # Imported here, for they bring torch's compiler along: a second and more.
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    # Its news about devices and precision are in environment.json; on the terminal they would stand between the bars.
    # Its import sets this level.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if devices == 1:
        return Fabric(accelerator=kind, devices=[int(index)] if index and kind == "cuda" else 1, precision=precision)
    if index or kind == "mps":
        raise UserError(f"expected device auto, cpu or cuda for {devices} devices, got {device!r}; leave it out")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"expected {devices} CUDA devices, torch sees {torch.cuda.device_count()}; ask for fewer")
    # The environment is named, for a cluster's own would be found and taken in its place.
    place = LightningEnvironment()
    return Fabric(accelerator=kind, devices=devices, strategy=DDPStrategy(), plugins=[place], precision=precision)


def _first_of(kind: str, index: int) -> torch.device:
    """The device that Fabric would choose."""
    if kind == "auto":
        kind = "mps" if torch.backends.mps.is_available() else "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cpu") if kind == "cpu" else torch.device(kind, index)


def attack_dtype(precision: Precision) -> torch.dtype | None:
    """What networks compute in under attack: bfloat16 for both low precisions, for gradients vanish in float16."""
    return None if precision == "32-true" else torch.bfloat16


def placed(detector: Detector, device: torch.device | str) -> Detector:
    """The detector on a device in eval mode, its weights in the order that convolutions are fastest in."""
    moved: Detector = detector.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return moved
