"""What reads a layout, and what it gives: a sample an image. No torch here."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    def files(self) -> tuple[Path, ...]:
        return (self.image, *self.masks)

    @property
    def id(self) -> str:
        return f"{self.category}/{self.split}/{self.label}/{self.name or self.image.stem}"


def _no_hint(root: Path) -> str:  # noqa: ARG001
    return ""


def _any_place(sample: Sample) -> str:  # noqa: ARG001
    return "one from its reader"


# Its defaults are functions with a name, for lambdas cannot be sent to another process.
@dataclass(frozen=True, kw_only=True)
class Reader:
    """How a layout is told from others and read; only the first two are asked of a reader from elsewhere."""

    matches: Callable[[Path], bool]
    """Whether a folder is in this layout."""
    read: Callable[[Path], Iterable[Sample]]
    """Its samples, of all categories, in any order."""
    looked_for: str = "what its reader matches"
    """The layout in words, for messages."""
    hint: Callable[[Path], str] = _no_hint
    """What a folder lacks, or where else to look, where it almost matches; empty for every other."""
    categories: Callable[[Path], Iterable[str]] | None = None
    """The categories that folders name, which may be empty; None: those of the samples."""
    mask_of: Callable[[Sample], str] = _any_place
    """Where the mask of an anomalous image is looked for."""
    left_alone: tuple[str, ...] = ("*",)
    """Patterns of the paths of files that are not read on purpose."""
    normals: str = "{category}"
    """Where the normal images of a `{split}` lie."""


def folders(path: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name, without hidden ones; none where it is missing."""
    inner = path.iterdir() if path.is_dir() else ()
    return sorted(entry for entry in inner if entry.is_dir() and not entry.name.startswith("."))


def samples_of(
    images: Iterable[Path], category: str, split: Split, label: str, masks: Mapping[str, Path] | None = None
) -> Iterator[Sample]:
    """A sample an image, with the mask under the stem of its file, if there is one."""
    for image in images:
        mask = (masks or {}).get(image.stem)
        yield Sample(image=image, category=category, split=split, label=label, masks=(mask,) if mask else ())


def inner_name(folder: Path, image: Path) -> str:
    """A name for an image at any depth of a folder, by the folders that it lies in."""
    return "_".join((*image.relative_to(folder).parent.parts, image.stem))


def splits_by_hash(root: Path, images: Sequence[Path]) -> dict[Path, Split]:
    """The normal images in `root` that no split is known of, at least one of them for the test: those whose paths below
    `root` have the smallest hashes. No draw, so the same wherever the folder lies, and no sequence, in which neighbours
    are alike."""
    by_hash = sorted(images, key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
    tests = set(by_hash[: max(1, len(images) // TEST_SHARE)])
    return {image: "test" if image in tests else "train" for image in images}


def by_category(
    title: str,
    read_category: Callable[[Path], Iterable[Sample]],
    is_category: Callable[[Path], bool],
    *,
    needed: Sequence[str],
    parts: Sequence[str] = (),
    kind: str = "category",
    sign: str = "",
) -> Reader:
    """The reader of a layout with a folder a category, of which one must have all that is `needed`; what the first
    lacks of that, or of all its `parts`, is told where none has. In the data set a file `sign` makes a category too."""

    def categories(root: Path) -> list[str]:
        return [path.name for path in folders(root) if is_category(path) or (sign and (path / sign).is_file())]

    def missing(path: Path, wanted: Sequence[str]) -> list[str]:
        return [f"{path.name}/{part}" for part in wanted if not (path / part).is_dir()]

    def hint(root: Path) -> str:
        if is_category(root):
            return f"this is one {kind} of {title}, try its parent folder {root.resolve().parent}"
        lacks = [" and ".join(missing(root / name, parts or needed)) for name in categories(root)[:1]]
        return f"looks like {title}: expected {lacks[0]}" if lacks else ""

    return Reader(
        matches=lambda root: any(not missing(root / name, needed) for name in categories(root)),
        read=lambda root: (sample for name in categories(root) for sample in read_category(root / name)),
        hint=hint,
        categories=categories,
    )
