"""Code from elsewhere, `package.module:object`: which of it may run, how it is loaded, and where it lies.

The one place where a name becomes code. A record, a plan, a suite or a checkpoint is a file, and a file is no reason to
run anything: only names that the user has given are imported.
"""

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnial_bench.errors import UserError, line_of
from omnial_bench.io.whole import sha256

if TYPE_CHECKING:
    import torch

_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_foreign(name: str) -> bool:
    """Whether the name of a detector, an attack or a metric is that of code from elsewhere."""
    return ":" in name


def check_trust(name: str, trusted: Collection[str], where: str = "a record", what: str = "detector") -> None:
    """UserError, which says what to add, where `where` names code that is not among `trusted`, or that no trust makes
    a `what` of: the standard library, and what is no name. Nothing is imported."""
    # What is to be added is copied to a shell, where a file's `;` or `$` would run.
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(f"{where} names the {what} {name!r}; expected package.module:object"[:300])
    if _is_standard(_top(name)):
        raise UserError(f"{where} asks to run {name}, of Python's standard library, which holds no {what}; mend it")
    if name not in trusted:
        raise UserError(f"{where} asks to run the code {name}; if you know and trust it, add --trust {name}")


def load(name: str, trusted: Collection[str], where: str = "a record", what: str = "detector") -> Any:
    """The object that `package.module:object` names, its module imported. UserError as of `check_trust`, and, one line,
    where it is not there or fails when it is imported."""
    # Looking at names is not to wait for torch.
    import torch

    check_trust(name, trusted, where, what)
    module_name, _, attribute = name.partition(":")
    try:
        # What a module draws when it is imported, once a process, is not to move the draws of what it makes.
        with drawing_from(torch.Generator().manual_seed(0)):
            return getattr(import_module(module_name), attribute)
    except KeyboardInterrupt:
        raise
    # Somebody else's code may fail in any way, with an exit for one.
    except BaseException as error:
        raise UserError(
            f"cannot load the {what} {name!r}: {type(error).__name__}: {line_of(error)}; expected "
            "package.module:object, as it is imported, and the package installed or its folder on PYTHONPATH"
        ) from error


@contextmanager
def guarded(source: object, doing: str) -> Iterator[None]:
    """Have what code from elsewhere raises while it is `doing` something be a UserError of one line: `source` is its
    name, or an object of it. One that it passes on stays as it is, as do a full GPU and the faults of our own objects.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        named, kind = isinstance(source, str), type(source)
        own = not named and _top(kind.__module__) == _top(__name__)
        # By its name, for readers of data run without torch.
        if own or type(error).__name__ == "OutOfMemoryError":
            raise
        name = source if named else kind.__name__
        raise UserError(f"{name} failed to {doing}: {type(error).__name__}: {line_of(error)}"[:300]) from error


def parameters_of(source: Callable[..., Any]) -> set[str]:
    """The names that a function or class takes as keywords; none where Python cannot tell."""
    try:
        parameters = inspect.signature(source).parameters.values()
        return {parameter.name for parameter in parameters if parameter.kind in _KEYWORDS}
    except (TypeError, ValueError):
        return set()


@contextmanager
def drawing_from(generator: "torch.Generator") -> Iterator[None]:
    """Have `generator`, on the CPU, stand in for torch's global one, which is left as it was; what names no device is
    made there, too."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())


def code_of(name: str) -> str:
    """Hash of the code in which `package.module:object` lies: all of its package, or the file of a module alone; what
    that imports from elsewhere is not followed. Nothing is imported. UserError where it is not found."""
    spec = _find(_top(name))
    folders = map(Path, spec.submodule_search_locations or ())
    files = [(path, path.relative_to(folder)) for folder in folders for path in folder.rglob("*.py")]
    if not files and spec.has_location and spec.origin:
        files = [(Path(spec.origin), Path(name.partition(":")[0]))]
    digest = hashlib.sha256()
    for path, label in sorted(files, key=lambda pair: pair[1].as_posix()):
        digest.update(label.as_posix().encode() + b"\0" + bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def codes_of(names: Iterable[str]) -> dict[str, str]:
    """The hash of each name's code, of those alone that are code from elsewhere: a part of a task's key."""
    return {name: code_of(name) for name in dict.fromkeys(names) if is_foreign(name)}


def _top(name: str) -> str:
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


def _find(top: str) -> ModuleSpec:
    """A package or module at the top, as the import system would find it."""
    for finder in sys.meta_path:
        spec = finder.find_spec(top, None)
        if spec is not None:
            return spec
    raise UserError(f"found no module {top!r}; install its package, or name its folder in PYTHONPATH")
