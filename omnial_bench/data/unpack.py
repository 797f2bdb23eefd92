"""Archives of which nothing is believed: zip and tar files unpacked aside and moved into place whole. No torch here."""

import bz2
import errno
import glob
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from omnial_bench.errors import UserError
from omnial_bench.io import whole as files

Tell = Callable[[int, int, str], None]
"""Told of progress: bytes done, bytes in all, and what is done."""

CHUNK = 1 << 20
HEADERS = 1 << 16
"""Most bytes that a tar file may spend on the headers of one member: long names are kilobytes, bombs are not."""
MEMBERS = 100_000
DEPTH = 32

_DRIVE = re.compile(r"[A-Za-z]:")
_OPENERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
# What the readers are known to raise on damaged files, next to an OSError of no number or for a place that cannot be.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, gzip.BadGzipFile, struct.error, EOFError,
    ValueError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    """A file or, where `read` is None, a folder; `read` gives its next bytes, at most so many."""

    name: str
    size: int
    read: Callable[[int], bytes] | None


def unpack(
    archive: Path, folder: Path, *, most_bytes: int, most_members: int = MEMBERS, tell: Tell | None = None
) -> None:
    """Unpack a zip or tar file (plain, gzip, bzip2 or xz) into `folder`, which is made and appears whole or not at all.

    Files get the user's own permissions, whatever the archive says. UserError, one line, for a folder that is not
    empty, a file that is no archive or is damaged, a member that lies outside the folder or is neither file nor
    folder (links, devices, pipes), two members of one name, and more than `most_bytes` or `most_members`, as declared
    or as they come.
    """
    with whole_folder(folder) as aside:
        fill(archive, aside, most_bytes=most_bytes, most_members=most_members, tell=tell)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to fill; it is synced and renamed onto `path` when the block ends well, else removed.

    UserError where `path` is there already and is not an empty folder.
    """
    check_empty(path)
    files.make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.mkdir()
        yield aside
        # All at the end and many at a time: the disk is waited for once for many files, not once a file.
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(_sync, [*aside.rglob("*"), aside]))
        aside.replace(path)
        _sync(path.parent)
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


def fill(
    archive: Path, folder: Path, *, most_bytes: int, most_members: int = MEMBERS, tell: Tell | None = None
) -> None:
    """As `unpack`, into an empty folder that is there: what was written stays in it when it fails."""
    count = folders = written = 0
    try:
        with _members(archive, tell) as members:
            for count, member in enumerate(members, start=1):
                if count > most_members:
                    raise _refused(archive, f"it holds more than {most_members:,} members")
                name = inside(member.name)
                if name is None or (member.read is not None and not name.parts):
                    raise _refused(archive, f"its member {_short(member.name)} is no plain path inside the folder")
                if member.size < 0 or written + member.size > most_bytes:
                    raise _refused(archive, f"it declares more than {most_bytes:,} bytes, at {_short(member.name)}")
                home = name if member.read is None else name.parent
                if not folder.joinpath(*home.parts).is_dir():
                    folders += len(home.parts)
                    if folders > most_members:
                        raise _refused(archive, f"it holds more than {most_members:,} folders")
                    _make(archive, home, folder)
                if member.read is not None:
                    written += _write(archive, name, folder.joinpath(*name.parts), member.size, member.read)
    except _DAMAGE as error:
        raise _damaged(archive, " ".join(str(error).split()) or type(error).__name__) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(archive, str(error)) from error
    if count == 0:
        raise _damaged(archive, "it holds nothing")


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


def _make(archive: Path, name: PurePosixPath, folder: Path) -> None:
    try:
        folder.joinpath(*name.parts).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(archive, f"{_short(str(name))} is both a file and a folder in it") from error


def _write(archive: Path, name: PurePosixPath, target: Path, size: int, read: Callable[[int], bytes]) -> int:
    """Write one file and give its length, which must be the declared one."""
    try:
        file = target.open("xb")
    except (FileExistsError, IsADirectoryError) as error:
        # Also where the file system takes two names for one.
        raise _refused(archive, f"two of its members have the name {_short(str(name))}") from error
    length = 0
    with file:
        while block := read(CHUNK):
            length += len(block)
            if length > size:
                raise _refused(archive, f"its member {_short(str(name))} is longer than the {size:,} bytes declared")
            file.write(block)
    if length != size:
        raise _damaged(archive, f"{_short(str(name))} ends after {length:,} of {size:,} bytes")
    return length


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}...")


def _refused(archive: Path, why: str) -> UserError:
    return UserError(f"{archive} is not unpacked: {why}; expected plain files in folders, fetch the published archive")


def _damaged(archive: Path, why: str) -> UserError:
    return UserError(f"cannot unpack {archive}: it is damaged ({why}); fetch it again")


@contextmanager
def _members(archive: Path, tell: Tell | None) -> Iterator[Iterator[_Member]]:
    if not archive.is_file():
        raise UserError(f"no archive at {archive}: expected a zip or tar file; check the path")
    with archive.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            with zipfile.ZipFile(file) as zipped:
                yield _in_zip(archive, zipped, tell)
            return
        opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
        metered = _Metered(archive, file if opener is None else opener(file))
        try:
            # Read as a stream, forwards only: no header can send the reader back and round in a circle.
            tarred = tarfile.open(fileobj=metered, mode="r|")  # type: ignore[call-overload]  # noqa: SIM115
        except tarfile.ReadError as error:
            raise UserError(f"{archive} is neither a zip nor a tar file ({error}); fetch the archive again") from error
        with tarred:
            yield _in_tar(archive, tarred, metered, file, tell)


class _Metered:
    """A stream that gives no more than was allowed since it was last asked: a reader's appetite is not believed."""

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self.archive, self.stream = archive, stream
        self.taken = 0
        self.last = self.before = b""
        self.allow(0)

    def allow(self, data: int) -> None:
        self.limit = self.taken + data + HEADERS

    def read(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.taken += len(block)
        if self.taken > self.limit:
            raise _refused(self.archive, f"one of its members has headers of more than {HEADERS:,} bytes")
        self.before, self.last = self.last, block
        return block

    def block(self, offset: int) -> bytes:
        """The tar block at an offset that was read a moment ago."""
        window = self.before + self.last
        return window[offset - self.taken + len(window) :][: tarfile.BLOCKSIZE]


def _in_tar(
    archive: Path, tarred: tarfile.TarFile, metered: _Metered, file: IO[bytes], tell: Tell | None
) -> Iterator[_Member]:
    total = archive.stat().st_size
    while (info := tarred.next()) is not None:
        # What the reader remembers of past members is of no use here, and grows.
        tarred.members = []  # type: ignore[attr-defined]
        if info.isdir():
            yield _Member(info.name, 0, None)
        elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse():
            yield _Member(info.name, info.size, _reader(tarred, info, metered))
        else:
            raise _refused(archive, f"its member {_short(info.name)} is neither a file nor a folder")
        metered.allow(0)
        if tell is not None:
            tell(file.tell(), total, "unpacking")
    # The reader takes a header that it cannot read, or none at all, for the end.
    if metered.block(tarred.offset) != bytes(tarfile.BLOCKSIZE):
        raise _damaged(archive, "it ends without the mark of its end")


def _reader(tarred: tarfile.TarFile, info: tarfile.TarInfo, metered: _Metered) -> Callable[[int], bytes]:
    content = tarred.extractfile(info)

    def read(most: int) -> bytes:
        metered.allow(most)
        return content.read(most) if content is not None else b""

    return read


def _in_zip(archive: Path, zipped: zipfile.ZipFile, tell: Tell | None) -> Iterator[_Member]:
    infos = zipped.infolist()
    total, done = sum(info.compress_size for info in infos), 0
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, f"its member {_short(info.orig_filename)} is neither a file nor a folder")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(archive, f"its member {_short(info.orig_filename)} is encrypted or packed in another way")
        if info.is_dir():
            yield _Member(info.orig_filename, 0, None)
        else:
            with zipped.open(info) as content:
                yield _Member(info.orig_filename, info.file_size, content.read)
        done += info.compress_size
        if tell is not None:
            tell(done, total, "unpacking")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
