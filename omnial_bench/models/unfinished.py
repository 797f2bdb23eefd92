"""A training on its way, in one file that carries its hash: all that the next step depends on, and the log so far."""

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from omnial_bench.errors import UserError
from omnial_bench.io.whole import set_aside
from omnial_bench.models.checkpoint import read_provenance, read_tensors, write_tensors
from omnial_bench.models.schedule import Row

log = logging.getLogger(__name__)

STATE = "last.safetensors"

Parts = tuple[nn.Module, Optimizer, torch.Generator]
"""What a training step changes."""


def save_state(folder: Path, key: str, parts: Parts, *, step: int, rows: list[Row]) -> None:
    """Write the training that `key` describes, after `step` steps, to `folder`; a whole file or none."""
    detector, optimizer, generator = parts
    tensors = {f"model.{name}": tensor for name, tensor in detector.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
    tensors["generator"] = generator.get_state()
    metadata = {"key": key, "step": str(step), "rows": json.dumps(rows)}
    write_tensors(folder / STATE, tensors, {**metadata, "sha256": _digest(tensors, metadata)})


def restore_state(folder: Path, key: str, parts: Parts) -> tuple[int, list[Row]]:
    """Set the parts back to what was saved for `key`: its step and log, or 0 and none where nothing was.

    A damaged file is set aside, with a warning.
    """
    path = folder / STATE
    if not path.is_file():
        return 0, []
    try:
        tensors, metadata = _read(path)
    except UserError as error:
        log.warning("started afresh, the damaged one is kept as %s: %s", set_aside(path), error)
        return 0, []
    if metadata.get("key") != key:
        return 0, []
    detector, optimizer, generator = parts
    state, weights = optimizer.state_dict(), {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            weights[rest] = value
        elif kind == "adam":
            index, field = rest.split(".")
            # Laid out as the weights are, as it was: work on two layouts at once is slow.
            ordered = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            state["state"].setdefault(int(index), {})[field] = ordered
    detector.load_state_dict(weights)
    optimizer.load_state_dict(state)
    generator.set_state(tensors["generator"])
    return int(metadata["step"]), json.loads(metadata["rows"])


def drop_state(folder: Path, key: str) -> None:
    """Remove what was saved on the way where the training that `key` describes is finished: nothing goes on from it."""
    path = folder / STATE
    if path.is_file():
        with suppress(UserError, OSError):
            finished = read_provenance(folder)
            if finished is not None and finished.key == key:
                path.unlink()


def is_whole(path: Path) -> bool:
    """Whether a training can go on from a file."""
    try:
        _read(path)
    except UserError:
        return False
    return True


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, metadata = read_tensors(path)
    if metadata.pop("sha256", None) != _digest(tensors, metadata):
        raise UserError(f"{path} is damaged (its hash differs)")
    return tensors, metadata


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
