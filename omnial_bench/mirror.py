"""A run folder that is kept at a URL as well: what tasks leave goes there, what others need comes from there.

Object stores have no locks, no renames and no folders that appear whole, so nothing there is taken by its name. Each
task has an index, written after its files, that names them with their SHA-256; a file that is not what its index says
is not taken, and the task is done again.
"""

import errno
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError
from omnial_bench.lock import waited_for
from omnial_bench.store import sha256, whole, write_text

log = logging.getLogger(__name__)

INDEX = ".mirror"
"""The folder of the indices, at the URL, and beside the files of those that are as the URL has them."""


EVERY = 600.0
"""Seconds between two copies of a training under way: it may be a gigabyte, and nothing is learnt while it is sent."""


class _Damaged(Exception):
    """A file at the URL is not what its index says."""


@dataclass(frozen=True)
class Mirror:
    """`folder` of this machine and the place of its files at any URL that fsspec opens; made without a connection."""

    url: str
    folder: Path

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system of the URL and the path there; UserError where it cannot be opened."""
        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"cannot open {self.url}: {error}; expected a URL that fsspec opens, s3://bucket/run"
            ) from error
        return files, root.rstrip("/")

    @contextmanager
    def _asked(self) -> Iterator[tuple[Any, str]]:
        """The file system of the URL and the path there; whatever it raises is a UserError, but for a missing file.

        Each library behind fsspec has exceptions of its own: keys that are missing, a host that does not answer.
        """
        place = self._place
        try:
            yield place
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self.url}: {error or type(error).__name__}; put that right and give the same command again"
            ) from error

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
            return self._fetch(task, again)

    def _fetch(self, task: str, again: bool) -> bool:
        text = self._read(task)
        if text is None or (text == self._seen(task) and not again):
            return False
        index = self._parsed(task, text)
        if index is None:
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
                try:
                    with self._asked() as (files, root):
                        files.get_file(f"{root}/{name}", str(aside))
                except FileNotFoundError as error:
                    raise _Damaged from error
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
            there = (self._parsed(task, before) if before is not None else None) or {}
            for name, digest in here.items():
                if there.get(name) != digest:
                    self._put(self.folder / name, name)
            index = self._index(task)
            write_text(index, text)
            self._put(index, f"{INDEX}/{index.name}")
        elif before != self._seen(task):
            write_text(self._index(task), text)

    def save(self, name: str, path: Path) -> None:
        """As `send`, of a file that changes often: once in `EVERY` seconds, and where it fails with a warning alone."""
        index = self._index(name)
        if not index.is_file() or time.time() - index.stat().st_mtime > EVERY:
            try:
                self.send(name, [path])
            except (UserError, OSError) as error:
                log.warning("goes on without a copy: %s", error)

    def withdraw(self, name: str) -> None:
        """Remove what was sent under that name, which nobody needs any more."""
        text = self._read(name)
        if text is not None:
            for path in (f"{INDEX}/{name}.json", *(self._parsed(name, text) or ())):
                self._remove(path)
        self._index(name).unlink(missing_ok=True)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._asked() as (files, root):
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
            with self._asked() as (files, root):
                return str(files.cat_file(f"{root}/{INDEX}/{task}.json").decode("utf-8", "replace"))
        except FileNotFoundError:
            return None

    def _seen(self, task: str) -> str | None:
        path = self._index(task)
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def _parsed(self, task: str, text: str) -> dict[str, str] | None:
        """The files of an index; None, with a warning, where it is damaged or a path would leave the folder."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and all(isinstance(digest, str) and inside(name) for name, digest in found.items()):
            return found
        log.warning("not taken, for it is damaged: %s/%s/%s.json", self.url, INDEX, task)
        return None
