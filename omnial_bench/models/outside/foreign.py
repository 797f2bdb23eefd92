"""Detectors from elsewhere, `package.module:object`: what such a name makes, behind the gate of `trust`."""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from omnial_bench.errors import UserError
from omnial_bench.trust import check_trust as check_trust
from omnial_bench.trust import code_of as code_of
from omnial_bench.trust import import_object
from omnial_bench.trust import is_foreign as is_foreign
from omnial_bench.types import Detector

_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


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


def parameters_of(source: Callable[..., Any]) -> set[str]:
    """The names that a function or class takes as keywords; none where Python cannot tell."""
    try:
        return {one.name for one in inspect.signature(source).parameters.values() if one.kind in _KEYWORDS}
    except (TypeError, ValueError):
        return set()


def _resolve(name: str) -> Callable[..., Any]:
    # What a module draws when it is imported, once a process, is not to move the draws of its detector.
    with drawing_from(torch.Generator().manual_seed(0)):
        source = import_object(name)
    is_class = isinstance(source, type) and issubclass(source, nn.Module)
    if not (is_class or isinstance(source, Detector)):
        module_name = name.partition(":")[0]
        own = inspect.isfunction(source) and source.__module__ == module_name
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
