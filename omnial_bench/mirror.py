"""A run folder that is kept at a URL as well: what tasks leave goes there, what others need comes from there.

Object stores have no locks, no renames and no folders that appear whole, so nothing there is taken by its name. Each
task has an index, written after its files, that names them with their SHA-256; a file that is not what its index says
is not taken, and the task is done again.
"""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
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

    def check(self) -> None:
        """UserError where the URL cannot be opened or asked."""
        files, root = self._place
        try:
            files.exists(f"{root}/{INDEX}")
        except OSError as error:
            raise UserError(f"cannot reach {self.url}: {error}; try another URL, or leave --mirror out") from error

    def fetch(self, task: str) -> bool:
        """Bring what a task left at the URL, where it differs from what was last seen there; whether anything came.

        A damaged file costs a warning and its index, and nothing that comes after it in the index is brought.
        """
        # Another process of this machine may bring the same, and take what is half there for damage.
        with waited_for(self.folder / INDEX / f"{task}.lock"):
            return self._fetch(task)

    def _fetch(self, task: str) -> bool:
        text = self._read(task)
        if text is None or text == self._seen(task):
            return False
        index = self._parsed(task, text)
        if index is None:
            return False
        for name, digest in index.items():
            target = self.folder / name
            if not (target.is_file() and sha256(target) == digest) and not self._bring(target, name, digest):
                # Without its index all of it is sent when it has been made again.
                files, root = self._place
                with suppress(FileNotFoundError):
                    files.rm_file(f"{root}/{INDEX}/{task}.json")
                return True
        write_text(self._index(task), text)
        return True

    def _bring(self, target: Path, name: str, digest: str) -> bool:
        """Bring one file whole; False, with a warning, where it is not what it should be."""
        files, root = self._place
        try:
            with whole(target) as aside:
                try:
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

    def _put(self, path: Path, name: str) -> None:
        files, root = self._place
        there = f"{root}/{name}"
        files.makedirs(there.rpartition("/")[0], exist_ok=True)
        files.put_file(str(path), there)

    def _index(self, task: str) -> Path:
        return self.folder / INDEX / f"{task}.json"

    def _read(self, task: str) -> str | None:
        files, root = self._place
        try:
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
