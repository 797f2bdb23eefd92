"""A run folder that is kept at a URL as well: what tasks leave goes there, what others need comes from there.

Object stores have no locks, no renames and no folders that appear whole, so nothing there is taken by its name. Each
task has an index, written after its files, that names them with their SHA-256; a file that is not what its index says
is not taken, and the task is done again.
"""

import errno
import glob
import json
import logging
import math
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError
from omnial_bench.io.lock import waited_for
from omnial_bench.io.whole import sha256, whole, write_text

log = logging.getLogger(__name__)

INDEX = ".mirror"
"""The folder of the indices, at the URL, and beside the files of those that are as the URL has them."""
EVERY = 600.0
"""Seconds between two copies of a training under way: it may be a gigabyte, and nothing is learnt while it is sent."""
_COPY = "copy"
"""What the index of a copy names it, whatever its place."""
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError)
"""What asking for a file raises where there is none, or a folder."""


class _Damaged(Exception):
    """A file at the URL is not what its index says."""


def _place_of(name: str, digest: str) -> str:
    return f"{INDEX}/{name}.{digest[:16]}"


@dataclass(frozen=True)
class Mirror:
    """Copies files of a run folder to a URL that fsspec opens, and back; making one opens no connection."""

    url: str
    folder: Path
    _saved: dict[str, float] = field(default_factory=dict, init=False, compare=False)
    """When each copy was last tried to be sent."""

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system of the URL and the path there; UserError where it cannot be opened."""
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            hint = "expected a URL that fsspec opens, s3://bucket/run"
            raise UserError(f"cannot open {self.url}: {error}; {hint}") from error
        return files, root.rstrip("/")

    @contextmanager
    def _asked(self, *, missing: bool = False) -> Iterator[tuple[Any, str]]:
        """The file system of the URL and the path there; whatever it raises is a UserError, or _Damaged where a file
        may be `missing` and there is none."""
        place = self._place
        try:
            yield place
        # Each library behind fsspec has exceptions of its own: keys that are missing, a host that does not answer.
        except Exception as error:
            if missing and isinstance(error, _NO_FILE):
                raise _Damaged from error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            problem = str(error) or type(error).__name__
            raise UserError(f"{self.url}: {problem}; put that right and give the same command again") from error

    def check(self) -> None:
        """UserError where the URL cannot be opened or asked."""
        with self._asked() as (files, root):
            files.exists(f"{root}/{INDEX}")

    def fetch(self, task: str, *, again: bool = False) -> bool:
        """Bring what a task left at the URL, where it differs from what was last seen there; whether anything came.

        `again`: where it was seen before too, for what is here may be lost or damaged. A file that is damaged there
        costs a warning and its index, and nothing that comes after it in the index is brought.
        """
        # Another process of this machine may bring the same, and take what is half there for damage.
        with waited_for(self.folder / INDEX / f"{task}.lock"):
            text = self._read(task)
            if text is None or (text == self._seen(task) and not again) or (index := self._parsed(task, text)) is None:
                return False
            for name, digest in index.items():
                target = self.folder / name
                if not (target.is_file() and sha256(target) == digest) and not self._bring(target, name, digest):
                    # Without its index all of it is sent when it has been made again.
                    self._remove(f"{INDEX}/{task}.json")
                    return True
            write_text(self._index(task), text)
            return True

    def _bring(self, target: Path, name: str, digest: str) -> bool:
        """Bring one file whole; False, with a warning, where it is not what it should be."""
        try:
            with whole(target) as aside:
                with self._asked(missing=True) as (files, root):
                    files.get_file(f"{root}/{name}", str(aside))
                if sha256(aside) != digest:
                    raise _Damaged
        except _Damaged:
            log.warning("not taken, for it is missing or damaged: %s/%s", self.url, name)
            return False
        return True

    def send(self, task: str, paths: Sequence[Path]) -> None:
        """Take what a task left to the URL: files that are other there than here, then the index."""
        here = {path.relative_to(self.folder).as_posix(): sha256(path) for path in paths}
        text = json.dumps(here, indent=0) + "\n"
        before = self._read(task)
        if before != text:
            there = self._parsed(task, before) or {}
            for name, digest in here.items():
                if there.get(name) != digest:
                    self._put(self.folder / name, name)
            index = self._index(task)
            write_text(index, text)
            self._put(index, f"{INDEX}/{index.name}")
        elif before != self._seen(task):
            write_text(self._index(task), text)

    def save(self, name: str, path: Path) -> None:
        """Take a copy of a file that changes often to the URL, once in `EVERY` seconds; a failure is but a warning.

        The copy before it stays until this one is whole there and named.
        """
        if time.monotonic() - self._saved.get(name, -math.inf) < EVERY:
            return
        self._saved[name] = time.monotonic()
        try:
            before, digest = self._copy(name), sha256(path)
            self._put(path, _place_of(name, digest))
            text = json.dumps({_COPY: digest})
            with self._asked() as (files, root):
                files.pipe_file(f"{root}/{INDEX}/{name}.json", text.encode())
            # After the other: who is killed between them may find as much there as here, and never less.
            write_text(self._index(name), text)
            if before not in (None, digest):
                self._remove(_place_of(name, str(before)))
        except (UserError, OSError) as error:
            log.warning("goes on without a copy: %s", error)

    def resume(self, name: str, path: Path, is_whole: Callable[[Path], bool]) -> None:
        """Bring the copy of a file where the one here is not whole, or another machine has sent one since."""
        try:
            text, digest = self._read(name), self._copy(name)
            if digest is not None and (text != self._seen(name) or not is_whole(path)):
                self._bring(path, _place_of(name, digest), digest)
                write_text(self._index(name), str(text))
        except UserError as error:
            log.warning("goes on without the copy: %s", error)

    def withdraw(self, name: str) -> None:
        """Remove the copy of that name, which nobody needs any more, and those that killed processes left beside it."""
        self._remove(f"{INDEX}/{name}.json")
        with suppress(_Damaged), self._asked(missing=True) as (files, root):
            for path in files.glob(f"{root}/{INDEX}/{glob.escape(name)}.*"):
                files.rm_file(path)
        self._index(name).unlink(missing_ok=True)

    def _copy(self, name: str) -> str | None:
        """The SHA-256 of the copy of that name, None where there is none or its index is damaged."""
        digest = (self._parsed(name, self._read(name)) or {}).get(_COPY, "")
        return digest if re.fullmatch("[0-9a-f]{64}", digest) else None

    def mend(self, task: str, lost: Collection[Path]) -> bool:
        """Bring files of a task that are lost or damaged here, if all others are here as the URL has them."""
        with waited_for(self.folder / INDEX / f"{task}.lock"):
            index = self._parsed(task, self._read(task)) or {}
            names = {path.relative_to(self.folder).as_posix() for path in lost}
            others = ((self.folder / name, digest) for name, digest in index.items() if name not in names)
            if not names <= index.keys() or not all(path.is_file() and sha256(path) == it for path, it in others):
                return False
            return all(self._bring(self.folder / name, name, index[name]) for name in sorted(names))

    def _remove(self, name: str) -> None:
        with suppress(_Damaged), self._asked(missing=True) as (files, root):
            files.rm_file(f"{root}/{name}")

    def _put(self, path: Path, name: str) -> None:
        with self._asked() as (files, root):
            there = f"{root}/{name}"
            files.makedirs(there.rpartition("/")[0], exist_ok=True)
            files.put_file(str(path), there)

    def _index(self, task: str) -> Path:
        return self.folder / INDEX / f"{task}.json"

    def _read(self, task: str) -> str | None:
        try:
            with self._asked(missing=True) as (files, root):
                return str(files.cat_file(f"{root}/{INDEX}/{task}.json").decode("utf-8", "replace"))
        except _Damaged:
            return None

    def _seen(self, task: str) -> str | None:
        path = self._index(task)
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def _parsed(self, task: str, text: str | None) -> dict[str, str] | None:
        """The files of an index; None without one and, with a warning, where it is damaged or leaves the folder."""
        if text is None:
            return None
        try:
            index = json.loads(text)
        except (ValueError, RecursionError):
            index = None
        if isinstance(index, dict) and all(isinstance(digest, str) and inside(name) for name, digest in index.items()):
            return index
        log.warning("not taken, for it is damaged: %s/%s/%s.json", self.url, INDEX, task)
        return None
