"""What killed processes leave beside the files that they were writing, removed before and after work in a folder."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omnial_bench.io.links import entries_of, is_link
from omnial_bench.io.lock import abandoned, occupied, wait_until_left

PATIENCE = 10.0
"""Seconds that workers are waited for whose end nobody can see: those of a machine that a cluster lost."""
_LEFT_OVER = re.compile(r"\..+\.[0-9a-f]{8}\.(part|old)")
"""What `io.whole.beside` names."""


@contextmanager
def swept(*folders: Path, deep: bool = True, workers: Path | None = None) -> Iterator[None]:
    """Have nothing of killed processes in `folders` at the beginning, nor at the end, however that comes.

    For one who is alone there, with workers of his own: they share the folder `workers`, and are waited for.
    """

    def clean() -> None:
        if workers is not None:
            wait_until_left(workers, PATIENCE)
        for folder in folders:
            sweep(folder, deep=deep)

    clean()
    try:
        yield
    finally:
        clean()


def sweep(folder: Path, *, deep: bool = True, spared: float = 0.0) -> None:
    """Remove what killed processes left in `folder`, at any depth or at the top alone; for one who is alone in it.

    With `spared` for anyone: where somebody else is at work there, what was touched in the last so many seconds stays.
    Links are not followed, and nothing is touched below a folder in which somebody else is at work.
    """
    pending = [folder]
    while pending:
        # What cannot be looked at or removed is in nobody's way.
        with suppress(OSError):
            entries = entries_of(pending.pop())
            # Asked after the look: who comes later writes under a name that was not seen.
            older_than = 0.0 if not spared or abandoned(folder) else spared
            for entry in entries:
                path = Path(entry.path)
                inner = entry.is_dir(follow_symlinks=False) and not is_link(entry)
                if inner and occupied(path):
                    continue
                if _LEFT_OVER.fullmatch(entry.name):
                    # Another process may have removed it by now.
                    with suppress(OSError):
                        if older_than and time.time() - path.lstat().st_mtime < older_than:
                            continue
                        if inner:
                            shutil.rmtree(path, ignore_errors=True)
                        else:
                            path.unlink()
                elif inner and deep:
                    pending.append(path)
