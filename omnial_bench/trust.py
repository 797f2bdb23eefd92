"""Code from elsewhere, `package.module:object`: what may run, how it is imported, and where it lies. No torch here.

The one place where a name becomes code. A record, a plan, a recipe or a checkpoint is a file, and a file is no reason
to run anything: only names that the user has given are imported.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256


def is_foreign(name: str) -> bool:
    """Whether the name of a detector or a reader is that of code from elsewhere."""
    return ":" in name


def check_trust(name: str, trusted: Collection[str], where: str = "a record", *, what: str = "detector") -> None:
    """UserError, which says what to add, where `where` names code that is not among `trusted`, or that no trust makes
    a detector, or `what` else is asked for, of: the standard library, and what is no name. Nothing is imported."""
    # What is to be added is copied to a shell, where a file's `;` or `$` would run.
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(f"{where} names the {what} {name!r}; expected package.module:object"[:300])
    if _is_standard(_top(name)):
        raise UserError(f"{where} asks to run {name}, of Python's standard library, which holds no {what}; mend it")
    if name not in trusted:
        raise UserError(f"{where} asks to run the code {name}; if you know and trust it, add --trust {name}")


def import_object(name: str, *, what: str = "detector") -> Any:
    """The object that `package.module:object` names, after `check_trust` alone. UserError, one line, where its module
    or it is not there, and whatever importing raises."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except KeyboardInterrupt:
        raise
    # Somebody else's code may fail in any way, with an exit for one.
    except BaseException as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot load the {what} {name!r}: {type(error).__name__}: {reason}; expected package.module:object, and "
            "the package installed or on PYTHONPATH"
        ) from error


def code_of(name: str) -> str:
    """Hash of the code in which `package.module:object` lies: all of its package, or the file of a module alone; what
    that imports from elsewhere is not followed. Nothing is imported. UserError where it is not found."""
    module = name.partition(":")[0]
    folders, file = _locate(_top(name))
    files = [(path, path.relative_to(folder)) for folder in folders for path in folder.rglob("*.py")]
    if not files and file is not None:
        files = [(file, Path(module))]
    digest = hashlib.sha256()
    for path, label in sorted(files, key=lambda pair: pair[1].as_posix()):
        digest.update(label.as_posix().encode() + b"\0" + bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def _top(name: str) -> str:
    """The name of the package or module at the top."""
    return name.partition(":")[0].partition(".")[0]


def _is_standard(top: str) -> bool:
    """Whether a module at the top belongs to Python itself: its tests do as well, which no list of names has."""
    if top in sys.stdlib_module_names:
        return True
    try:
        spec = _find(top)
    except UserError:
        return False
    if not spec.has_location:
        return spec.origin in ("built-in", "frozen")
    folder = Path(spec.origin or "").resolve()
    homes = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return any(home in folder.parents for home in homes) and not {"site-packages", "dist-packages"} & set(folder.parts)


def _locate(top: str) -> tuple[Sequence[Path], Path | None]:
    """The folders of a package or the file of a module at the top, as the import system would find it."""
    spec = _find(top)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    return folders, Path(spec.origin) if spec.has_location and spec.origin else None


def _find(top: str) -> ModuleSpec:
    for finder in sys.meta_path:
        spec = finder.find_spec(top, None)
        if spec is not None:
            return spec
    raise UserError(f"found no module {top!r}; install its package, or name its folder in PYTHONPATH")
