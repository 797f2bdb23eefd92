"""Detectors by name: recipe to network, and what a network costs."""

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omnial_bench import reading
from omnial_bench.errors import UserError, unknown
from omnial_bench.models import draem, jnld, omnial
from omnial_bench.models.blocks import reset
from omnial_bench.nouns import Detector
from omnial_bench.records import Recipe
from omnial_bench.store import sha256

DETECTORS: dict[str, tuple[Callable[[Any], Detector], type[Any]]] = {
    "draem": (draem.DRAEM, draem.Options),
    "jnld": (jnld.JNLD, jnld.Options),
    "omnial": (omnial.OmniAL, omnial.Options),
}


def build(recipe: Recipe, generator: torch.Generator | None = None) -> Detector:
    """The recipe's detector on the CPU, its weights drawn from `generator` (on the CPU; None: one seeded with 0).

    `recipe.detector` is a name of DETECTORS or `package.module:factory`, called with the options as keywords. UserError
    for an unknown name or option, and for a size that the network cannot take.
    """
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    if ":" in recipe.detector:
        detector = build_foreign(recipe.detector, recipe.options, generator)
        if not isinstance(detector, Detector):
            raise UserError(
                f"{recipe.detector}: expected a Detector of omnial_bench.nouns, got {type(detector).__name__}; "
                "only a Detector can be trained"
            )
        return detector
    detector = skeleton(recipe)
    detector.to_empty(device="cpu")
    reset(detector, generator)
    return detector.train()


def build_foreign(name: str, options: Mapping[str, Any], generator: torch.Generator) -> nn.Module:
    """What `package.module:factory` makes of the options.

    Weights that it draws from torch's global generator come from `generator` (on the CPU), which stands in for that one
    during the call. UserError, one line, where the module or the factory is not there, or the factory fails.
    """
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot load the detector {name!r}: {error}; expected package.module:factory") from error
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        try:
            made = factory(**options)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{name} failed to build: {type(error).__name__}: {reason}"[:300]) from error
        generator.set_state(torch.get_rng_state())
    if not isinstance(made, nn.Module):
        raise UserError(f"{name}: expected a torch.nn.Module, got {type(made).__name__}")
    return made


def foreign_code(name: str) -> str:
    """Hash of the code in which `package.module:factory` lies: all of its package, or the file of a module alone; what
    that imports from elsewhere is not followed."""
    module = import_module(name.partition(":")[0])
    package = getattr(import_module(module.__name__.partition(".")[0]), "__path__", ())
    files = [(path, path.relative_to(folder)) for folder in map(Path, package) for path in folder.rglob("*.py")]
    if not files and module.__file__:
        files = [(Path(module.__file__), Path(module.__name__))]
    digest = hashlib.sha256()
    for path, told in sorted(files, key=lambda one: one[1].as_posix()):
        digest.update(told.as_posix().encode() + b"\0" + bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def describe(recipe: Recipe) -> dict[str, Any]:
    """Parameters, in total and by subnetwork, and forward FLOPs (2 x multiply-adds) of one image at its size."""
    detector = build(recipe) if ":" in recipe.detector else skeleton(recipe)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in detector.named_children()}
    total = sum(p.numel() for p in detector.parameters())
    return {
        "detector": recipe.detector,
        "preset": recipe.preset,
        "size": list(recipe.size),
        "parameters": {"total": total, **{name: count for name, count in counts.items() if count}},
        "flops": _flops(detector, recipe.size),
    }


def skeleton(recipe: Recipe) -> Detector:
    """The detector without storage (on the meta device), its options and size checked."""
    if recipe.detector not in DETECTORS:
        raise unknown("detector", recipe.detector, DETECTORS)
    kind, options = DETECTORS[recipe.detector]
    chosen: Any = reading.parse(options, recipe.options, f"options of {recipe.detector}")
    _try(kind, chosen, recipe.size)
    with torch.device("meta"):
        return kind(chosen)


@lru_cache(maxsize=64)
def _try(kind: Callable[[Any], Detector], options: Any, size: tuple[int, int]) -> None:
    """Raise what a forward of one image of this size raises. Once a process: on the meta device it takes longer than on
    the CPU, and every model that is built or opened asks for it."""
    with torch.device("meta"):
        detector = kind(options)
    _forward(detector, size)


def _flops(detector: nn.Module, size: tuple[int, int]) -> int:
    # Imported here: it takes half a second that no other command needs.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        _forward(detector, size)
    return int(counter.get_total_flops())


def _forward(detector: nn.Module, size: tuple[int, int]) -> None:
    """One image through the network, in evaluation mode, where its parameters are."""
    device = next((parameter.device for parameter in detector.parameters()), torch.device("cpu"))
    training = detector.training
    try:
        with torch.no_grad():
            detector.eval()(torch.zeros(1, 3, *size, device=device))
    finally:
        detector.train(training)
