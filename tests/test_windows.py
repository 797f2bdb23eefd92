"""What Windows lacks is not needed: no `fcntl`, no opened folders, no folder renamed while a file in it is open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LIKE_WINDOWS = """
import os
import sys
from pathlib import Path

import filelock  # has locks of its own there

sys.modules["fcntl"] = None
for name in ("O_DIRECTORY", "O_NOFOLLOW", "fork", "mkfifo", "pread"):
    delattr(os, name)
opened, renames = os.open, {"rename": os.rename, "replace": os.replace}

def open_file(path, flags, *more, **how):
    if not isinstance(path, int) and os.path.isdir(path) and "dir_fd" not in how:
        raise PermissionError(13, "Permission denied", str(path))
    return opened(path, flags, *more, **how)

def place_of(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""  # Another thread has closed it meanwhile.

def renamed(name):
    def rename(source, target, **how):
        held = [place_of(one) for one in os.listdir("/proc/self/fd")]
        inside = [path for path in held if path.startswith(os.path.realpath(source) + os.sep)]
        if os.path.isdir(source) and (inside or os.path.isdir(target)):
            raise PermissionError(13, "Access is denied", str(source))
        return renames[name](source, target, **how)
    return rename

os.open, os.rename, os.replace = open_file, renamed("rename"), renamed("replace")
"""


WORK = """
import hashlib, tarfile
from dataclasses import replace

from omnial_bench.cli.main import cli
from omnial_bench.config.load import read_plan
from omnial_bench.data.catalog import DTD
from omnial_bench.data.download import obtain
from omnial_bench.pipeline.run_plan import run
from tiny_study import prepare, settings

cli(["--help"], standalone_mode=False)
prepare(Path())
cli(["data", "verify", "data"], standalone_mode=False)
run(read_plan("plan.toml"), settings("out"))

Path("dtd").mkdir()
Path("dtd/a.jpg").write_bytes(b"image")
with tarfile.open("a.tar", "w") as tar:
    tar.add("dtd")
content = Path("a.tar").read_bytes()
digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
Path("textures").mkdir()
assert obtain(replace(DTD.archive, file="a.tar", size=len(content), digest=digest), Path("textures"))
"""


def test_a_folder_is_verified_a_plan_runs_and_an_archive_is_unpacked(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", LIKE_WINDOWS + WORK], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMNIAL_BENCH_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout and "every image can be read" in done.stdout
    assert (tmp_path / "out" / "results.csv").is_file()
    assert (tmp_path / "textures" / "a.jpg").read_bytes() == b"image"
