"""What finished tasks left, each under all that decides it: in a run folder, and at a mirror where there is one."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omnial_bench import provenance
from omnial_bench.data.dataset import fingerprint_of
from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import outcome_of
from omnial_bench.io.whole import set_aside, sha256, write_json
from omnial_bench.pipeline.mirror import Mirror

log = logging.getLogger(__name__)

FOLDER = ".tasks"
NEVER = "never done"
UNNAMED = ("made by other code or settings",)
HASHED = ("code", "detector", "attacks", "metrics", "textures", "model", "sources", "targets", "inputs")
"""Inputs that stand as hashes: no reader learns anything from their values."""
MADE_BY_TASKS = ("model", "sources", "targets", "inputs")
"""Inputs that other tasks make."""
DATA = "data"
"""The input that stands for the files of a data set, whose single hashes are kept beside the notes."""


@dataclass(frozen=True)
class Inputs:
    """All that decides a task's result: JSON values by name, and the hashes of the data files that it reads."""

    values: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Mapping[str, str], **values: Any) -> "Inputs":
        return cls({**values, DATA: fingerprint_of(files)}, files)

    @property
    def key(self) -> str:
        return provenance.key_of(**self.values)


@dataclass(frozen=True)
class Entry:
    """What there is of a task."""

    reasons: tuple[str, ...] = ()
    """Why it is due; empty where it is done."""
    value: Mapping[str, Any] | None = None
    """Its note, where it is done."""
    damaged: tuple[Path, ...] = ()
    """Files and folders that are not what was written; without a reason, such as decide no figure."""
    superseded: bool = False
    """What there is was made by other code or settings, and may be wanted under those."""

    def set_damaged_aside(self) -> None:
        """Rename what is damaged, and say so in the log."""
        for path in self.damaged:
            if not os.path.lexists(path):
                log.warning("done without %s, which is missing", path)
            elif self.reasons:
                log.warning("made again, the damaged one is kept as %s: %s", set_aside(path), self.reasons[0])
            else:
                log.warning("done without, the damaged one is kept as %s", set_aside(path))


class Cache:
    """The notes of finished tasks in `out/.tasks`, with the hashes of all files that they wrote.

    With a mirror, what is missing here is brought from there and what is new is sent.
    """

    def __init__(self, out: Path, mirror: Mirror | None = None) -> None:
        self.out, self.folder, self.mirror = out, out / FOLDER, mirror

    def restore(self, name: str, entry: Entry) -> bool:
        """Bring from the mirror what an entry lacks here; whether anything came, after which it is to be read again."""
        if self.mirror is not None and entry.reasons:
            return self.mirror.fetch(name, again=not entry.superseded)
        # Where nothing is due, all else stays as it is here: it may be newer.
        return self.mirror is not None and bool(entry.damaged) and self.mirror.mend(name, entry.damaged)

    def read(self, name: str, inputs: Inputs) -> Entry:
        """Whether a task is done under its present inputs, by its note, with all files that it names as they were
        written."""
        try:
            note = read_note(self.folder, name)
            outcome_of(note or {}, str(self.note(name)))
        except UserError as error:
            return Entry((str(error),), damaged=(self.note(name),))
        if note is None:
            return Entry((NEVER,))
        if note.get("key") != inputs.key:
            return Entry(self.changes(note.get("decided_by"), inputs), superseded=True)
        for path, digest in note.get("files", {}).items():
            if not (self.out / path).is_file():
                return Entry((f"{self.out / path} is missing",))
            if sha256(self.out / path) != digest:
                return Entry((f"{self.out / path} is damaged (its hash differs)",), damaged=(self.out / path,))
        return Entry((), note)

    def put(self, name: str, inputs: Inputs, value: Mapping[str, Any], files: Collection[Path] = ()) -> None:
        """Leave what a task gave (JSON values) under its key, with all that decided it and the hashes of its files."""
        digests = {path.relative_to(self.out).as_posix(): sha256(path) for path in files}
        write_note(self.folder, name, inputs.key, {**value, "decided_by": _plain(inputs.values), "files": digests})
        if inputs.files and not (listing := self._listing(str(inputs.values[DATA]))).is_file():
            write_json(listing, dict(inputs.files))

    def bring(self, names: Iterable[str]) -> None:
        """Have here what tasks left elsewhere, where it is newer there."""
        if self.mirror:
            for name in names:
                self.mirror.fetch(name)

    def send(self, name: str, files: Sequence[Path]) -> None:
        """Have at the mirror what a task left here, the files that vouch for the others last."""
        if self.mirror:
            self.mirror.send(name, files)

    def resume(self, name: str, path: Path, is_whole: Callable[[Path], bool]) -> Callable[[Path], None] | None:
        """Bring a file that changes while a task goes on, where the mirror has a better one; what sends each save."""
        if self.mirror is None:
            return None
        self.mirror.resume(name, path, is_whole)
        return partial(self.mirror.save, name)

    def withdraw(self, name: str) -> None:
        """Have no file of a task on its way at the mirror any more."""
        if self.mirror:
            self.mirror.withdraw(name)

    def beside(self, name: str, inputs: Inputs) -> list[Path]:
        """What the cache itself keeps of a task: the hashes of its data files, and its note."""
        listing = [self._listing(str(inputs.values[DATA]))] if inputs.files else []
        return [*listing, self.note(name)]

    def note(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def changes(
        self, before: Any, now: Inputs, *, leave_out: Collection[str] = (), unnamed: tuple[str, ...] = UNNAMED
    ) -> tuple[str, ...]:
        """What differs between the inputs of a note and the present ones, in words; `unnamed` if that is not known."""
        if not isinstance(before, dict):
            return unnamed
        old, new = _plain(before), _plain(now.values)
        lines = []
        for name in dict.fromkeys((*new, *old)):
            if name in leave_out or old.get(name) == new.get(name):
                continue
            details = [] if name in HASHED else _details(old.get(name), new.get(name))
            if name == DATA:
                details = self._changed_files(str(old.get(name)), now.files)
            lines.append(f"{name} changed" + (f" ({', '.join(details[:3])})" if details else ""))
        return tuple(lines) or unnamed

    def _changed_files(self, before: str, now: Mapping[str, str]) -> list[str]:
        """Which data files are new, gone or other than in a listing that was kept; none where it was not."""
        try:
            old = json.loads(self._listing(before).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return []
        if not isinstance(old, dict):
            return []
        names = [name for name in sorted({*old, *now}) if old.get(name) != now.get(name)]
        words = [f"{name} is {'new' if name not in old else 'gone' if name not in now else 'other'}" for name in names]
        return words if len(words) <= 3 else [*words[:2], f"{len(words) - 2} more"]

    def _listing(self, fingerprint: str) -> Path:
        return self.folder / f"data-{fingerprint[:16]}.files"


def read_note(folder: Path, task: str) -> dict[str, Any] | None:
    """What a finished task left in `folder`, None where it left nothing; UserError where that is damaged."""
    path = folder / f"{task}.json"
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    if not isinstance(note, dict) or note.pop("sha256", None) != _hash(note):
        raise UserError(f"{path} is damaged (its hash differs)")
    files = note.get("files", {})
    if not isinstance(files, dict) or not all(inside(name) for name in files):
        raise UserError(f"{path} is damaged (it names files outside of its folder)")
    return note


def write_note(folder: Path, task: str, key: str, value: Mapping[str, Any]) -> None:
    """Keep what a finished task leaves (JSON values) under its key, in place of what an earlier one left."""
    note = {**value, "key": key}
    write_json(folder / f"{task}.json", {**note, "sha256": _hash(note)})


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _details(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in dict.fromkeys((*new, *old))
            if old.get(key) != new.get(key)
            for line in _details(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    pair = [json.dumps(value) if isinstance(value, list | dict) else str(value) for value in (old, new)]
    values = " to ".join(pair) if max(map(len, pair)) <= 40 else ""
    return [" ".join(part for part in (path, values) if part)] if path or values else []


def _plain(value: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value, default=str))
