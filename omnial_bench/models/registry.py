"""Detectors by name: recipe to network, and what a network costs."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import nn

from omnial_bench.config import load as reading
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import UserError, unknown
from omnial_bench.models import (
    cutpaste,
    draem,
    gaussian,
    jnld,
    mkd,
    omnial,
    padim,
    patchcore,
    patchsvdd,
    rd4ad,
    simplenet,
    spd,
    stfpm,
    uniad,
)
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.learned_options import (
    CutPasteOptions,
    MKDOptions,
    PaDiMOptions,
    PaDiMSPDOptions,
    PatchCoreOptions,
    PatchSVDDOptions,
    RD4ADOptions,
    SimpleNetOptions,
    STFPMOptions,
    UniADOptions,
)
from omnial_bench.models.options import DRAEMOptions, GaussianOptions, JNLDOptions, OmniALOptions, check_fit
from omnial_bench.models.outside import foreign
from omnial_bench.models.outside.adapter import check_detector
from omnial_bench.trust import drawing_from, is_foreign
from omnial_bench.types import Detector, GradientTrained

DETECTORS: dict[str, tuple[Callable[[Any], Detector], type[Any]]] = {
    "cutpaste": (cutpaste.CutPaste, CutPasteOptions),
    "draem": (draem.DRAEM, DRAEMOptions),
    "gaussian": (gaussian.FilterGaussian, GaussianOptions),
    "jnld": (jnld.JNLD, JNLDOptions),
    "mkd": (mkd.MKD, MKDOptions),
    "omnial": (omnial.OmniAL, OmniALOptions),
    "padim": (padim.PaDiM, PaDiMOptions),
    "padim-spd-lite": (spd.PaDiMSPD, PaDiMSPDOptions),
    "patchcore": (patchcore.PatchCore, PatchCoreOptions),
    "patchsvdd": (patchsvdd.PatchSVDD, PatchSVDDOptions),
    "rd4ad": (rd4ad.RD4AD, RD4ADOptions),
    "simplenet": (simplenet.SimpleNet, SimpleNetOptions),
    "stfpm": (stfpm.STFPM, STFPMOptions),
    "uniad": (uniad.UniAD, UniADOptions),
}


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
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    make: Callable[[], nn.Module]
    if is_foreign(recipe.detector):
        make = partial(foreign.make, recipe.detector, recipe.options, trusted=trusted, where=where, trained=True)
    else:
        kind, options = _chosen(recipe)
        make = partial(kind, options)
    with drawing_from(generator):
        detector = make()
    if not isinstance(detector, Detector):
        raise UserError(
            f"{recipe.detector}: expected a Detector of omnial_bench.types, got {type(detector).__name__}; "
            "only a Detector can be trained"
        )
    if is_foreign(recipe.detector) and not isinstance(detector, Fitted):
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
    chosen = reading.parse(options, recipe.options, f"options of {recipe.detector}")
    check_fit(chosen, recipe.size)
    return kind, chosen


def describe(recipe: Recipe) -> dict[str, Any]:
    """Parameters, in total and by subnetwork, and forward FLOPs (2 x multiply-adds) of one image at its size.

    Both are None for a detector from elsewhere, for looking runs no code, and for a Fitted, whose state comes with its
    fit.
    """
    facts = {"detector": recipe.detector, "preset": recipe.preset, "size": list(recipe.size)}
    if is_foreign(recipe.detector):
        return {**facts, "parameters": None, "flops": None}
    detector = skeleton(recipe)
    if isinstance(detector, Fitted):
        return {**facts, "parameters": None, "flops": None}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in detector.named_children()}
    total = sum(p.numel() for p in detector.parameters())
    return {
        **facts,
        "parameters": {"total": total, **{name: count for name, count in counts.items() if count}},
        "flops": _flops(detector, recipe.size),
    }


def skeleton(recipe: Recipe) -> Detector:
    """The detector without storage (on the meta device), its options and size checked."""
    kind, options = _chosen(recipe)
    with torch.device("meta"):
        return kind(options)


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
