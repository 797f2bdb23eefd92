"""A downloader for pooch that goes on where the last attempt was cut off, and believes no server. No torch here."""

import http.client
import logging
import os
import re
import shutil
import string
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib import error as urlerror
from urllib import request
from urllib.parse import quote, urljoin, urlsplit

from omnial_bench.data.catalog import Archive
from omnial_bench.data.unpack import Tell
from omnial_bench.errors import UserError

log = logging.getLogger(__name__)

CHUNK = 1 << 18
TIMEOUT = 30.0
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each new attempt; those attempts count that brought less than `PROGRESS` bytes."""
PROGRESS = 1 << 20
REDIRECTIONS = 10


class Resuming:
    """A downloader as pooch takes them: keeps what came in `part`, and asks for the rest of it only.

    Goes on where the server answers 206 with the range asked for and starts over at 200; follows redirections to
    http and https only; tries again after each of `waits` (seconds) where the connection broke, the server was busy,
    or less came than was promised. UserError for any other answer, a web page, and a file of another length.
    """

    def __init__(
        self, *, part: Path, archive: Archive, by_hand: str, waits: Sequence[float] = WAITS, tell: Tell | None = None
    ) -> None:
        self.part, self.archive, self.by_hand, self.waits, self.tell = part, archive, by_hand, waits, tell
        # Neither files nor FTP, and redirections are followed here.
        self.opener = request.OpenerDirector()
        for handler in (
            request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(), request.HTTPDefaultErrorHandler(),
            request.HTTPErrorProcessor(),
        ):  # fmt: skip
            self.opener.add_handler(handler)

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:  # noqa: ARG002
        """Fetch `url` and give its file the name `output_file`, synced; the part stays until the hash is known."""
        if self._have() > self.archive.size:
            self.part.unlink()
        self._check_room()
        failures, best = 0, self._have()
        while (have := self._have()) < self.archive.size:
            try:
                self._attempt(url, have)
            except _Broken as broken:
                failures += 1
                if self._have() - best >= PROGRESS:
                    failures, best = 1, self._have()
                if failures > len(self.waits):
                    raise UserError(
                        f"cannot fetch {url}: {broken}, {self._have():,} of {self.archive.size:,} bytes came; "
                        f"give the same command again to go on from there, or {self.by_hand}"
                    ) from broken
                log.info("%s; trying again", broken)
                time.sleep(self.waits[failures - 1])
        if self.tell is not None:
            self.tell(0, self.archive.size, "checking")
        Path(output_file).unlink(missing_ok=True)
        try:
            # Whoever interrupts the check loses the second name only.
            Path(output_file).hardlink_to(self.part)
        except OSError:
            self.part.replace(output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _check_room(self) -> None:
        need = 2 * self.archive.size - self._have()
        free = shutil.disk_usage(self.part.parent).free
        if free < need:
            raise UserError(
                f"{self.part.parent.parent} has {free:,} bytes free; expected at least {need:,} for "
                f"{self.archive.file} and what is in it; make room or choose another folder"
            )

    def _attempt(self, url: str, have: int) -> None:
        """One request from byte `have` on, written to the part; _Broken where another attempt may do better."""
        try:
            response = self._open(url, have)
        except urlerror.HTTPError as error:
            error.close()
            if error.code == 416:
                self.part.unlink(missing_ok=True)
            if error.code in (408, 416, 425, 429) or error.code >= 500:
                raise _Broken(f"the server answered {error.code} {error.reason}") from error
            raise UserError(
                f"cannot fetch {url}: the server answered {error.code} {error.reason}; {self._else}"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Broken(_reason(error)) from error
        with response:
            start = self._start(response, have)
            first = _next(response)
            if not first:
                raise _Broken("the connection was cut off")
            if _is_page(response, first):
                raise UserError(f"{url} is a web page, not {self.archive.file}; {self._else}")
            self._check_length(url, response, start)
            self._write(url, response, start, first)

    @property
    def _else(self) -> str:
        return f"give another place with --url, or {self.by_hand}"

    def _open(self, url: str, have: int) -> Any:
        headers = {"User-Agent": "omnial-bench", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        target = url
        for _ in range(REDIRECTIONS):
            try:
                return self.opener.open(request.Request(target, headers=headers), timeout=TIMEOUT)
            except urlerror.HTTPError as error:
                place = error.headers.get("Location", "")
                if error.code not in (301, 302, 303, 307, 308) or not place:
                    raise
                error.close()
                target = _next_address(target, place)
        raise UserError(f"cannot fetch {url}: more than {REDIRECTIONS} redirections; {self._else}")

    def _start(self, response: Any, have: int) -> int:
        """Where in the file the answer begins."""
        if response.status == 200:
            return 0
        told = response.headers.get("Content-Range", "").strip()
        found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", told)
        if response.status == 206 and found and int(found[1]) == have and found[3] in ("*", str(self.archive.size)):
            return have
        if response.status == 206:
            # From the beginning, then, and without asking for a part.
            self.part.unlink(missing_ok=True)
        raise _Broken(f"the server answered {response.status} with something else than the part it was asked for")

    def _check_length(self, url: str, response: Any, start: int) -> None:
        promised = response.headers.get("Content-Length", "")
        if re.fullmatch(r"\d{1,18}", promised) and start + int(promised) != self.archive.size:
            raise self._other_length(url, f"{start + int(promised):,}")

    def _other_length(self, url: str, length: str) -> UserError:
        return UserError(
            f"{url} has {length} bytes, expected the {self.archive.size:,} of {self.archive.file}; {self._else}"
        )

    def _write(self, url: str, response: Any, start: int, block: bytes) -> None:
        length, promised = start, "Content-Length" in response.headers
        with self.part.open("r+b" if self.part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            try:
                while block:
                    length += len(block)
                    if length > self.archive.size:
                        self.part.unlink()
                        raise self._other_length(url, f"more than {self.archive.size:,}")
                    file.write(block)
                    if self.tell is not None:
                        self.tell(length, self.archive.size, "fetching")
                    # A promise that was kept; the connection may stay open.
                    block = b"" if promised and length == self.archive.size else _next(response)
            finally:
                _to_disk(file)
        if length < self.archive.size:
            raise _Broken("the connection was cut off")


class _Broken(Exception):
    """An attempt failed in a way that another may not."""


def check_address(url: str) -> None:
    """UserError for an address that is not fetched from: this machine's files among them."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii() and url.isprintable()
    except ValueError:
        good = False
    if not good:
        raise UserError(f"cannot fetch {url[:200]!r}: expected an address that begins with https:// or http://")


def _next_address(address: str, place: str) -> str:
    """Where a redirection from `address` leads; UserError where that is not the web."""
    # Header bytes are read as Latin-1; what is no part of an address is quoted back.
    place = quote(place, safe=string.punctuation, encoding="latin-1")
    try:
        target = urljoin(address, place)
    except ValueError:
        target = place
    check_address(target)
    return target


def _next(response: Any) -> bytes:
    try:
        # What is there, without waiting for more: nothing that came is lost when nothing more does.
        block: bytes = response.read1(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_reason(error)) from error
    return block


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urlerror.URLError) else error
    return " ".join(str(inner).split()) or type(inner).__name__


def _is_page(response: Any, first: bytes) -> bool:
    head = first[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return response.headers.get_content_type() in ("text/html", "application/xhtml+xml") or head.startswith(
        (b"<!doctype html", b"<html", b"<head", b"<?xml")
    )


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
