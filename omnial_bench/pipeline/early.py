"""Mistakes in names, records and folders, told before torch is imported: what the command line asks first.

All of it is looked at again where the work is done, to which code from elsewhere, `package.module:object`, is left.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from omnial_bench.attacks.sets.manifest import read_manifest
from omnial_bench.attacks.threats import check_suite, sized_in
from omnial_bench.config.load import read_recipe, read_suite
from omnial_bench.config.schema import Plan, Recipe, Suite
from omnial_bench.data.dataset import check_root
from omnial_bench.data.textures import check_textures
from omnial_bench.defences.registry import check_defence
from omnial_bench.errors import UserError
from omnial_bench.io.links import check_links
from omnial_bench.models.finished import folder_of
from omnial_bench.models.options import OPTIONS, NetworksOptions, check_options

Names = Collection[str]
Paths = Collection[Path]


def check_run(plan: Plan, *, data: Path, out: Path, textures: Path | None) -> None:
    """UserError for a detector, a preset, a suite, a threat, an option, a category or a folder that is not there, and
    for a link in `out`."""
    check_links(out)
    recipes = [read_recipe(name, plan.preset, size=plan.size, batch=plan.batch) for name in plan.detectors]
    suites = _check_suites(plan.suites)
    _check_thresholds(suites, recipes)
    _check_training(recipes, data, plan.categories, textures, plan.reader)


def check_train(
    detector: str, preset: str, *, data: Path, categories: Names, textures: Path | None, reader: str | None
) -> None:
    """UserError as of `check_run`."""
    _check_training([read_recipe(detector, preset)], data, categories, textures, reader)


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
    for suite in suites:
        check_suite(suite, looking=True, as_sets=as_sets)
    return suites


def _check_thresholds(suites: Iterable[Suite], recipes: Iterable[Recipe]) -> None:
    """UserError for a suite that is after the threshold of a detector that will have none."""
    for suite in suites:
        for recipe in recipes if sized_in(suite) else ():
            learns_all = issubclass(OPTIONS.get(recipe.detector, object), NetworksOptions)
            if recipe.defence or (learns_all and not recipe.training.validation):
                why = "has a defence" if recipe.defence else f"holds no normal images out at preset {recipe.preset}"
                raise UserError(
                    f"suite {suite.name}: expected a detector with a threshold for the attack {sized_in(suite)}, got "
                    f"{recipe.detector}, which {why}; leave one of the two out, or set validation above 0"
                )


def _check_training(
    recipes: Iterable[Recipe], data: Path, categories: Names, textures: Path | None, reader: str | None
) -> None:
    for recipe in recipes:
        check_defence(recipe.defence, "the record")
        if ":" not in recipe.detector:
            check_options(recipe)
    check_root(data, categories, reader=reader)
    check_textures(textures)
