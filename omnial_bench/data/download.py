"""Published archives fetched with pooch, gone on with where they were cut off, checked and put in place. No torch here.

pooch checks the hash before the file takes its name, and cannot resume; `Resuming` is the downloader that can.
"""

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pooch  # type: ignore[import-untyped]

from omnial_bench.data import unpack, visa
from omnial_bench.data.catalog import Archive
from omnial_bench.data.resuming import WAITS, Resuming, check_address
from omnial_bench.data.unpack import Tell
from omnial_bench.errors import UserError
from omnial_bench.io import whole as files

log = logging.getLogger(__name__)

RECORD = ".download.json"
"""Lies in a folder that was obtained here, and says from which archive."""
GROWTH = 4
"""An archive of pictures, which are compressed already, unpacks to less than this many times its size."""


def obtain(
    archive: Archive, folder: Path, *, url: str | None = None, waits: Sequence[float] = WAITS, tell: Tell | None = None
) -> bool:
    """Fetch an archive into the parent of `folder`, check it, and unpack it to `folder`; False where that was done.

    The archive stays beside the folder; one that lies there already is checked and used. `url` is another place of the
    same file. UserError, one line, where it cannot be had or is not the published one, where `folder` holds anything
    else, where the disk is too small, and where another process is at it.
    """
    folder = folder.resolve()
    if _is_done(archive, folder):
        return False
    unpack.check_empty(folder)
    files.make_folder(folder.parent)
    with _alone(folder.parent / f".{archive.file}.lock"):
        unpack.sweep(folder)
        if _is_done(archive, folder):
            return False
        file = fetch(archive, folder.parent, url=url, waits=waits, tell=tell)
        with unpack.whole_folder(folder) as aside:
            _fill(archive, file, aside, tell)
            files.write_json(aside / RECORD, asdict(archive))
    return True


def fetch(
    archive: Archive, folder: Path, *, url: str | None = None, waits: Sequence[float] = WAITS, tell: Tell | None = None
) -> Path:
    """The archive's file in `folder`, checked by its hash; what is there of it is not fetched again.

    For one process at a time. A file of its name with another hash is set aside as `<file>.damaged`. UserErrors as for
    `obtain`.
    """
    path = folder.resolve() / archive.file
    address = archive.url if url is None else url
    check_address(address)
    if path.is_file():
        if _matches(path, archive, tell):
            return path
        log.warning("%s is not the published archive; it is set aside as %s.damaged", path, path.name)
        path.replace(path.with_name(f"{path.name}.damaged"))
    # A folder of its own: what a killed process left in it can only be the beginning of this file.
    incoming = files.make_folder(path.with_name(f".{path.name}.incoming"))
    part = incoming / f"{path.name}.part"
    left = sorted(incoming.iterdir(), key=lambda file: file.stat().st_size)
    for file in left:
        file.replace(part)
    # What pooch would say is said by the command line, where there is someone to hear it.
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = Resuming(part=part, archive=archive, by_hand=_by_hand(archive, path), waits=waits, tell=tell)
    try:
        pooch.retrieve(address, known_hash=archive.digest, fname=path.name, path=incoming, downloader=downloader)
    except ValueError as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"what came from {address} has not the published hash {archive.digest} and was thrown away; "
            f"give the same command again, or {_by_hand(archive, path)}"
        ) from error
    if tell is not None:
        tell(archive.size, archive.size, "checking")
    (incoming / path.name).replace(path)
    shutil.rmtree(incoming)
    return path


def _by_hand(archive: Archive, path: Path) -> str:
    return f"put {archive.file} from its home page at {path}"


def _matches(path: Path, archive: Archive, tell: Tell | None) -> bool:
    if path.stat().st_size != archive.size:
        return False
    if tell is not None:
        tell(0, archive.size, "checking")
    algorithm, _, expected = archive.digest.partition(":")
    found: str = pooch.file_hash(str(path), alg=algorithm)
    if tell is not None:
        tell(archive.size, archive.size, "checking")
    return found == expected.lower()


def _is_done(archive: Archive, folder: Path) -> bool:
    """Whether this archive was unpacked to `folder` here: the record comes with the folder, which comes whole."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("digest") == archive.digest


def _fill(archive: Archive, file: Path, folder: Path, tell: Tell | None) -> None:
    """Unpack into `folder` what of the archive belongs there, in a layout that is read."""
    most = GROWTH * archive.size
    if not archive.top and not archive.split:
        unpack.fill(file, folder, most_bytes=most, tell=tell)
        return
    raw = folder / ".raw"
    raw.mkdir()
    unpack.fill(file, raw, most_bytes=most, tell=tell)
    top = raw / archive.top
    if not top.is_dir():
        raise UserError(f"{file} has no folder {archive.top!r} in it; fetch the published archive")
    if archive.split:
        visa.one_class(top, folder, split=archive.split)
    else:
        for path in top.iterdir():
            path.rename(folder / path.name)
    shutil.rmtree(raw)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep other processes out; the system lets go of the lock when this one ends, however it ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is fetching into {lock.parent}; wait for it, or end it") from error
        yield
