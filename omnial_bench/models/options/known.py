"""The options of each detector by its name. No torch here: a mistake is told without it."""

from collections.abc import Mapping
from typing import Any

from omnial_bench.config.load import parse
from omnial_bench.config.schema import Recipe
from omnial_bench.errors import unknown
from omnial_bench.models.options.base import Options
from omnial_bench.models.options.features import (
    CutPasteOptions,
    GaussianOptions,
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
from omnial_bench.models.options.reconstruction import DRAEMOptions, JNLDOptions, OmniALOptions

OPTIONS: Mapping[str, type[Any]] = {
    "cutpaste": CutPasteOptions, "draem": DRAEMOptions, "gaussian": GaussianOptions, "jnld": JNLDOptions,
    "mkd": MKDOptions, "omnial": OmniALOptions, "padim": PaDiMOptions, "padim-spd-lite": PaDiMSPDOptions,
    "patchcore": PatchCoreOptions, "patchsvdd": PatchSVDDOptions, "rd4ad": RD4ADOptions, "simplenet": SimpleNetOptions,
    "stfpm": STFPMOptions, "uniad": UniADOptions,
}  # fmt: skip


def check_options(recipe: Recipe) -> None:
    """UserError for a detector that is not there, an option that it has not, or a size that it cannot take."""
    if recipe.detector not in OPTIONS:
        raise unknown("detector", recipe.detector, OPTIONS)
    options_of(recipe, OPTIONS[recipe.detector])


def options_of(recipe: Recipe, kind: type[Any]) -> Any:
    """The recipe's options; UserError as of `check_options`."""
    options = parse(kind, recipe.options, f"options of {recipe.detector}")
    if isinstance(options, Options):
        options.check(recipe.size)
    return options
