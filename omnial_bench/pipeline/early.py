"""Mistakes in names, records and folders, told before torch is imported: what the command line asks first.

All of it is looked at again where the work is done, to which code from elsewhere, `package.module:object`, is left.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from omnial_bench.attacks.checks import check_suite, sized_in
from omnial_bench.attacks.sets.manifest import read_manifest
from omnial_bench.config.load import planned_recipe, read_recipe, read_suite
from omnial_bench.config.schema import Plan, Recipe, Suite
from omnial_bench.data.dataset import check_root
from omnial_bench.data.textures import check_textures
from omnial_bench.defences.registry import check_defence
from omnial_bench.errors import UserError, about
from omnial_bench.io.links import check_links
from omnial_bench.models.finished import folder_of
from omnial_bench.models.options.known import OPTIONS, check_options
from omnial_bench.models.options.reconstruction import NetworksOptions

Names = Collection[str]
Paths = Collection[Path]


def check_run(plan: Plan, *, data: Path, out: Path, textures: Path | None) -> None:
    """UserError for a detector, a preset, a suite, a threat, an option, a category or a folder that is not there, and
    for a link in `out`."""
    check_links(out)
    recipes = {name: planned_recipe(plan, name) for name in plan.detectors}
    sized = next((suite for suite in _check_suites(plan.suites) if sized_in(suite)), None)
    if sized is not None:
        for name, recipe in recipes.items():
            _check_threshold(name, recipe, sized)
    _check_training(recipes, data, plan.categories, textures, plan.reader)


def check_train(
    detector: str, preset: str, *, data: Path, categories: Names, textures: Path | None, reader: str | None
) -> None:
    """UserError as of `check_run`."""
    _check_training({detector: read_recipe(detector, preset)}, data, categories, textures, reader)


def check_attacked(
    suites: Names,
    checkpoints: Names,
    sets: Paths,
    *,
    data: Path,
    out: Path,
    categories: Names,
    reader: str | None,
    as_sets: bool = False,
) -> None:
    """UserError as of `check_run`, and for a checkpoint or a set that is not there; `as_sets` as of `check_suite`."""
    _check_suites(suites, as_sets=as_sets)
    try:
        check_links(out)
    except UserError:
        # Whether it is in the way is told first, by who knows what is written.
        return
    for folder in sets:
        read_manifest(folder)
    for path in checkpoints:
        folder_of(path)
    check_root(data, categories, reader=reader)


def _check_suites(names: Names, *, as_sets: bool = False) -> list[Suite]:
    suites = [read_suite(name) for name in names]
    for name, suite in zip(names, suites, strict=True):
        with about(name):
            check_suite(suite, looking=True, as_sets=as_sets)
    return suites


def _check_threshold(name: str, recipe: Recipe, suite: Suite) -> None:
    """UserError where a detector of here will have no threshold, which `suite` is after."""
    if recipe.defence and ":" not in recipe.defence.get("name", ""):
        why = f"whose defence {recipe.defence.get('name')} changes its scores; leave one of the two out"
    elif issubclass(OPTIONS.get(recipe.detector, object), NetworksOptions) and not recipe.training.validation:
        why = (
            f"which holds no normal images out; leave one of the two out, or write validation = 0.1 under training of "
            f"preset {recipe.preset} in a record of your own"
        )
    else:
        return
    raise UserError(
        f"suite {suite.name}: expected detectors with a threshold for the attack {sized_in(suite)}, got {name}, {why}"
    )


def _check_training(
    recipes: Mapping[str, Recipe], data: Path, categories: Names, textures: Path | None, reader: str | None
) -> None:
    for name, recipe in recipes.items():
        check_defence(recipe.defence, f"the record {name}")
        if ":" not in recipe.detector:
            with about(name):
                check_options(recipe)
    check_root(data, categories, reader=reader)
    check_textures(textures)
