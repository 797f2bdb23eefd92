"""The layouts that are known, which of them a folder is in, and readers from elsewhere, `package.module:object`, behind
the gate of trust and with their mistakes in one line."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omnial_bench.data.readers import aitex, dagm, kolektor, magnetic_tile, mvtec, real_iad, visa
from omnial_bench.data.readers import folders as plain
from omnial_bench.data.readers.base import Reader, Sample, folders
from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError, is_printable, unknown
from omnial_bench.trust import code_of, guarded, is_foreign, load

READERS: dict[str, Reader] = {
    "real_iad": real_iad.READER,
    "mvtec_ad2": mvtec.AD2,
    "mvtec_loco": mvtec.LOCO,
    "btad": mvtec.BTAD,
    "visa_original": visa.READER,
    "magnetic_tile": magnetic_tile.READER,
    "dagm": dagm.READER,
    "kolektorsdd": kolektor.KOLEKTORSDD,
    "kolektorsdd2": kolektor.KOLEKTORSDD2,
    "aitex": aitex.READER,
    "folders": plain.READER,
    "visa": mvtec.VISA,
    "mvtec": mvtec.READER,
}
"""By name, the more particular first: of a folder the first one decides that matches it, or has a hint for it."""


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
        with _readable():
            return list(self.reader.read(root))

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
    with _readable():
        return _find(root) if wanted is None else _named(root, wanted, trusted)


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
        chosen = Chosen("given", _careful("given", wanted), {"reader": {"name": "given"}})
    elif is_foreign(wanted):
        reader = load(wanted, trusted, "the reader of the data set", "reader")
        if not isinstance(reader, Reader):
            kind = type(reader).__name__
            raise UserError(f"{wanted}: expected a Reader of omnial_bench, got {kind}; make it one"[:300])
        chosen = Chosen(wanted, _careful(wanted, reader), {"reader": {"name": wanted, "code": code_of(wanted)}})
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


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise UserError(f"cannot read {error.filename}: permission denied; change its permissions") from error


def _careful(name: str, reader: Reader) -> Reader:
    """A reader known as `name` whose functions raise a UserError of one line where they fail, and whose samples are
    checked: images and masks below the folder, names that folders can bear, masks for anomalous images alone."""

    source = f"reader {name}"

    def matches(root: Path) -> bool:
        with guarded(source, f"look at {root}"):
            return bool(reader.matches(root))

    def hint(root: Path) -> str:
        with guarded(source, f"look at {root}"):
            return str(reader.hint(root))

    def read(root: Path) -> Iterable[Sample]:
        with guarded(source, f"read {root}"):
            samples = list(reader.read(root))
        for sample in samples:
            if (wrong := _mistake(root, sample)) is not None:
                raise UserError(f"{source}: {wrong}"[:400])
        return [replace(sample, masks=tuple(sample.masks)) for sample in samples]

    return replace(reader, matches=matches, read=read, hint=hint, categories=None)


def _mistake(root: Path, sample: object) -> str | None:
    """What is wrong with a sample, None where nothing is."""
    if not isinstance(sample, Sample):
        return f"expected samples of omnial_bench's Sample, got {type(sample).__name__}"
    listed = isinstance(sample.masks, tuple | list) and all(isinstance(mask, Path) for mask in sample.masks)
    if not isinstance(sample.image, Path) or not listed:
        return f"expected image and masks as paths, got {sample.image!r} and {sample.masks!r}"
    for path in sample.files:
        if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
            return f"{path} does not lie in {root}; make its paths from the folder that it is given"
        if not path.is_file():
            return f"it gives {path}, where there is no file"
    for what in ("category", "label", "name", "condition"):
        text = getattr(sample, what)
        place = inside(text) if isinstance(text, str) and is_printable(text) else None
        if (text or what in ("category", "label")) and (place is None or len(place.parts) != 1 or text.startswith(".")):
            return f"expected the {what} of {sample.image} as the name of a folder, got {text!r}"
    if sample.split not in ("train", "test"):
        return f"expected the split of {sample.image} as train or test, got {sample.split!r}"
    if sample.label == "good" and sample.masks:
        return f"{sample.image} is good and has a mask, {sample.masks[0]}; leave it out, or name the anomaly"
    if sample.label != "good" and sample.split == "train":
        return f"{sample.image} is {sample.label} and to be trained on; expected good images alone in train"
    return None
