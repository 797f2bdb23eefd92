"""A reader from elsewhere, `package.module:object`: behind the gate of trust, its mistakes in one line."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from omnial_bench.data.readers.base import Reader, Sample
from omnial_bench.data.unpack import inside
from omnial_bench.errors import UserError, is_printable
from omnial_bench.trust import guarded, load

Value = TypeVar("Value")


def import_reader(name: str, trusted: Collection[str]) -> Reader:
    """The reader that `package.module:object` names, as of `careful`. UserError where it is not among `trusted`, is not
    there, or is no Reader."""
    found = load(name, trusted, "the reader of the data set", "reader")
    if not isinstance(found, Reader):
        raise UserError(f"{name}: expected a Reader of omnial_bench, got {type(found).__name__}; make it one"[:300])
    return careful(name, found)


def careful(name: str, reader: Reader) -> Reader:
    """A reader known as `name` whose functions raise a UserError of one line where they fail, and whose samples are
    checked: images and masks below the folder, names that folders can bear, masks for anomalous images alone."""

    def asked(what: str, call: Callable[[], Value]) -> Value:
        with guarded(f"reader {name}", what):
            return call()

    def read(root: Path) -> Iterable[Sample]:
        samples = asked(f"read {root}", lambda: list(reader.read(root)))
        for sample in samples:
            if (wrong := _mistake(root, sample)) is not None:
                raise UserError(f"reader {name}: {wrong}"[:400])
        return [replace(sample, masks=tuple(sample.masks)) for sample in samples]

    return replace(
        reader,
        matches=lambda root: bool(asked(f"look at {root}", lambda: reader.matches(root))),
        read=read,
        hint=lambda root: asked(f"look at {root}", lambda: str(reader.hint(root))),
        categories=None,
    )


def _mistake(root: Path, sample: object) -> str | None:
    """What is wrong with a sample, None where nothing is."""
    if not isinstance(sample, Sample):
        return f"expected samples of omnial_bench's Sample, got {type(sample).__name__}"
    listed = isinstance(sample.masks, tuple | list) and all(isinstance(mask, Path) for mask in sample.masks)
    if not isinstance(sample.image, Path) or not listed:
        return f"expected image and masks as paths, got {sample.image!r} and {sample.masks!r}"
    for path in (sample.image, *sample.masks):
        if not path.is_relative_to(root) or ".." in path.parts:
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
