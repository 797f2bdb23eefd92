"""One process at a time in a folder: a lock that the system lets go of when its holder dies, however it dies."""

import errno
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from omnial_bench.errors import UserError
from omnial_bench.io.whole import make_folder

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

NAME = ".lock"
_PAUSES = (0.02, 0.1, 0.1)
"""Seconds between attempts: who only looks whether a lock is free has it for an instant."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one in `folder`, which exists; UserError, one line, names the process that is there already.

    The lock is `flock`'s on the file `.lock`, which goes with its holder, but for a killed one. Where the file system
    has no such locks, a warning says so.
    """
    with (
        claimed(folder, alone=True),
        _held(folder / NAME, partial(_take_or_refuse, folder)) as descriptor,
    ):
        with suppress(OSError):
            # A full disk is no reason not to begin: what is there may be all that is needed.
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _myself().encode())
        yield


@contextmanager
def _held(path: Path, take: Callable[[int], None]) -> Iterator[int]:
    """The lock file at `path`, open and taken; its holder removes it, so who has taken a removed one begins again."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            take(descriptor)
            if not _lies_at(path, descriptor):
                continue
            try:
                yield descriptor
            finally:
                with suppress(OSError):
                    if _lies_at(path, descriptor):
                        path.unlink()
            return
        finally:
            os.close(descriptor)


def _lies_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        return False


def _take_or_refuse(folder: Path, descriptor: int) -> None:
    if not _take_in_time(descriptor):
        raise _in_use(folder, descriptor)


def _take_in_time(descriptor: int) -> bool:
    for pause in _PAUSES:
        if _take(descriptor):
            return True
        time.sleep(pause)
    return False


def _in_use(folder: Path, descriptor: int) -> UserError:
    holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
    return UserError(
        f"{folder} is in use by {holder}; expected one run at a time, wait for it or choose another folder"
    )


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Be the only one with the lock file at `path`, after those that have it now."""
    make_folder(path.parent)
    # Where the file system has no locks, what they guard is made twice.
    with _held(path, partial(_wait_for, exclusive=True)):
        yield


def _wait_for(descriptor: int, *, exclusive: bool) -> None:
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)


@contextmanager
def claimed(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Have others see by `abandoned` that somebody is at work in `folder`; nothing is written there.

    `alone`: UserError where somebody has claimed it already, or has it or a folder around it locked.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        free = _take_in_time(descriptor) if alone else _take(descriptor)
        if alone:
            for around in (folder, *folder.absolute().parents):
                _check_free(around)
            if not free:
                raise UserError(f"{folder} is in use by another process; wait for it, or choose another folder")
        yield
    finally:
        os.close(descriptor)


def _check_free(folder: Path) -> None:
    """UserError where a run is at work in a folder."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDWR)
    except OSError:
        return
    try:
        # Other programs have files of that name as well.
        with suppress(OSError):
            if os.pread(descriptor, 8, 0) == b"process " and not _flock(descriptor, shared=True):
                raise _in_use(folder, descriptor)
    finally:
        os.close(descriptor)


def check_idle(folder: Path) -> None:
    """UserError where somebody is at work in a folder of a run that this process has locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _take(descriptor):
            raise UserError(f"{folder} is in use by another process; wait for it, or choose another folder")
    finally:
        os.close(descriptor)


def abandoned(folder: Path) -> bool:
    """Whether nobody has claimed a folder; where that cannot be told, somebody has."""
    with vacant(folder) as free:
        return free


def occupied(folder: Path) -> bool:
    """Whether somebody has claimed or shares a folder; where that cannot be told, nobody does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _flock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Be one of several at work in `folder`, which exists: `occupied` tells whether any is."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _wait_for(descriptor, exclusive=False)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def vacant(folder: Path) -> Iterator[bool]:
    """Whether nobody is at work in a folder, and so it stays in the block; False where that cannot be told."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        free = False
        with suppress(OSError):
            free = sys.platform != "win32" and _flock(descriptor)
        yield free
    finally:
        os.close(descriptor)


def wait_until_left(folder: Path, seconds: float) -> None:
    """Wait until nobody shares a folder any more, so many seconds at the most."""
    limit = time.monotonic() + seconds
    while occupied(folder) and time.monotonic() < limit:
        time.sleep(_PAUSES[0])


def _take(descriptor: int) -> bool:
    try:
        return _flock(descriptor)
    except OSError as error:
        log.warning("this file system has no locks (%s); see to it that one run at a time uses the folder", error)
        return True


def _flock(descriptor: int, *, shared: bool = False) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _myself() -> str:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {since}\n"
