"""Modules whose gradient someone cut: made whole again where it can be, and shown by forward passes where it cannot."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from omnial_bench.errors import UserError, line_of

REFUSED = "the gradient of "
"""How the line begins that refuses a gradient."""


class Wrapper(nn.Module):
    """A module around another, which is the one that a reader knows."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class Whole(Wrapper):
    """A module without what cuts its gradient: `torch.no_grad`, `set_grad_enabled`, `detach` and `.data` do nothing in
    its forward while a gradient is asked for. What it says is the same to the bit, for none of them changes a value.

    Libraries wrap frozen feature extractors in `no_grad`, for nothing trains there; an attack then sees no gradient, or
    half of one, and the detector looks robust. What cuts it in another way (NumPy, `inference_mode`, a compiled
    or hand-written backward) stays cut: whether the gradient is whole is held against forward passes by who uses this.
    A straight-through estimator loses its detour by this, and has the gradient of what it computes: none.
    """

    def forward(self, images: Tensor) -> Any:
        """UserError, with torch's reason, where its forward fails once nothing is cut: NumPy takes no tensor that has
        a gradient, for one, and what `inference_mode` made takes no part in one."""
        if not (torch.is_grad_enabled() and images.requires_grad):
            return self.module(images)
        try:
            with _Uncut():
                return self.module(images)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise not_whole(named(self.module), line_of(error)[:200].rstrip(".")) from error


class ForwardOnly(Wrapper):
    """A module that is shown images and asked for no gradient: attacks that need one refuse it in one line."""

    def forward(self, images: Tensor) -> Any:
        with torch.no_grad():
            return self.module(images.detach())


def named(module: nn.Module) -> str:
    """What a reader knows a module by: the class of the one inside of all wrappers."""
    while isinstance(module, Wrapper):
        module = module.module
    return type(module).__name__


def not_whole(name: str, why: str) -> UserError:
    return UserError(
        f"{REFUSED}{name} cannot be restored: {why}; mend its forward, or ask for forward passes alone (gradient=False)"
    )


class _Uncut(TorchFunctionMode):
    """Calls that would cut a gradient give their tensor back as it is. Holds in this thread, in its block."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func is torch._C._set_grad_enabled:
            return None
        if func in _DETACH or func == torch.Tensor.data.__get__:  # type: ignore[attr-defined]
            return args[0]
        return func(*args, **(kwargs or {}))


_DETACH = (torch.Tensor.detach, torch.Tensor.detach_, torch.detach, torch.detach_)
