"""One process at a time in a folder: a lock that the system lets go of when its holder dies, however it dies."""

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from omnial_bench.errors import UserError
from omnial_bench.store import make_folder

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

NAME = ".lock"
_PAUSES = (0.02, 0.1, 0.1)
"""Seconds between attempts: who only looks whether a lock is free has it for an instant."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one in `folder`, which exists; UserError, one line, names the process that is there already.

    The lock is `flock`'s on the file `.lock`, which stays. Where the file system has no such locks, a warning says so.
    """
    path = folder / NAME
    with claimed(folder, alone=True):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take_or_refuse(folder, descriptor)
            with suppress(OSError):
                # A full disk is no reason not to begin: what is there may be all that is needed.
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _myself().encode())
            yield
        finally:
            os.close(descriptor)


def _take_or_refuse(folder: Path, descriptor: int) -> None:
    for pause in _PAUSES:
        if _take(descriptor):
            return
        time.sleep(pause)
    raise _in_use(folder, descriptor)


def _in_use(folder: Path, descriptor: int) -> UserError:
    holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
    return UserError(
        f"{folder} is in use by {holder}; expected one run at a time, wait for it or choose another folder"
    )


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Be the only one with the lock file at `path`, after those that have it now."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform != "win32":
            # Where the file system has no locks, what they guard is made twice.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def claimed(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Have others see by `abandoned` that somebody is at work in `folder`; nothing is written there.

    `alone`: UserError where somebody has claimed it already, or has it or a folder around it locked.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        free = _take(descriptor)
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
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        return sys.platform != "win32" and _flock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


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
