import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import requests
from click.testing import CliRunner, Result
from conftest import contents, pack
from PIL import Image

from omnial_bench.cli.data import data
from omnial_bench.data import catalog, download
from omnial_bench.data.catalog import CATALOG, TEXTURES, Archive, obtainable
from omnial_bench.data.download import fetch, obtain
from omnial_bench.data.verify import verify
from omnial_bench.errors import UserError

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server:
    """A server on the loopback address: each request is answered by the next of `answers`, the last one for good."""

    archive: Archive

    def __init__(self) -> None:
        self.content, self.answers, self.ranges = b"", [whole], list[str | None]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range"))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self, outer.content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/file.tar"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """It has a small archive of MVTec AD."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    server.archive = publish(server, MVTEC, "mvtec")
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIAL_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    # As many attempts as ever, without a wait.
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: object) -> None:
    handler.send_response(status)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        if value is not None:
            handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def cut(after: int | None) -> Answer:
    """The part asked for, or everything; but the connection ends after so many bytes."""

    def answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        body = content[start:][:after]
        send(handler, 206 if start else 200, body, Content_Length=len(content) - start, **headers)

    return answer


whole = cut(None)


def status(code: int, body: bytes = b"<html>sorry</html>") -> Answer:
    return lambda handler, _: send(handler, code, body, Content_Type="text/html")


def redirect(target: str | None, code: int = 302) -> Answer:
    return lambda handler, _: send(handler, code, b"", Location=target)


def image(seed: int, mode: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(file, mode)
    return file.getvalue()


def mask() -> bytes:
    file, levels = io.BytesIO(), np.zeros((6, 8), np.uint8)
    levels[2, 3:5] = (1, 4)
    Image.fromarray(levels).save(file, "PNG")
    return file.getvalue()


MVTEC = {
    "bottle/train/good/000.png": image(0),
    "bottle/test/good/000.png": image(1),
    "bottle/test/cut/000.png": image(2),
    "bottle/ground_truth/cut/000_mask.png": mask(),
    "license.txt": b"CC BY-NC-SA 4.0",
}
VISA = {
    "split_csv/1cls.csv": b"object,split,label,image,mask\r\n"
    b"candle,train,normal,candle/Data/Images/Normal/0000.JPG,\r\n"
    b"candle,test,normal,candle/Data/Images/Normal/0001.JPG,\r\n"
    b"candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\r\n",
    "candle/Data/Images/Normal/0000.JPG": image(0, "JPEG"),
    "candle/Data/Images/Normal/0001.JPG": image(1, "JPEG"),
    "candle/Data/Images/Anomaly/000.JPG": image(2, "JPEG"),
    "candle/Data/Masks/Anomaly/000.png": mask(),
}
DTD = {"dtd/images/banded/banded_0001.jpg": image(0, "JPEG"), "dtd/labels/train1.txt": b"banded"}


def publish(server: Server, files: dict[str, bytes], name: str) -> Archive:
    """The catalogue's archive with small content of its kind on the server."""
    server.content = pack(files)
    known = obtainable()[name].archive
    assert known is not None
    digest = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    return replace(known, file="file.tar", url=server.url, size=len(server.content), digest=digest)


def fail(archive: Archive, folder: Path, match: str) -> None:
    """It fails with one line, and neither the file nor the folder has its name."""
    with pytest.raises(UserError, match=match) as raised:
        obtain(archive, folder / "out")
    assert "\n" not in str(raised.value)
    assert not (folder / "out").exists() and not (folder / archive.file).exists()
    assert not list(folder.glob(".out.*"))


def put_part(folder: Path, content: bytes = b"") -> Path:
    """The file that an earlier command has begun, with that content."""
    part = folder / ".file.tar.incoming/file.tar.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def test_a_data_set_is_fetched_unpacked_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    assert obtain(server.archive, tmp_path / "out", tell=lambda *news: told.append(news))
    assert set(contents(tmp_path / "out")) == set(MVTEC) | {download.RECORD}
    assert list(dict.fromkeys(step for *_, step in told)) == ["fetching", "checking", "unpacking"]
    assert all(done <= total for done, total, _ in told)
    assert verify(tmp_path / "out").problems == ()
    assert {path.name for path in tmp_path.iterdir()} == {"out", "file.tar"}
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not obtain(server.archive, tmp_path / "out")
    assert len(server.ranges) == 1 and stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_visa_comes_in_its_one_class_layout(server: Server, tmp_path: Path) -> None:
    obtain(publish(server, VISA, "visa"), tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {
        "candle/train/good/0000.JPG", "candle/test/good/0001.JPG", "candle/test/bad/000.JPG",
        "candle/ground_truth/bad/000.png", "split_csv/1cls.csv", download.RECORD,
    }  # fmt: skip
    found = verify(tmp_path / "out")
    assert (found.name, found.layout, found.problems) == ("visa", "visa", ())


def test_textures_come_without_the_folder_around_them(server: Server, tmp_path: Path) -> None:
    obtain(publish(server, DTD, "dtd"), tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"images/banded/banded_0001.jpg", "labels/train1.txt", download.RECORD}
    archive = publish(server, {"else/a.jpg": b"1"}, "dtd")
    with pytest.raises(UserError, match="has no folder 'dtd' in it"):
        obtain(archive, tmp_path / "other/out")
    assert not (tmp_path / "other/out").exists()


def test_an_archive_that_lies_there_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.tar").write_bytes(server.content)
    assert obtain(server.archive, tmp_path / "out") and server.ranges == []


@pytest.mark.parametrize("longer", [b"", b"more"])
def test_a_damaged_archive_is_named_set_aside_and_fetched_again(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, longer: bytes
) -> None:
    damaged = b"?" + server.content[1:] + longer
    (tmp_path / "file.tar").write_bytes(damaged)
    obtain(server.archive, tmp_path / "out")
    assert (tmp_path / "file.tar.damaged").read_bytes() == damaged and "file.tar.damaged" in caplog.text
    assert (tmp_path / "file.tar").read_bytes() == server.content


def other_part(told: str | None) -> list[Answer]:
    """A connection that is cut off, and then what is not the part asked for."""
    return [cut(1000), lambda h, c: send(h, 206, c[1000:], Content_Range=told and told.format(len(c))), whole]


FROM_1000 = "bytes=1000-"
HARMLESS: dict[str, tuple[list[Answer], list[str | None]]] = {
    "cut off": ([cut(1000), cut(0), cut(2500), whole], [None, FROM_1000, FROM_1000, "bytes=3500-"]),
    "no ranges": ([cut(1000), lambda h, c: send(h, 200, c)], [None, FROM_1000]),
    "no length": ([lambda h, c: send(h, 200, c, Content_Length=None)], [None]),
    "an error once": ([status(503), whole], [None, None]),
    **{
        f"part {told}": (other_part(told), [None, FROM_1000, None])
        for told in ("bytes 0-9/10", "bytes 999-1999/{}", "nonsense", None)
    },
    **{
        f"redirections {code}": (
            [redirect("/a?a=1", code), redirect("/else where", code), cut(1000), redirect("/b"), whole],
            [None, None, None, FROM_1000, FROM_1000],
        )
        for code in (301, 302, 303, 307, 308)
    },
}
"""What a server may do, and the parts that it is asked for."""


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_server_may_do(server: Server, tmp_path: Path, name: str) -> None:
    server.answers, ranges = HARMLESS[name][0].copy(), HARMLESS[name][1]
    obtain(server.archive, tmp_path / "out")
    assert server.ranges == ranges
    assert (tmp_path / "file.tar").read_bytes() == server.content


PUT = "put file.tar from its home page"
REFUSED: dict[str, tuple[list[Answer], str]] = {
    "a cut at its end": ([cut(len(pack(MVTEC)) - 1), cut(0)], "the connection was cut off"),
    "a circle": ([redirect("/again")], "Exceeded 30 redirects"),
    "redirected nowhere": ([redirect(None)], "the server answered 302"),
    **{
        target: ([redirect(target)], f"cannot fetch http://127.0.0.1.* {PUT}")
        for target in ("file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a", "//[::", "mailto:a")
    },
}
"""What a server answers, the last one for good, and what is said of it."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_server_may_not_do(server: Server, tmp_path: Path, name: str) -> None:
    server.answers, match = REFUSED[name][0].copy(), REFUSED[name][1]
    fail(server.archive, tmp_path, match)


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (500, 5), (503, 5), (429, 5), (204, 5)])
def test_answers_that_are_errors(server: Server, tmp_path: Path, code: int, requests: int) -> None:
    server.answers = [status(code, b"")]
    fail(server.archive, tmp_path, f"the server answered {code}.* {PUT} at .*file.tar")
    assert len(server.ranges) == requests


@pytest.mark.parametrize(
    ("body", "kind", "match"),
    [
        (b"Please sign in", "text/html; charset=utf-8", "is a web page"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML><html>", "application/octet-stream", "has 26 bytes"),
        (b"<html lang=en>", None, "has 14 bytes"),
    ],
)
def test_a_web_page_in_place_of_an_archive(
    server: Server, tmp_path: Path, body: bytes, kind: str | None, match: str
) -> None:
    part = put_part(tmp_path, server.content[:700])
    server.answers = [lambda handler, _: send(handler, 200, body, Content_Type=kind)]
    fail(server.archive, tmp_path, f"{match}.*; give another place with --url, or put file.tar")
    assert part.stat().st_size == 700 and len(server.ranges) == 1


def test_a_stream_without_a_length_is_not_taken_beyond_the_published_one(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda h, c: send(h, 200, c + b"x" * 500_000, Content_Length=None)]
    fail(server.archive, tmp_path, "has more than .* bytes, expected the")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [-1, 1, 1 << 40])
def test_a_promised_length_that_is_not_the_published_one(server: Server, tmp_path: Path, more: int) -> None:
    server.answers = [lambda h, c: send(h, 200, c, Content_Length=server.archive.size + more)]
    fail(
        server.archive,
        tmp_path,
        rf"has {server.archive.size + more} bytes .* expected the {server.archive.size:,} bytes of file.tar",
    )
    assert len(server.ranges) == 1


def test_a_length_of_thousands_of_digits_throws_nothing_away(server: Server, tmp_path: Path) -> None:
    digits = "9" * 5000
    part = put_part(tmp_path, server.content[:1000])
    server.answers = [lambda h, c: send(h, 200, c, Content_Length=digits)]
    fail(server.archive, tmp_path, "has 99999999999999999999 bytes")
    assert part.stat().st_size == 1000
    server.answers = [lambda h, c: send(h, 206, c, Content_Range=f"bytes {digits}-{digits}/*")]
    fail(server.archive, tmp_path, "something else than the part it was asked for")


def test_the_next_command_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.answers = [cut(1000), status(503)]
    fail(server.archive, tmp_path, r"503 .* 1,000 of [\d,]+ bytes came; give the same command again to go on")
    assert server.ranges == [None] + [FROM_1000] * 4
    server.answers, server.ranges = [whole], []
    obtain(server.archive, tmp_path / "out")
    assert server.ranges == [FROM_1000] and {path.name for path in tmp_path.iterdir()} == {"out", "file.tar"}


def test_attempts_that_brought_much_do_not_count(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PROGRESS", 1000)
    server.answers = [cut(1000)]
    obtain(server.archive, tmp_path / "out")
    assert len(server.ranges) == -(-server.archive.size // 1000)


def test_an_interrupted_download_keeps_what_came(server: Server, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, step: str) -> None:  # noqa: ARG001
        if step == "checking":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(server.archive, tmp_path / "out", tell=interrupt)
    assert not (tmp_path / "file.tar").exists()
    obtain(server.archive, tmp_path / "out")
    assert len(server.ranges) == 1


def test_what_a_killed_process_left_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    part = put_part(tmp_path, server.content[:100])
    part.with_name("tmpabc").write_bytes(server.content[:2000])
    (tmp_path / ".out.01234567.part/bottle").mkdir(parents=True)
    obtain(server.archive, tmp_path / "out")
    assert server.ranges == ["bytes=2000-"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "file.tar"}


def test_a_part_that_is_too_long_or_refused_is_thrown_away(server: Server, tmp_path: Path) -> None:
    put_part(tmp_path, server.content + b"more")
    obtain(server.archive, tmp_path / "out")
    assert server.ranges == [None]
    put_part(tmp_path / "b", b"beginning")
    server.answers = [status(416), whole]
    obtain(server.archive, tmp_path / "b/out")
    assert server.ranges[1:] == ["bytes=9-", None]


def test_a_wrong_beginning_is_found_by_the_hash_and_thrown_away(server: Server, tmp_path: Path) -> None:
    part = put_part(tmp_path, b"?" * 1000)
    fail(server.archive, tmp_path, "has not the published hash sha256:.* and was thrown away")
    assert not part.exists()
    obtain(server.archive, tmp_path / "out")
    assert server.ranges == [FROM_1000, None]


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    server.http.shutdown()
    server.http.server_close()
    fail(server.archive, tmp_path, "refused")


def test_a_server_that_falls_silent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    over = threading.Event()

    def fall_silent(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        send(handler, 200, content[:10], Content_Length=len(content))
        over.wait(5)

    server.answers = [fall_silent, whole]
    obtain(server.archive, tmp_path / "out")
    over.set()
    assert server.ranges == [None, None]


def test_a_connection_whose_encryption_breaks(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = requests.packages.urllib3.exceptions.SSLError("bad record mac")
    monkeypatch.setattr(requests.Response, "iter_content", Mock(side_effect=error))
    fail(server.archive, tmp_path, "bad record mac, 0 of .* bytes came; give the same command again")


def test_a_disk_that_fills_is_named_and_what_came_stays(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(download._Resuming, "flush", Mock(side_effect=OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            obtain(server.archive, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "file.tar").exists()
    obtain(server.archive, tmp_path / "out")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "/etc/passwd", ""])
def test_addresses_that_are_not_fetched_from(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="expected an address that begins with") as raised:
        fetch(server.archive, tmp_path, url=url)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_a_stranger_is_not_taken_for_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    for record in ("", "[]", "[" * 200_000, json.dumps({"digest": "sha256:other"})):
        (tmp_path / "out" / download.RECORD).write_text(record)
        with pytest.raises(UserError, match="is not empty and nothing in it is overwritten"):
            obtain(server.archive, tmp_path / "out")
    assert server.ranges == [] and (tmp_path / "out/mine.txt").read_text() == "mine"


def test_a_bad_archive_of_the_right_hash_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    for number, files in enumerate([{"../escaped.png": b"1"}, VISA | {"split_csv/1cls.csv": b"a,b\n"}]):
        with pytest.raises(UserError):
            obtain(publish(server, files, "visa"), tmp_path / f"{number}/out")
        assert {path.name for path in (tmp_path / f"{number}").iterdir()} == {"file.tar"}
    assert not (tmp_path / "escaped.png").exists()


def test_a_disk_that_is_too_small_is_told_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=server.archive.size))
    fail(server.archive, tmp_path, f"expected at least {2 * server.archive.size:,} for file.tar")
    assert server.ranges == []


def test_two_processes_do_not_fetch_one_file(server: Server, tmp_path: Path) -> None:
    def meanwhile(done: int, total: int, step: str) -> None:  # noqa: ARG001
        # The lock is of the open file: a second one of this process is a stranger to it, too.
        with pytest.raises(UserError, match="another process is fetching into"):
            obtain(server.archive, tmp_path / "out")

    obtain(server.archive, tmp_path / "out", tell=meanwhile)
    assert len(server.ranges) == 1


# The command


@pytest.fixture
def known(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The catalogue with small archives that lie on the server."""
    entry = replace(CATALOG["mvtec_ad"], archive=server.archive)
    source = replace(TEXTURES["dtd"], archive=replace(publish(server, DTD, "dtd"), file="dtd.tar"))
    server.content = pack(MVTEC)
    monkeypatch.setattr(catalog, "CATALOG", {**CATALOG, "mvtec_ad": entry})
    monkeypatch.setattr(catalog, "TEXTURES", {"dtd": source})
    return server


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(data, ["download", *(str(argument) for argument in arguments)])


@pytest.mark.parametrize("name", ["mvtec", "mvtec_ad"])
def test_the_command_shows_what_it_fetches_and_what_comes_next(known: Server, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "my data"
    shown = invoke(name, "--accept-licence", "--out", folder)
    assert shown.exit_code == 0, shown.exception
    lines = shown.stdout.splitlines()
    digest = hashlib.sha256(known.content).hexdigest()
    assert {f"url     {known.url}", f"sha256  {digest}", f"size    {len(known.content):,} bytes"} <= set(lines)
    assert "CC BY-NC-SA 4.0, https://creativecommons.org/licenses/by-nc-sa/4.0/" in shown.stdout
    assert lines[-1] == f"MVTec AD is now in {folder}; next: omnial-bench data verify '{folder}'"
    steps = [line.split(",")[0] for line in shown.stderr.splitlines()]
    assert steps == ["fetching done", "checking done", "unpacking done"]
    again = invoke(name, "--accept-licence", "--out", folder)
    assert again.stdout.splitlines()[-1].startswith(f"MVTec AD was already in {folder}; next: ")
    assert len(known.ranges) == 1
    as_json = json.loads(invoke(name, "--accept-licence", "--out", folder, "--json").stdout)
    assert (as_json["folder"], as_json["fetched"]) == (str(folder), False)
    assert as_json["archive"]["size"] == len(known.content)


def test_nothing_is_fetched_before_the_licence_is_accepted(known: Server, tmp_path: Path) -> None:
    shown = invoke("mvtec", "--out", tmp_path / "out")
    assert isinstance(shown.exception, UserError) and "\n" not in str(shown.exception)
    assert "read https://creativecommons.org/licenses/by-nc-sa/4.0/ and give --accept-licence" in str(shown.exception)
    assert known.url in shown.stdout and known.ranges == [] and not list(tmp_path.iterdir())


def test_textures_name_the_option_that_takes_them(
    known: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    known.content = pack(DTD)
    shown = invoke("dtd", "--accept-licence")
    assert shown.stdout.splitlines()[-1].endswith("run PLAN --data ROOT --textures datasets/dtd --out RUN")
    assert (tmp_path / "datasets/dtd/images/banded/banded_0001.jpg").is_file()


def test_another_place_of_the_same_file(known: Server, tmp_path: Path) -> None:
    shown = invoke("mvtec", "--accept-licence", "--out", tmp_path / "out", "--url", known.url + "?mirror")
    assert shown.exit_code == 0 and f"{known.url}?mirror" in shown.stdout


def test_every_archive_is_known_by_a_sha256() -> None:
    archives = {known.archive for known in obtainable().values() if known.archive is not None}
    assert {archive.name for archive in archives} == {"mvtec", "visa", "dtd"}
    for archive in archives:
        algorithm, _, digest = archive.digest.partition(":")
        assert algorithm == "sha256" and len(digest) == 64 and int(digest, 16)
        assert archive.size > 5e8 and archive.url.startswith("https://") and archive.url.endswith(archive.file)
        assert archive.terms.startswith("https://")
    listed = CliRunner().invoke(data, ["list"]).output
    assert all(archive.digest in listed and f"data download {archive.name}: " in listed for archive in archives)
