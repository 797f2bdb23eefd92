"""What made a result: versions, device, commit, and the hash of the code that decides it. No torch here."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "omnial-bench", "torch", "torchattacks", "lightning-fabric", "numpy", "pillow", "scikit-image", "scikit-learn",
    "scipy",
)  # fmt: skip
NOT_INSTALLED = "not installed"
"""In place of a version: a checkout that is run as it lies."""


def versions() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    return {name: _version(name) for name in PACKAGES}


@cache
def _version(package: str) -> str:
    """Read once a process, for every task asks."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


DECIDE_NOTHING = ("errors", "io", "config", "provenance", "progress", "processes", "models.checkpoint", "models.losses")
"""Modules and packages in which no figure comes about: files, messages, processes; of records their values count. The
losses are called in trainings alone, to which they are given as a start."""


IMPORT = re.compile(r"^\s*from omnial_bench\.?([\w.]*) import (\([^)]*\)|.+)$", re.MULTILINE)


@cache
def code_version(*starts: str) -> str:
    """Hash of modules (dotted, below the package) and of all of it that they import, at any depth; of none given that
    of the whole package."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(map(_file_of, _reached(starts))) if starts else sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _reached(starts: Iterable[str]) -> set[str]:
    reached, queue = set(starts), list(starts)
    while queue:
        for module in imported_by(queue.pop()):
            silent = any(module == name or module.startswith(f"{name}.") for name in DECIDE_NOTHING)
            if not silent and module not in reached:
                reached.add(module)
                queue.append(module)
    return reached


@cache
def imported_by(module: str) -> frozenset[str]:
    """The package's modules that one imports anywhere in its code."""
    modules = set()
    for home, names in IMPORT.findall(_file_of(module).read_text(encoding="utf-8")):
        # What is imported is a module itself, or stands in one.
        for name in (home, *(f"{home}.{word}".lstrip(".") for word in re.findall(r"\w+", names))):
            if name and _file_of(name).is_file():
                modules.add(name)
    return frozenset(modules)


def _file_of(module: str) -> Path:
    return Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")


def commit() -> str:
    """The checkout's commit, with `+changes` where files differ from it; `unknown` outside a checkout.

    The results of benchmarks do not count: each measurement writes them before the next.
    """
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return "unknown"
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results.*")
        return f"{head}+changes" if changes else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def command_line() -> str:
    """The command as it was given, absolute paths by their last part alone and URLs without who opens them: a report is
    no map of a machine, and holds no password."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    words = [re.sub(r"://[^/\s]*@", "://", word) for word in words]
    return " ".join([Path(sys.argv[0]).name, *words])


def key_of(**parts: Any) -> str:
    """A hash of all that decides a task's result; parts are JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
