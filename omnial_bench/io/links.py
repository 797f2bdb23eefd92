"""No link inside a run folder: through one, what is written or swept there would be elsewhere. No torch here."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from omnial_bench.errors import UserError


def check_links(folder: Path, names: Collection[str] | None = None) -> None:
    """UserError where anything below `folder` is a link, dangling ones too; the folder itself may be one.

    With `names` only these entries of the folder and what lies below them: all else there is the user's.
    """
    pending = [entry for entry in entries_of(folder) if names is None or entry.name in names][::-1]
    while pending:
        entry = pending.pop()
        if is_link(entry):
            raise UserError(
                f"expected no links inside {folder}, got {entry.path}; put what it leads to in its place, or remove it"
            )
        if entry.is_dir(follow_symlinks=False):
            pending += entries_of(Path(entry.path))[::-1]


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where it is not there, or no folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_link(entry: os.DirEntry[str]) -> bool:
    """Whether an entry leads elsewhere: a symbolic link, or a junction of Windows."""
    return entry.is_symlink() or (sys.version_info >= (3, 12) and entry.is_junction())
