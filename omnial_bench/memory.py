"""Memory: what a process of our own keeps for its next step (never a user's), and whether there is enough."""

import ctypes
import os
from functools import cache
from pathlib import Path

from omnial_bench.errors import UserError

# Of glibc's malloc.h; the values are of the type int.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST = -1, -3, 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Have this process keep freed memory up to 2 GiB, for good; False where the C library is not glibc.

    A network's layers ask for the same tens of megabytes in every step. By default glibc hands them back to the system
    each time, which then clears every page anew: a tenth of a training step on the CPU, and more for large images.
    """
    try:
        # Asked for in this way it costs no help text any time; elsewhere the name is unknown.
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        library = ctypes.CDLL(None)
        return all(library.mallopt(setting, _MOST) for setting in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
    except (OSError, ValueError, AttributeError):
        return False


def check_room(size: int, what: str, remedy: str, *, count: int | None = None) -> None:
    """UserError where `what`, of `size` bytes, is more than the memory that can be had, as far as the system tells;
    of `count` alike it says how many fit."""
    room = _available()
    if room is not None and size > room:
        fitting = "" if count is None else f", which {count * room // size} of them fit into"
        raise UserError(f"{what} take {size / 2**30:.3g} GiB, {room / 2**30:.3g} GiB are free{fitting}; {remedy}")


def _available() -> int | None:
    """Bytes that can be had without swapping, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
