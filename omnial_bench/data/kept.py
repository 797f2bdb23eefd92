"""What lies in the cache of decoded images: shown, and emptied."""

import re
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
    kinds: dict[str, tuple[int, int]] = {}
    for match, size in _files().values():
        files, total = kinds.get(match, (0, 0))
        kinds[match] = files + 1, total + size
    kept = [Kept(what=what, files=files, size=size) for what, (files, size) in kinds.items()]
    return sorted(kept, key=lambda one: (-one.size, one.what))


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
