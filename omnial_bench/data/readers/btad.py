"""BTAD's layout: MVTec AD's with `ok` and `ko` for `good` and the one kind of defect.

`<category>/train/ok`, `<category>/test/{ok,ko}`, and masks `<category>/ground_truth/ko/<stem>` of any extension
(Mishra et al., "VT-ADL", ISIE 2021).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Sample, folders

PARTS = ("train/ok", "test/ok", "test/ko")
NEEDED = ("train/ok", "test/ko")


def _parts(path: Path) -> list[str]:
    """What of the layout a category has; nothing where a folder is called otherwise, which is another layout's."""
    inner = [folder for part in ("train", "test") if (path / part).is_dir() for folder in folders(path / part)]
    found = [folder.relative_to(path).as_posix() for folder in inner]
    return found if set(found) <= set(PARTS) else []


def categories(root: Path) -> list[str]:
    return [] if mvtec.claims(root) else [path.name for path in folders(root) if _parts(path)]


def matches(root: Path) -> bool:
    return any(set(NEEDED) <= set(_parts(root / category)) for category in categories(root))


def read(root: Path) -> Iterator[Sample]:
    for category in categories(root):
        yield from mvtec.read_category(root / category, normal="ok")


def hint(root: Path) -> str:
    if set(NEEDED) <= set(_parts(root)):
        return f"this is one category of BTAD, try its parent folder {root.resolve().parent}"
    for category in categories(root):
        parts = _parts(root / category)
        lacks = " and ".join(f"{category}/{part}" for part in NEEDED if part not in parts)
        return f"looks like BTAD: expected {lacks}, found {', '.join(f'{category}/{part}' for part in parts)} only"
    return ""


def mask_of(sample: Sample) -> str:
    return f"{sample.image.parents[2] / 'ground_truth' / 'ko' / sample.image.stem}.png"


READER = replace(
    mvtec.READER, matches=matches, read=read, looked_for="<category>/train/ok/* and <category>/test/{ok,ko}/*",
    hint=hint, categories=categories, mask_of=mask_of, normals="{category}/{split}/ok",
)  # fmt: skip
