"""Published archives fetched with pooch, checked by their hash, unpacked and put in place whole. No torch here."""

import json
import logging
import shutil
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pooch  # type: ignore[import-untyped]
import requests  # type: ignore[import-untyped]

from omnial_bench.data import unpack
from omnial_bench.data.catalog import Archive
from omnial_bench.data.readers import visa
from omnial_bench.data.unpack import Tell, unheard
from omnial_bench.errors import UserError, line_of
from omnial_bench.io import whole as files
from omnial_bench.io.lock import taken

log = logging.getLogger(__name__)

RECORD = ".download.json"
"""Lies in a folder that was obtained here, and says from which archive."""
GROWTH = 4
"""An archive of images, which are compressed already, unpacks to less than this many times its size."""
CHUNK = 1 << 18
TIMEOUT = 30.0
RETRIES = 4
"""New attempts, seconds apart, before pooch gives up; they are counted anew where they brought `PROGRESS` bytes."""
PROGRESS = 1 << 20


def obtain(archive: Archive, folder: Path, *, url: str | None = None, tell: Tell = unheard) -> bool:
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
    busy = UserError(f"another process is fetching into {folder.parent}; wait for it, or end it")
    with taken(folder.parent / f".{archive.file}.lock", busy=lambda: busy):
        unpack.sweep(folder)
        if _is_done(archive, folder):
            return False
        file = fetch(archive, folder.parent, url=url, tell=tell)
        with unpack.whole_folder(folder) as aside:
            raw = files.make_folder(aside / ".raw")
            unpack.unpack(file, raw, most_bytes=GROWTH * archive.size, tell=tell)
            top = raw / archive.top
            if not top.is_dir():
                raise UserError(f"{file} has no folder {archive.top!r} in it; fetch the published archive")
            if archive.split:
                visa.one_class(top, aside)
            else:
                for path in top.iterdir():
                    path.rename(aside / path.name)
            shutil.rmtree(raw)
            files.write_json(aside / RECORD, asdict(archive))
    return True


def fetch(archive: Archive, folder: Path, *, url: str | None = None, tell: Tell = unheard) -> Path:
    """The archive's file in `folder`, checked by its hash; what is there of it is not fetched again.

    For one process at a time. A file of its name with another hash is set aside as `<file>.damaged`. UserErrors as for
    `obtain`.
    """
    path, address = folder.resolve() / archive.file, archive.url if url is None else url
    if not address.startswith(("https://", "http://")):
        raise UserError(f"cannot fetch {address[:200]!r}: expected an address that begins with https:// or http://")
    if path.is_file():
        tell(0, archive.size, "checking")
        if path.stat().st_size == archive.size and f"sha256:{files.sha256(path)}" == archive.digest:
            return path
        log.warning("%s is not the published archive; it is set aside as %s", path, files.set_aside(path).name)
    # A folder of its own: what a killed process left in it can only be the beginning of this file.
    incoming = files.make_folder(path.with_name(f".{path.name}.incoming"))
    part = incoming / f"{path.name}.part"
    for left in sorted(incoming.iterdir(), key=lambda file: file.stat().st_size):
        left.replace(part)
    free, need = shutil.disk_usage(incoming).free, 2 * archive.size - _length(part)
    if free < need:
        raise UserError(
            f"{folder} has {free:,} bytes free; expected at least {need:,} for {archive.file} and what is in it; "
            "make room or choose another folder"
        )
    # What pooch would say is said by the command line, where there is someone to hear it.
    pooch.get_logger().setLevel(logging.WARNING)
    known, urls = {path.name: archive.digest}, {path.name: address}
    pup = pooch.create(incoming, "", registry=known, urls=urls, retry_if_failed=RETRIES)
    reason, before = "", -PROGRESS
    try:
        while not (incoming / path.name).is_file():
            downloader = _Resuming(part, archive, f"put {archive.file} from its home page at {path}", tell)
            if _length(part) - before < PROGRESS:
                raise UserError(
                    f"cannot fetch {address}: {reason}, {_length(part):,} of {archive.size:,} bytes came; "
                    f"give the same command again to go on from there, or {downloader.by_hand}"
                )
            before = _length(part)
            try:
                pup.fetch(path.name, downloader=downloader)
            except (requests.RequestException, ValueError) as error:
                if downloader.delivered:
                    raise downloader.other_hash(address) from error
                reason = line_of(error)
        tell(archive.size, archive.size, "checking")
        (incoming / path.name).replace(path)
    finally:
        if path.is_file() or not _length(part):
            shutil.rmtree(incoming)
    return path


class _Resuming:
    """A downloader as pooch takes them: keeps what came in `part`, and asks for the rest of it only."""

    def __init__(self, part: Path, archive: Archive, by_hand: str, tell: Tell) -> None:
        self.part, self.archive, self.by_hand, self.tell = part, archive, by_hand, tell
        self.delivered, self.answers = False, ExitStack()

    def __call__(self, url: str, output_file: str, pup: Any) -> None:
        """Fetch `url` and give its file the name `output_file`; the part stays until the hash is known."""
        if self.delivered:
            raise self.other_hash(url)
        self.url, size = url, self.archive.size
        with self.part.open("ab") as self.file, self.answers:
            if self.file.tell() > size:
                self.file.truncate(0)
            self.have = _length(self.part)
            if self.have < size:
                headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={self.have}-"} if self.have else {})
                how = {"headers": headers, "timeout": TIMEOUT, "hooks": {"response": self._begin}}
                try:
                    pooch.HTTPDownloader(chunk_size=CHUNK, **how)(url, self, pup)
                except requests.packages.urllib3.exceptions.HTTPError as error:
                    # What breaks TLS in the middle is passed on as it comes.
                    raise requests.ConnectionError(str(error)) from error
        if self.have < size:
            raise requests.ConnectionError("the connection was cut off")
        self.tell(0, size, "checking")
        self.delivered = True
        try:
            # Whoever interrupts the check loses the second name only.
            Path(output_file).unlink()
            Path(output_file).hardlink_to(self.part)
        except OSError:
            self.part.replace(output_file)

    def other_hash(self, url: str) -> UserError:
        """The error for a file of another hash, which goes; a download of gigabytes is not begun again at once."""
        self.part.unlink(missing_ok=True)
        return UserError(
            f"what came from {url} has not the published hash {self.archive.digest} and was thrown away; "
            f"give the same command again, or {self.by_hand}"
        )

    def write(self, block: bytes) -> None:
        """What `HTTPDownloader` writes to; no more than the published size is taken."""
        self.have += len(block)
        if self.have > self.archive.size:
            self.file.truncate(0)
            raise self._refused(f"has more than {self.archive.size:,} bytes")
        self.file.write(block)
        self.tell(self.have, self.archive.size, "fetching")

    def flush(self) -> None:
        self.file.flush()

    def _begin(self, response: Any, **_: Any) -> None:
        """Write from here on, before the content of an answer comes, or say why not: pooch asks again after errors of
        the connection, and after no others."""
        self.answers.callback(response.close)
        status, headers = response.status_code, response.headers
        said, start = f"the server answered {status} {response.reason}", self.have if status == 206 else 0
        if status in (301, 302, 303, 307, 308) and "Location" in headers:
            return
        if status == 416 or (status == 206 and not headers.get("Content-Range", "").startswith(f"bytes {start}-")):
            # From the beginning, then, and without asking for a part.
            self.file.truncate(0)
            raise requests.ConnectionError(f"{said} with something else than the part it was asked for")
        if status in (204, 408, 425, 429) or status >= 500:
            raise requests.ConnectionError(said)
        if status not in (200, 206):
            raise self._refused(f"cannot be fetched, {said}")
        if "html" in headers.get("Content-Type", ""):
            raise self._refused("is a web page")
        if (length := headers.get("Content-Length", "")) not in ("", str(self.archive.size - start)):
            raise self._refused(f"has {length[:20]} bytes after the first {start:,}")
        self.have = start
        self.file.truncate(start)

    def _refused(self, why: str) -> UserError:
        return UserError(
            f"{self.url} {why}, expected the {self.archive.size:,} bytes of {self.archive.file}; "
            f"give another place with --url, or {self.by_hand}"
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_done(archive: Archive, folder: Path) -> bool:
    """Whether this archive was unpacked to `folder` here: the record comes with the folder, which comes whole."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("digest") == archive.digest
