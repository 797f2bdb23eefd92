import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from conftest import contents, pack

from omnial_bench.data import unpack as module
from omnial_bench.data.unpack import Tell, inside, sweep, unheard, whole_folder
from omnial_bench.errors import UserError

MOST = 1 << 20
FILES = {"a/train/good/000.png": b"one", "a/test/cut/000.png": b"", "readme.txt": b"x" * 70_000}


def write(folder: Path, content: bytes) -> Path:
    (folder / "x").write_bytes(content)
    return folder / "x"


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST, tell: Tell = unheard) -> None:
    with whole_folder(folder) as aside:
        module.unpack(archive, aside, most_bytes=most_bytes, most_members=1000, tell=tell)


def refuse(content: bytes, folder: Path, match: str) -> None:
    """Unpacking fails with one line, and leaves nothing at all."""
    with pytest.raises(UserError, match=match) as raised:
        unpack(write(folder, content), folder / "out")
    assert "\n" not in str(raised.value)
    assert [path.name for path in folder.iterdir()] == ["x"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_files_of_every_kind(tmp_path: Path, mode: str, layout: int) -> None:
    files = FILES | {f"{'deep/' * 20}{'n' * 80}.png": b"long"}
    with tarfile.open(tmp_path / "x", mode, format=layout) as archive:
        folder = tarfile.TarInfo("./a/empty")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}" if layout != tarfile.USTAR_FORMAT else name)
            info.size, info.mode = len(content), 0o7777
            archive.addfile(info, io.BytesIO(content))
    unpack(tmp_path / "x", tmp_path / "out")
    assert contents(tmp_path / "out") == files
    assert (tmp_path / "out/a/empty").is_dir()
    assert (tmp_path / "out/readme.txt").stat().st_mode & 0o7133 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x"]


def test_progress_goes_to_the_length_of_the_archive(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    unpack(write(tmp_path, pack(FILES)), tmp_path / "out", tell=lambda *news: told.append(news))
    assert {step for *_, step in told} == {"unpacking"} and len(told) >= 3
    assert all(0 <= done <= total for done, total, _ in told) and told[-1][0] == told[-1][1]


def negative_size() -> bytes:
    """A header that sends a reader who believes it in a circle."""
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def huge_size() -> bytes:
    info = tarfile.TarInfo("a")
    info.size = 1 << 50
    return info.tobuf(tarfile.GNU_FORMAT)


BAD_NAMES = [
    "../out.txt", "a/../../out.txt", "a/..", "..", "/etc/passwd", "//etc/passwd", "a\\b.png", "..\\b.png", "C:b.png",
    "c:/b.png", "a/C:/b.png", "a/" * 40 + "b.png", "n" * 256,
]  # fmt: skip
LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"Q"]
SPARSE = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000"}
REFUSED: list[tuple[bytes, str]] = [
    *((pack({"good.png": b"1", name: b"2"}), "is no plain path inside the folder") for name in BAD_NAMES),
    *((pack({"a": b""}, type=kind, linkname="/etc/passwd"), "neither a file nor a folder") for kind in LINKS),
    (pack({"a": b"1"}, pax_headers=SPARSE), "neither a file nor a folder"),
    (pack({".": b"1"}), "two of its members have the name '.'"),
    (pack({"a/b": b"1", "a//b": b"2"}), "two of its members have the name 'a//b'"),
    (pack({"a/b": b"1", "a": b"2"}), "two of its members have the name 'a'"),
    (pack({"a": b"1", "a/b": b"2"}), "both a file and a folder"),
    (pack({f"{number}.png": bytes(600_000) for number in range(2)}, "w:xz"), "it holds more than 1,048,576 bytes"),
    (pack({str(number): b"" for number in range(1001)}), "or 1,000 members"),
    (huge_size() + bytes(2048), "it holds more than 1,048,576 bytes"),
    (negative_size() + bytes(2048), "holds more than|no tar file or damaged"),
    (pack({}), "it holds nothing"),
    *(
        (content, "no tar file or damaged|holds nothing")
        for content in (b"", b"<html>not found</html>", b"\x1f\x8b", gzip.compress(b"hello"), os.urandom(5000))
    ),
]


@pytest.mark.parametrize(("content", "match"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    refuse(content, tmp_path, match)


def test_names_that_stay_inside() -> None:
    assert str(inside("./a//b/./c.png")) == "a/b/c.png" and str(inside("a/")) == "a"
    assert str(inside("..a/b..")) == "..a/b.."
    assert inside("a\0b") is None and inside("") is None


def test_as_much_as_is_allowed(tmp_path: Path) -> None:
    bomb = pack({f"{number}.png": bytes(600_000) for number in range(2)}, "w:xz")
    assert len(bomb) < 2000
    unpack(write(tmp_path, bomb), tmp_path / "out", most_bytes=1_200_000)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_archives_cut_off_anywhere(tmp_path: Path, mode: str, share: float) -> None:
    files = {f"{n}.png": os.urandom(3000) for n in range(12)}
    content = pack(files, mode)
    end = 12 * 3584 if mode == "w" else len(content)
    refuse(content[: int(share * end)], tmp_path, "no tar file or damaged")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_damage_at_any_byte_is_one_line_or_nothing(tmp_path: Path, mode: str) -> None:
    content = pack(FILES, mode)
    for place in range(0, len(content), max(1, len(content) // 120)):
        path = write(tmp_path, content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        folder = tmp_path / str(place)
        folder.mkdir()
        try:
            module.unpack(path, folder, most_bytes=MOST)
        except UserError as error:
            assert "\n" not in str(error)
        assert sum(len(found) for found in contents(folder).values()) <= MOST


def test_a_python_without_the_filter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "version_info", (3, 11, 3, "final", 0))
    refuse(pack(FILES), tmp_path, "expected Python 3.11.4 or later")


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    archive = write(tmp_path, pack(FILES))
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="is not empty and nothing in it is overwritten"):
        unpack(archive, tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("x", "link"):
        with pytest.raises(UserError, match="is not a folder"):
            unpack(archive, tmp_path / name)
    assert contents(tmp_path / "out") == before and not (tmp_path / "elsewhere").exists()


def test_an_interrupted_unpacking_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch) -> None:
    archive = write(tmp_path, pack(FILES))

    def interrupt(*_: object) -> None:
        assert any(tmp_path.glob(".out.*.part")) and not (tmp_path / "out").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", tell=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    # Killed, nothing is tidied up: what is left is hidden, and goes with the next sweep.
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, tmp_path / "out", tell=interrupt)
    (left,) = tmp_path.glob(".out.*.part")
    assert not (tmp_path / "out").exists()
    sweep(tmp_path / "out")
    assert not left.exists()
