"""The layouts that are known, and which of them a folder is in."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omnial_bench.data.readers import (
    aitex,
    btad,
    dagm,
    kolektorsdd,
    kolektorsdd2,
    magnetic_tile,
    mvtec,
    mvtec_ad2,
    mvtec_loco,
    outside,
    real_iad,
    visa_one_class,
    visa_original,
)  # fmt: skip
from omnial_bench.data.readers import folders as plain
from omnial_bench.data.readers.base import Reader, Sample, folders
from omnial_bench.errors import UserError, unknown
from omnial_bench.trust import code_of, is_foreign

READERS: dict[str, Reader] = {
    "real_iad": real_iad.READER,
    "mvtec_ad2": mvtec_ad2.READER,
    "mvtec_loco": mvtec_loco.READER,
    "btad": btad.READER,
    "visa_original": visa_original.READER,
    "magnetic_tile": magnetic_tile.READER,
    "dagm": dagm.READER,
    "kolektorsdd": kolektorsdd.READER,
    "kolektorsdd2": kolektorsdd2.READER,
    "aitex": aitex.READER,
    "folders": plain.READER,
    "visa": visa_one_class.READER,
    "mvtec": mvtec.READER,
}
"""By name, the more particular first: of a folder the first one decides that matches it, or has a hint for it."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Chosen:
    """A reader that fits a folder."""

    name: str
    reader: Reader
    named_by: Mapping[str, Any] = field(default_factory=dict)
    """What keys and provenance hold of a reader that the user named: `reader`, its name, and of code from elsewhere the
    hash; empty where the layout was found by itself."""

    def read(self, root: Path) -> list[Sample]:
        """The samples in the folder; UserError where a part of it may not be read."""
        return _readable(lambda: list(self.reader.read(root)))

    def categories(self, root: Path, samples: Iterable[Sample]) -> list[str]:
        """All categories in the folder, of whose samples these are all, sorted."""
        if self.reader.categories is not None:
            return sorted(self.reader.categories(root))
        return sorted({sample.category for sample in samples})


def choose_reader(root: Path, wanted: str | Reader | None = None, *, trusted: Collection[str] = ()) -> Chosen:
    """What reads the folder: the one of READERS that it is in, or the one that is `wanted`: a name of READERS, one of
    `trusted`, `package.module:object`, or a reader itself.

    UserError, one line, where there is no such folder, where it is in another layout, which says what almost matches,
    for an unknown name, and for code that is not trusted.
    """
    if not root.exists():
        raise UserError(f"no data folder at {root}: expected {mvtec.LOOKED_FOR} in it; check the path")
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: expected one with {mvtec.LOOKED_FOR}; give the folder")
    return _readable(lambda: _find(root) if wanted is None else _named(root, wanted, trusted))


def _find(root: Path) -> Chosen:
    hint = ""
    for name, reader in READERS.items():
        if reader.matches(root):
            return Chosen(name, reader)
        if hint := reader.hint(root):
            break
    inner = (f"try {path}" for path in folders(root) if any(one.matches(path) for one in READERS.values()))
    raise _refused(root, mvtec.LOOKED_FOR, hint or next(inner, ""))


def _named(root: Path, wanted: str | Reader, trusted: Collection[str]) -> Chosen:
    if isinstance(wanted, Reader):
        chosen = Chosen("given", outside.careful("given", wanted), {"reader": {"name": "given"}})
    elif is_foreign(wanted):
        reader = outside.import_reader(wanted, trusted)
        chosen = Chosen(wanted, reader, {"reader": {"name": wanted, "code": code_of(wanted)}})
    elif wanted in READERS:
        chosen = Chosen(wanted, READERS[wanted], {"reader": {"name": wanted}})
    else:
        raise unknown("reader", wanted, READERS)
    if not chosen.reader.matches(root):
        raise _refused(root, f"{chosen.reader.looked_for}, to be read by {chosen.name}", chosen.reader.hint(root))
    return chosen


def _refused(root: Path, looked_for: str, hint: str) -> UserError:
    return UserError(f"no data set in {root}: looked for {looked_for}; {content(root)}{f'; {hint}' if hint else ''}")


def content(root: Path) -> str:
    """What lies in a folder, in words."""
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    if not names:
        return "found nothing, the folder is empty"
    return f"found {', '.join(names[:6])}{' and more' if len(names) > 6 else ''}"


def _readable(ask: Callable[[], Value]) -> Value:
    try:
        return ask()
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: permission denied; change its permissions") from error
