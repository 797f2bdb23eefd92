"""What lies in the cache of decoded images: shown, and emptied."""

import re
from collections import Counter
from dataclasses import dataclass

from omnial_bench.data.cache import cache_folder, sweep_cache

NAME = re.compile(r"(?P<what>.+)-[0-9a-f]{24}\.(safetensors|json)(\.damaged.*)?")
"""What the cache calls its files; whatever else lies in its folder is not its own."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The files of one kind, such as `bottle-test-256x256`."""

    what: str
    files: int
    size: int
    """In bytes."""


def contents() -> list[Kept]:
    """What the cache holds, the largest first."""
    files, sizes = Counter[str](), Counter[str]()
    for what, size in _files().values():
        files[what] += 1
        sizes[what] += size
    kinds = [Kept(what=what, files=files[what], size=size) for what, size in sizes.items()]
    return sorted(kinds, key=lambda kind: (-kind.size, kind.what))


def empty() -> tuple[int, int]:
    """Remove all files of the cache, and what killed processes left there; how many files, and their bytes. A run that
    reads one of them goes on, and makes it again when it is wanted next."""
    folder, files = cache_folder(), _files()
    for name in files:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        sweep_cache()
    return len(files), sum(size for _, size in files.values())


def _files() -> dict[str, tuple[str, int]]:
    """Kind and bytes of each file, by its name."""
    folder = cache_folder()
    paths = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    named = ((path, NAME.fullmatch(path.name)) for path in paths)
    return {path.name: (match["what"], path.stat().st_size) for path, match in named if match is not None}
