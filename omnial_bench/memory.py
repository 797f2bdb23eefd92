"""Memory that a process of our own keeps for its next step; never a user's."""

import ctypes
import os
from functools import cache

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
