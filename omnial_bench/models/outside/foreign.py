"""Detectors from elsewhere: what `package.module:object` makes, once `trust` lets it run."""

import copy
import inspect
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from omnial_bench.errors import UserError
from omnial_bench.trust import guarded, load, parameters_of
from omnial_bench.types import Detector

Offers = Mapping[str, Callable[[], Any]]
"""What a factory may ask for by the name of a parameter, made when it does."""


def make(
    name: str,
    options: Mapping[str, Any],
    *,
    trusted: Collection[str],
    where: str = "a record",
    offers: Offers = MappingProxyType({}),
    trained: bool = False,
) -> nn.Module:
    """What `package.module:object` makes of the options, drawing from torch's global generator.

    The object is a subclass of nn.Module, a function defined in that very module that returns a module, or a Detector,
    of which a copy is given. UserError as of `check_trust`, and, one line, where it is none of these, is not there, or
    fails, or is a class of no Detector that is to be `trained`.
    """
    source: Callable[..., Any] = load(name, trusted, where)
    module_name = name.partition(":")[0]
    if isinstance(source, type) and issubclass(source, nn.Module):
        if trained and not issubclass(source, Detector):
            raise UserError(
                f"{name}: expected a Detector of omnial_bench.types, got another module, and only a Detector can be "
                f"trained; benchmark one that is fitted already with score --detector {name}"
            )
    elif isinstance(source, Detector):
        if not options:
            return copy.deepcopy(source)
    elif not inspect.isfunction(source) or source.__module__ != module_name:
        raise UserError(
            f"{name}: expected a torch.nn.Module class, a Detector or a function defined in {module_name} itself, "
            f"got {' '.join(repr(source).split())}"[:300]
        )
    return call(source, name, options, offers)


def call(source: Callable[..., Any], name: str, options: Mapping[str, Any], offers: Offers) -> nn.Module:
    """The module that `source`, known as `name`, makes of the options and of those of `offers` that it has a parameter
    of that very name for. UserError, one line, where it fails or makes something else."""
    _check_arguments(source, name, options, offers)
    with guarded(name, "build"):
        wanted = {key: offers[key]() for key in parameters_of(source) & set(offers) - set(options)}
        module = source(**options, **wanted)
    if not isinstance(module, nn.Module):
        raise UserError(
            f"{name}: expected a torch.nn.Module, got {type(module).__name__}; return the module itself, with its "
            "weights loaded"
        )
    return module


def _check_arguments(source: Callable[..., Any], name: str, options: Mapping[str, Any], offers: Offers) -> None:
    """UserError where it needs what is neither an option nor offered."""
    try:
        signature = inspect.signature(source)
        signature.bind_partial(**options)
    except (TypeError, ValueError):
        # What it says of options that it does not take is told when it is called.
        return
    needed = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    if missing := [key for key in needed if key not in {*options, *offers}]:
        raise UserError(
            f"{name} asks for {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not known; give "
            f"--option {missing[0]}=VALUE, or a default; what it may ask for besides: {', '.join(offers)}"
        )
