"""Detectors by name: recipe to network, and what a network costs."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn

from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError, unknown
from omnial_bench.models.backbone import Backbone
from omnial_bench.models.cutpaste import CutPaste
from omnial_bench.models.draem import DRAEM
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.gaussian import FilterGaussian
from omnial_bench.models.jnld import JNLD
from omnial_bench.models.mkd import MKD
from omnial_bench.models.omnial import OmniAL
from omnial_bench.models.options.known import OPTIONS, options_of
from omnial_bench.models.outside import foreign
from omnial_bench.models.outside.adapter import check_detector
from omnial_bench.models.padim import PaDiM
from omnial_bench.models.patchcore import PatchCore
from omnial_bench.models.patchsvdd import PatchSVDD
from omnial_bench.models.rd4ad import RD4AD
from omnial_bench.models.simplenet import SimpleNet
from omnial_bench.models.spd import PaDiMSPD
from omnial_bench.models.stfpm import STFPM
from omnial_bench.models.uniad import UniAD
from omnial_bench.trust import drawing_from, is_foreign
from omnial_bench.types import Detector, GradientTrained

CLASSES: dict[str, Callable[[Any], Detector]] = {
    "cutpaste": CutPaste,
    "draem": DRAEM,
    "gaussian": FilterGaussian,
    "jnld": JNLD,
    "mkd": MKD,
    "omnial": OmniAL,
    "padim": PaDiM,
    "padim-spd-lite": PaDiMSPD,
    "patchcore": PatchCore,
    "patchsvdd": PatchSVDD,
    "rd4ad": RD4AD,
    "simplenet": SimpleNet,
    "stfpm": STFPM,
    "uniad": UniAD,
}
DETECTORS = {name: (kind, OPTIONS[name]) for name, kind in CLASSES.items()}


def build(
    recipe: Recipe, generator: torch.Generator | None = None, *, trusted: Collection[str] = (), where: str = "a record"
) -> Detector:
    """The recipe's detector on the CPU, in training mode.

    Weights and buffers are what its own constructor makes. What that draws from torch's global generator comes from
    `generator` (on the CPU; None: one seeded with 0), which stands in for that one during the call. `recipe.detector`
    is a name of DETECTORS or one of `trusted`, `package.module:object`, called with the options as keywords. UserError
    for an unknown name or option, for code that is not trusted (`where` says who asks for it), for a size that the
    network cannot take, and for code from elsewhere as of `check_detector`.
    """
    kind, options = (None, None) if is_foreign(recipe.detector) else _chosen(recipe)
    detector: nn.Module
    with drawing_from(generator if generator is not None else torch.Generator().manual_seed(0)):
        if kind is not None:
            detector = kind(options)
        else:
            detector = foreign.make(recipe.detector, recipe.options, trusted=trusted, where=where, trained=True)
    if not isinstance(detector, Detector):
        raise UserError(
            f"{recipe.detector}: expected a Detector of omnial_bench.types, got {type(detector).__name__}; "
            "only a Detector can be trained"
        )
    if kind is None and not isinstance(detector, Fitted):
        with drawing_from(torch.Generator().manual_seed(0)):
            check_detector(detector, recipe.size)
    return detector.train()


def check_learns(detector: Detector) -> GradientTrained | Fitted:
    """The detector; UserError for one that can learn nothing here."""
    if isinstance(detector, GradientTrained | Fitted):
        return detector
    raise UserError(
        f"{type(detector).__name__} learns nothing here; derive it from omnial_bench.GradientTrained, which has "
        "synthesize and loss, or from omnial_bench.Fitted, which has fit"
    )


def _chosen(recipe: Recipe) -> tuple[Callable[[Any], Detector], Any]:
    """The recipe's class and its checked options, which take its size."""
    if recipe.detector not in DETECTORS:
        raise unknown("detector", recipe.detector, DETECTORS)
    kind, options = DETECTORS[recipe.detector]
    return kind, options_of(recipe, options)


def describe(recipe: Recipe) -> dict[str, Any]:
    """Parameters, in total and by subnetwork, and forward FLOPs (2 x multiply-adds) of one image at its size.

    The weights of a frozen backbone, norms folded in, count as well; what a fit lays out, as a memory, does not. Both
    are None for a detector from elsewhere, for looking runs no code, parameters for one without any, and FLOPs for a
    Fitted, which runs by what its fit lays out.
    """
    facts = {"detector": recipe.detector, "preset": recipe.preset, "size": list(recipe.size)}
    if is_foreign(recipe.detector):
        return {**facts, "parameters": None, "flops": None}
    detector = skeleton(recipe)
    parts = {"total": detector, **dict(detector.named_children())}
    counts = {name: _weights(part) for name, part in parts.items()}
    counts = {name: count for name, count in counts.items() if count or name == "total"}
    flops = None if isinstance(detector, Fitted) else _flops(detector, recipe.size)
    return {**facts, "parameters": counts if counts["total"] else None, "flops": flops}


def _weights(part: nn.Module) -> int:
    frozen = [inner.levels for inner in part.modules() if isinstance(inner, Backbone)]
    own = [*part.parameters(), *(weight for levels in frozen for weight in levels.buffers())]
    return sum(weight.numel() for weight in own)


def skeleton(recipe: Recipe) -> Detector:
    """The detector without storage (on the meta device), its options and size checked."""
    kind, options = _chosen(recipe)
    with torch.device("meta"):
        return kind(options)


def _flops(detector: nn.Module, size: tuple[int, int]) -> int:
    # Imported here: it takes half a second that no other command needs.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.eval()(torch.zeros(1, 3, *size, device="meta"))
    return int(counter.get_total_flops())
