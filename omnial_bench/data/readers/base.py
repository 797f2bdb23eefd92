"""What reads a layout, and what it gives: a sample an image. No torch here."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test"]
TEST_SHARE = 5
"""One normal image in so many is for the test, where a layout does not say which."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image file of a data set, with what is known of it."""

    image: Path
    """Below the folder that was read, as all its masks."""
    category: str
    split: Split
    label: str
    """`good` for a normal image, else the kind of its anomaly. Training images are normal."""
    masks: tuple[Path, ...] = ()
    """Of an anomalous image: files of its own size, anomalous where any of them is; see `data.levels`."""
    name: str = ""
    """What tells it from others of its label, where the stem of its file does not."""
    condition: str = ""
    """Under which of the test's conditions it was taken or made, such as a light, where each has figures of its own.
    Empty: none, and of a normal image all of them."""

    @property
    def id(self) -> str:
        return f"{self.category}/{self.split}/{self.label}/{self.name or self.image.stem}"


def _nothing(root: Path) -> str:  # noqa: ARG001
    return ""


def _somewhere(sample: Sample) -> str:  # noqa: ARG001
    return "one from its reader"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How a layout is told from others and read; only the first two are asked of a reader from elsewhere."""

    matches: Callable[[Path], bool]
    """Whether a folder is in this layout."""
    read: Callable[[Path], Iterable[Sample]]
    """Its samples, of all categories, in any order."""
    looked_for: str = "what its reader matches"
    """The layout in words, for messages."""
    hint: Callable[[Path], str] = _nothing
    """What a folder lacks, or where else to look, where it almost matches; empty for every other."""
    categories: Callable[[Path], Iterable[str]] | None = None
    """The categories that folders name, which may be empty; None: those of the samples."""
    mask_of: Callable[[Sample], str] = _somewhere
    """Where the mask of an anomalous image is looked for."""
    left_alone: tuple[str, ...] = ("*",)
    """Patterns of the paths of files that are not read on purpose."""
    normals: str = "{category}"
    """Where the normal images of a `{split}` lie."""


def folders(path: Path) -> list[Path]:
    """The folders directly in one, sorted by name; hidden ones are left out."""
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def held_out(root: Path, images: Sequence[Path]) -> set[Path]:
    """The normal images that are for the test, at least one, of all in `root` that no split is known of.

    Those whose paths below `root` have the smallest hashes: no draw, so the same wherever the folder lies, and no
    sequence, in which neighbours are alike.
    """
    by_hash = sorted(images, key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
    return set(by_hash[: max(1, len(images) // TEST_SHARE)])
