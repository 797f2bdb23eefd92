"""Files on disk: whole or not there. No torch here."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omnial_bench.errors import UserError

log = logging.getLogger(__name__)
DAMAGED = ".damaged"
"""What ends the name of a file or folder that was set aside."""
_CANNOT_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)
"""What file systems answer that have no sync for folders."""


@contextmanager
def whole(path: Path, *, apart: bool = False) -> Iterator[Path]:
    """An empty file beside `path` to write to; it is synced and renamed onto `path` when the block ends well.

    `apart` it lies in a folder of its own, for libraries that write a file of another name beside it first. OSError
    names `path` where it cannot be written, on a full disk for one; nothing is left beside it then.
    """
    make_folder(path.parent)
    part = aside = beside(path, "part")
    try:
        with _naming(path):
            if apart:
                part.mkdir()
                aside = part / path.name
            aside.touch()
            mode = aside.stat().st_mode
            yield aside
            # Some libraries put a private file in its place; others on the machine are to read it like any other.
            aside.chmod(mode)
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            if path.is_dir() and not path.is_symlink():
                log.warning("a folder has the place of a file, it is kept as %s", set_aside(path))
            aside.replace(path)
            sync_folder(path.parent)
    finally:
        if apart:
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have an OSError name the file: what comes out of a write or a sync names none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


def beside(path: Path, kind: str) -> Path:
    """A free name beside `path` for what is not whole yet (`part`) or not wanted any more (`old`); one that a killed
    process left is known by it and swept."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{kind}")


def file_name(name: str) -> str:
    """A name made fit for a file that stays in its folder and needs no escape in a document."""
    return re.sub(r"[^\w.-]+|^\.+", "-", name)


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `<name>.damaged`, in place of an earlier one, for a person to look at."""
    aside = path.with_name(path.name + DAMAGED)
    if aside.is_dir():
        shutil.rmtree(aside)
    elif path.is_dir():
        aside.unlink(missing_ok=True)
    path.replace(aside)
    return aside


def sync_folder(path: Path) -> None:
    """Have the names in a folder outlive a power cut, where the file system can do that."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except PermissionError:
        # Windows opens no folders.
        return
    try:
        with _naming(path):
            os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(folder)


def sync_tree(folder: Path) -> None:
    """Have every file and folder below `folder` outlive a power cut."""
    inner = list(folder.rglob("*"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync_file, [path for path in inner if path.is_file()]))
    for path in [*(path for path in inner if path.is_dir()), folder]:
        sync_folder(path)


def _sync_file(path: Path) -> None:
    with _naming(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, with Unix line ends."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def without_none(value: Any) -> Any:
    """JSON values without the empty entries of their tables, at any depth: TOML has no null."""
    return json.loads(json.dumps(value), object_hook=lambda table: {k: v for k, v in table.items() if v is not None})


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing; UserError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another folder") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"cannot write to {path}: permission denied; choose another folder")
    return path


def check_folder(path: Path) -> None:
    """UserError where `make_folder` would fail. Nothing is made: for the checks that come before any work."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"cannot write to {path}: {there} is no folder; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {path}: permission denied; choose another folder")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
