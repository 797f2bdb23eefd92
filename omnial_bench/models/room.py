"""Whether what a detector is to keep fits into the memory of its device."""

from pathlib import Path

import torch

from omnial_bench.errors import UserError


def check_room(size: int, device: torch.device, what: str, remedy: str, *, count: int | None = None) -> None:
    """UserError where `what`, of `size` bytes, is more than the memory that can be had, as far as the system tells;
    of `count` alike it says how many fit."""
    room = _available(device)
    if room is not None and size > room:
        where = "" if device.type == "cpu" else f" on {device}"
        fitting = "" if count is None else f", room for {count * room // size} of them"
        raise UserError(
            f"{what} take {size / 2**30:.3g} GiB, {room / 2**30:.3g} GiB are free{where}{fitting}; {remedy}"
        )


def _available(device: torch.device) -> int | None:
    """Bytes that can be had there, on a CPU without swapping; None where the system does not tell."""
    if device.type == "cuda":
        # What torch holds and no tensor uses can be had as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
