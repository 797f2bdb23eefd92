"""Who is at work in a folder, told by locked files in it: the system lets go of a lock when its holder dies.

The locks are filelock's, on every system that it knows. Whoever holds a lock file removes it, and one of a killed
holder goes with the next who looks.
"""

import errno
import logging
import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from omnial_bench.errors import UserError
from omnial_bench.io.whole import make_folder

log = logging.getLogger(__name__)

NAME = ".lock"
"""Of the run that has a folder to itself; it names its holder."""
CLAIM = ".claim.lock"
"""Of anyone who has a folder to himself."""
_WORK = re.compile(r"\.(claim|[0-9a-f]{8})\.lock")
"""What those hold who are at work in a folder; a run has a claim as well."""
_PAUSE, _PATIENCE = 0.02, 0.2
"""Seconds between attempts, and of all: who only looks whether a lock is free has it for an instant."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EBADF)
_ELSE = "wait for it, or choose another folder"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one in `folder`, which exists; UserError, one line, names the process that is there already."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = f"process {os.getpid()} on {socket.gethostname()} since {since}"
    with claimed(folder, alone=True), taken(folder / NAME, busy=lambda: _in_use(folder), holder=holder):
        yield


@contextmanager
def claimed(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Have others see by `abandoned` that somebody is at work in `folder`, which exists.

    `alone`: UserError where somebody is at work there already, or a run in it or in a folder around it.
    """
    if not alone:
        with shared(folder):
            yield
        return

    def busy() -> UserError:
        runs = [around for around in (folder, *folder.absolute().parents) if _is_run(around)]
        return _in_use(runs[0]) if runs else UserError(f"{folder} is in use by another process; {_ELSE}")

    with taken(folder / CLAIM, busy=busy):
        others = (_is_held(path) for path in _work_in(folder) if path.name != CLAIM)
        if any(others) or any(map(_is_run, folder.absolute().parents)):
            raise busy()
        yield


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Be one of several at work in `folder`, which exists: `occupied` tells whether any is."""
    with taken(folder / f".{uuid.uuid4().hex[:8]}.lock"):
        yield


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Be the only one with the lock file at `path`, after those that have it now."""
    make_folder(path.parent)
    with taken(path):
        yield


@contextmanager
def taken(path: Path, *, busy: Callable[[], UserError] | None = None, holder: str = "") -> Iterator[None]:
    """Have the lock file at `path`, with the words `holder` in it; its folder exists.

    Where somebody else has it, the error that `busy` gives is raised; without `busy` he is waited for. Where the file
    system has no locks, a warning says so, and the file is there all the same.
    """

    def write(descriptor: int) -> None:
        # A full disk is no reason not to begin: what is there may be all that is needed.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f" {holder}\n".encode())

    patience, mine = -1 if busy is None else _PATIENCE, None
    lock = FileLock(path, timeout=patience, poll_interval=_PAUSE, fallback_to_soft=False, on_acquired=write)
    try:
        lock.acquire()
    except Timeout as error:
        assert busy is not None
        raise busy() from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("this file system has no locks (%s); see to it that one run at a time uses the folder", error)
    try:
        with suppress(OSError):
            mine = path.stat()
        yield
    finally:
        # While it is locked: who has opened it by now sees that it was removed, and begins again. On Windows nobody can
        # remove it before it is closed, and filelock does.
        with suppress(OSError):
            if mine is not None and os.path.samestat(mine, path.stat()):
                path.unlink()
        lock.release()


def check_idle(folder: Path) -> None:
    """UserError where somebody is at work in a folder of a run that this process has locked."""
    if occupied(folder):
        raise UserError(f"{folder} is in use by another process; {_ELSE}")


def abandoned(folder: Path) -> bool:
    """Whether nobody is at work in a folder; where that cannot be told, somebody is."""
    return folder.is_dir() and all(_is_held(path) is False for path in _work_in(folder))


def occupied(folder: Path) -> bool:
    """Whether somebody is at work in a folder; where that cannot be told, nobody is."""
    return any(map(_is_held, _work_in(folder)))


def wait_until_left(folder: Path, seconds: float) -> None:
    """Wait until nobody is at work in a folder any more, so many seconds at the most."""
    limit = time.monotonic() + seconds
    while occupied(folder) and time.monotonic() < limit:
        time.sleep(_PAUSE)


def _work_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _WORK.fullmatch(path.name)]
    except OSError:
        return []


def _is_held(path: Path) -> bool | None:
    """Whether somebody has a lock file; one that nobody has is removed. None where it cannot be told."""
    try:
        # That of another user may be readable alone.
        descriptor = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        if not lock_descriptor(descriptor, blocking=False):
            return True
        with suppress(OSError):
            # Another may have removed it and begun anew since it was opened.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                path.unlink()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if sys.platform == "win32":
        # There a file goes when nobody has it open, and not before.
        with suppress(OSError):
            path.unlink()
    return False


def _is_run(folder: Path) -> bool:
    # Other programs have files of that name as well.
    return _words(folder).startswith("process ") and _is_held(folder / NAME) is True


def _in_use(folder: Path) -> UserError:
    holder = _words(folder) or "another process"
    return UserError(
        f"{folder} is in use by {holder}; expected one run at a time, wait for it or choose another folder"
    )


def _words(folder: Path) -> str:
    """What the holder of a run's lock says of himself, after the first byte: on Windows that is locked to readers."""
    path = folder / NAME
    with suppress(OSError):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                file.seek(1)
                return file.read(200).decode("utf-8", "replace").strip()
    return ""
