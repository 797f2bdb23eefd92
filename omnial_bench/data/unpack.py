"""Tar files unpacked aside, through `tarfile`'s filter for data, and moved into place whole. No torch here."""

import errno
import glob
import lzma
import os
import re
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from omnial_bench.errors import UserError, line_of
from omnial_bench.io import whole as files

Tell = Callable[[int, int, str], None]
"""Told of progress: bytes done, bytes in all, and what is done."""


def unheard(*_: object) -> None:
    """For whom nobody tells."""


MEMBERS = 100_000
DEPTH = 32
_DRIVE = re.compile(r"[A-Za-z]:")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to fill; it is synced and renamed onto `path` when the block ends well, else removed.

    UserError where `path` is there already and is not an empty folder.
    """
    check_empty(path)
    files.make_folder(path.parent)
    aside = files.beside(path, "part")
    try:
        aside.mkdir()
        yield aside
        files.sync_tree(aside)
        if path.is_dir():
            # Windows renames no folder onto another one.
            path.rmdir()
        aside.replace(path)
        files.sync_folder(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove what a killed `whole_folder` left beside `path`; for a caller who knows that none is at work there."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        shutil.rmtree(left, ignore_errors=True)


def check_empty(path: Path) -> None:
    """UserError where there is something at `path` already that is not an empty folder."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UserError(f"{path} is not a folder: expected an empty or a new one; choose another")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path} is not empty and nothing in it is overwritten; choose another folder")


def unpack(archive: Path, folder: Path, *, most_bytes: int, most_members: int = MEMBERS, tell: Tell = unheard) -> None:
    """Unpack a tar file (plain, gzip, bzip2 or xz) into an empty folder that is there; what was written stays in it
    when it fails.

    Files get the user's own permissions, whatever the archive says. UserError, one line, for a file that is no tar file
    or is damaged, a member that lies outside the folder or is neither file nor folder (links, devices, pipes), two
    members of one name, and more than `most_bytes` or `most_members`.
    """
    if sys.version_info[:3] < (3, 11, 4):
        raise UserError(f"expected Python 3.11.4 or later to unpack {archive}; update Python, or unpack it yourself")
    total, members, size = archive.stat().st_size, 0, 0

    def plain(member: tarfile.TarInfo, to: str) -> tarfile.TarInfo:
        nonlocal members, size
        members, size = members + 1, size + member.size
        if inside(member.name) is None:
            raise _refused(archive, f"its member {member.name[:200]!r} is no plain path inside the folder")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
            raise _refused(archive, f"its member {member.name[:200]!r} is neither a file nor a folder")
        if members > most_members or member.size < 0 or size > most_bytes:
            raise _refused(archive, f"it holds more than {most_bytes:,} bytes or {most_members:,} members")
        # Also where the file system takes two names for one.
        if not member.isdir() and os.path.lexists(Path(to, member.name)):
            raise _refused(archive, f"two of its members have the name {member.name[:200]!r}")
        tell(min(file.tell(), total), total, "unpacking")
        return tarfile.data_filter(member, to).replace(mode=None, deep=False)  # type: ignore[arg-type]

    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
            tar.extractall(folder, filter=plain)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(archive, f"a name is both a file and a folder in it, {error.filename}") from error
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, OSError) as error:
        # Readers of compressed files raise an OSError of no number, or for a place that cannot be.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        why = line_of(error)[:200]
        raise UserError(f"cannot unpack {archive}: it is no tar file or damaged ({why}); fetch it again") from error
    if members == 0:
        raise UserError(f"cannot unpack {archive}: it holds nothing; fetch it again")
    tell(total, total, "unpacking")


def inside(name: str) -> PurePosixPath | None:
    """A path that stays inside its folder on every system, without `.` parts; None for any other."""
    if not name or name.startswith("/") or "\\" in name or "\0" in name:
        return None
    parts = PurePosixPath(name).parts
    try:
        longest = max((len(os.fsencode(part)) for part in parts), default=0)
    except UnicodeError:
        # Half a character: no file is called that.
        return None
    if len(parts) > DEPTH or longest > 255 or any(part == ".." or _DRIVE.match(part) for part in parts):
        return None
    return PurePosixPath(*parts)


def _refused(archive: Path, why: str) -> UserError:
    return UserError(f"{archive} is not unpacked: {why}; expected plain files in folders, fetch the published archive")
