import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from conftest import contents

from omnial_bench.data import unpack as module
from omnial_bench.data.unpack import Tell, inside, sweep, unheard, whole_folder
from omnial_bench.errors import UserError

MOST = 1 << 20
FILES = {"a/train/good/000.png": b"one", "a/test/cut/000.png": b"", "readme.txt": b"x" * 70_000}


def tar(path: Path, files: dict[str, bytes] = FILES, mode: str = "w", **changes: object) -> Path:
    """A tar file; `changes` are attributes given to every member."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(archive: Path, folder: Path, *, most_bytes: int, most_members: int = 1000, tell: Tell = unheard) -> None:
    with whole_folder(folder) as aside:
        module.unpack(archive, aside, most_bytes=most_bytes, most_members=most_members, tell=tell)


def refused(archive: Path, match: str, *, most_bytes: int = MOST, most_members: int = 1000) -> None:
    """Unpacking fails with one line, and leaves nothing at all."""
    before = {path.name for path in archive.parent.iterdir()}
    with pytest.raises(UserError, match=match) as raised:
        unpack(archive, archive.parent / "out", most_bytes=most_bytes, most_members=most_members)
    assert "\n" not in str(raised.value)
    assert {path.name for path in archive.parent.iterdir()} == before


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
    unpack(tmp_path / "x", tmp_path / "out", most_bytes=MOST)
    assert contents(tmp_path / "out") == files
    assert (tmp_path / "out/a/empty").is_dir()
    assert (tmp_path / "out/readme.txt").stat().st_mode & 0o7133 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x"]


def test_progress_goes_to_the_length_of_the_archive(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    unpack(tar(tmp_path / "t"), tmp_path / "out", most_bytes=MOST, tell=lambda *news: told.append(news))
    assert {step for *_, step in told} == {"unpacking"} and len(told) >= 3
    assert all(0 <= done <= total for done, total, _ in told) and told[-1][0] == told[-1][1]


BAD_NAMES = [
    "../out.txt", "a/../../out.txt", "a/..", "..", "/etc/passwd", "//etc/passwd", "a\\b.png", "..\\b.png", "C:b.png",
    "c:/b.png", "a/C:/b.png", "a/" * 40 + "b.png", "n" * 256,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_members_outside_the_folder(tmp_path: Path, name: str) -> None:
    refused(tar(tmp_path / "x", {"good.png": b"1", name: b"2"}), "is no plain path inside the folder")
    assert not (tmp_path / "out.txt").exists()


def test_names_that_stay_inside() -> None:
    assert str(inside("./a//b/./c.png")) == "a/b/c.png" and str(inside("a/")) == "a"
    assert str(inside("..a/b..")) == "..a/b.."
    assert inside("a\0b") is None and inside("") is None


def test_a_file_has_a_name(tmp_path: Path) -> None:
    refused(tar(tmp_path / "x", {".": b"1"}), "two of its members have the name '.'")


LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"Q"]


@pytest.mark.parametrize("kind", LINKS)
def test_what_is_neither_file_nor_folder_in_a_tar_file(tmp_path: Path, kind: bytes) -> None:
    refused(tar(tmp_path / "x", {"a": b""}, type=kind, linkname="/etc/passwd"), "neither a file nor a folder")


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    pax = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000"}
    refused(tar(tmp_path / "x", {"a": b"1"}, pax_headers=pax), "neither a file nor a folder")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    refused(tar(tmp_path / "x", {"a/b": b"1", "a//b": b"2"}), "two of its members have the name 'a//b'")
    refused(tar(tmp_path / "y", {"a/b": b"1", "a": b"2"}), "two of its members have the name 'a'")
    refused(tar(tmp_path / "z", {"a": b"1", "a/b": b"2"}), "both a file and a folder")


def test_a_bomb_by_its_declared_bytes(tmp_path: Path) -> None:
    bomb = tar(tmp_path / "t", {f"{n}.png": bytes(600_000) for n in range(2)}, "w:xz")
    assert bomb.stat().st_size < 2000
    refused(bomb, "it holds more than 1,048,576 bytes")
    unpack(bomb, tmp_path / "out", most_bytes=1_200_000)


def test_a_bomb_by_its_number_of_members(tmp_path: Path) -> None:
    refused(tar(tmp_path / "t", {str(n): b"" for n in range(21)}), "or 20 members", most_members=20)


def test_a_huge_declared_size_in_a_tar_file(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = 1 << 50
    (tmp_path / "x").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    refused(tmp_path / "x", "it holds more than 1,048,576 bytes")


def test_a_negative_size_does_not_send_the_reader_in_a_circle(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x").write_bytes(bytes(header) + bytes(2048))
    refused(tmp_path / "x", "holds more than|no tar file or damaged")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_archives_cut_off_anywhere(tmp_path: Path, mode: str, share: float) -> None:
    files = {f"{n}.png": os.urandom(3000) for n in range(12)}
    content = tar(tmp_path / "x", files, mode).read_bytes()
    end = 12 * 3584 if mode == "w" else len(content)
    (tmp_path / "x").write_bytes(content[: int(share * end)])
    refused(tmp_path / "x", "no tar file or damaged")


def test_damage_at_any_byte_is_one_line_or_nothing(tmp_path: Path) -> None:
    whole = {
        "tar": tar(tmp_path / "tar"),
        "gz": tar(tmp_path / "gz", FILES, "w:gz"),
        "xz": tar(tmp_path / "xz", FILES, "w:xz"),
    }
    for kind, path in whole.items():
        content = path.read_bytes()
        step = max(1, len(content) // 120)
        for place in range(0, len(content), step):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
            folder = tmp_path / f"{kind}-{place}"
            folder.mkdir()
            try:
                module.unpack(path, folder, most_bytes=MOST)
            except UserError as error:
                assert "\n" not in str(error)
            assert sum(len(found) for found in contents(folder).values()) <= MOST


def test_what_is_no_archive(tmp_path: Path) -> None:
    for content in (b"", b"<html>not found</html>", b"\x1f\x8b", gzip.compress(b"hello"), os.urandom(5000)):
        (tmp_path / "x").write_bytes(content)
        refused(tmp_path / "x", "no tar file or damaged|holds nothing")
    refused(tar(tmp_path / "x", {}), "it holds nothing")


def test_a_python_without_the_filter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "version_info", (3, 11, 3, "final", 0))
    refused(tar(tmp_path / "x"), "expected Python 3.11.4 or later")


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    archive = tar(tmp_path / "x")
    (tmp_path / "out").mkdir()
    unpack(archive, tmp_path / "out", most_bytes=MOST)
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="is not empty and nothing in it is overwritten"):
        unpack(archive, tmp_path / "out", most_bytes=MOST)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("x", "link"):
        with pytest.raises(UserError, match="is not a folder"):
            unpack(archive, tmp_path / name, most_bytes=MOST)
    assert contents(tmp_path / "out") == before and not (tmp_path / "elsewhere").exists()


def test_an_interrupted_unpacking_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch) -> None:
    archive = tar(tmp_path / "x")

    def interrupt(*_: object) -> None:
        assert any(tmp_path.glob(".out.*.part")) and not (tmp_path / "out").exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", most_bytes=MOST, tell=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    # Killed, nothing is tidied up: what is left is hidden, and goes with the next sweep.
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, tmp_path / "out", most_bytes=MOST, tell=interrupt)
    (left,) = tmp_path.glob(".out.*.part")
    assert not (tmp_path / "out").exists()
    sweep(tmp_path / "out")
    assert not left.exists()
