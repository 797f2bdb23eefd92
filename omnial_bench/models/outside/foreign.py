"""Detectors from elsewhere, `package.module:object`: what may run, what it makes, and where its code lies.

The one place where a name becomes code. A record, a plan, a recipe or a checkpoint is a file, and a file is no reason
to run anything: only names that the user has given are imported.
"""

import copy
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256
from omnial_bench.types import Detector

_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def is_foreign(name: str) -> bool:
    """Whether a detector's name is that of code from elsewhere."""
    return ":" in name


def check_trust(name: str, trusted: Collection[str], where: str = "a record") -> None:
    """UserError, which says what to add, where `where` names code that is not among `trusted`, or that no trust makes
    a detector of: the standard library, and what is no name. Nothing is imported."""
    # What is to be added is copied to a shell, where a file's `;` or `$` would run.
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(f"{where} names the detector {name!r}; expected package.module:object"[:300])
    if _is_standard(_top(name)):
        raise UserError(f"{where} asks to run {name}, of Python's standard library, which holds no detector; mend it")
    if name not in trusted:
        raise UserError(f"{where} asks to run the code {name}; if you know and trust it, add --trust {name}")


def make(
    name: str,
    options: Mapping[str, Any],
    *,
    trusted: Collection[str],
    where: str = "a record",
    offers: Mapping[str, Callable[[], Any]] = MappingProxyType({}),
    trained: bool = False,
) -> nn.Module:
    """What `package.module:object` makes of the options, drawing from torch's global generator.

    The object is a subclass of nn.Module, a function defined in that very module that returns a module, or a Detector,
    of which a copy is given. `offers` as of `call`. UserError as of `check_trust`, and, one line, where it is none of
    these, is not there, or fails, or is a class of no Detector that is to be `trained`.
    """
    check_trust(name, trusted, where)
    source = _resolve(name)
    if trained and isinstance(source, type) and not issubclass(source, Detector):
        raise UserError(
            f"{name}: expected a Detector of omnial_bench.types, got another module, and only a Detector can be "
            f"trained; benchmark one that is fitted already with score --detector {name}"
        )
    if isinstance(source, Detector) and not options:
        return copy.deepcopy(source)
    return call(source, name, options, offers)


def call(
    source: Callable[..., Any],
    name: str,
    options: Mapping[str, Any],
    offers: Mapping[str, Callable[[], Any]] = MappingProxyType({}),
) -> nn.Module:
    """The module that `source`, known as `name`, makes of the options and of those of `offers`, made when asked for,
    that it has a parameter of that very name for. UserError, one line, where it fails or makes something else."""
    try:
        wanted = {key: offers[key]() for key in parameters_of(source) & set(offers) - set(options)}
        module = source(**options, **wanted)
    except (UserError, KeyboardInterrupt):
        raise
    # Somebody else's code may fail in any way, with an exit for one.
    except BaseException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} failed to build: {type(error).__name__}: {reason}"[:300]) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}")
    return module


@contextmanager
def told(detector: nn.Module, method: str) -> Iterator[None]:
    """Have a failure in a method of a detector from elsewhere be a UserError of one line, with its cause behind it."""
    try:
        yield
    except (UserError, KeyboardInterrupt, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        kind = type(detector)
        if kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"{kind.__name__}.{method} failed: {type(error).__name__}: {reason}"[:300]) from error


def parameters_of(source: Callable[..., Any]) -> set[str]:
    """The names that a function or class takes as keywords; none where Python cannot tell."""
    try:
        return {one.name for one in inspect.signature(source).parameters.values() if one.kind in _KEYWORDS}
    except (TypeError, ValueError):
        return set()


def _resolve(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        # What a module draws when it is imported, once a process, is not to move the draws of its detector.
        with drawing_from(torch.Generator().manual_seed(0)):
            module = import_module(module_name)
        source = getattr(module, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot load the detector {name!r}: {type(error).__name__}: {reason}; expected package.module:object, and "
            "the package installed or on PYTHONPATH"
        ) from error
    is_class = isinstance(source, type) and issubclass(source, nn.Module)
    if not (is_class or isinstance(source, Detector)):
        own = inspect.isfunction(source) and source.__module__ == module.__name__
        if not own:
            raise UserError(
                f"{name}: expected a torch.nn.Module class, a Detector or a function defined in {module_name} itself, "
                f"got {' '.join(repr(source).split())}"[:300]
            )
    return source  # type: ignore[no-any-return]


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Have `generator`, on the CPU, stand in for torch's global one, which is left as it was; what names no device is
    made there, too."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.set_rng_state(generator.get_state())
        yield
        generator.set_state(torch.get_rng_state())


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
