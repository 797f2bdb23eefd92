"""What a plan asks for: its models and the sources of its sets, and every mistake in it before any work."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from omnial_bench.attacks.checks import check_suite
from omnial_bench.config.load import planned_recipe, read_detector, read_suite
from omnial_bench.config.schema import Paradigm, Plan, Recipe, Suite
from omnial_bench.data.dataset import Dataset, Split, find_dataset
from omnial_bench.data.textures import check_textures, load_textures
from omnial_bench.defences.registry import check_defence, defended
from omnial_bench.errors import UserError, about, unknown
from omnial_bench.io.whole import check_folder
from omnial_bench.metrics.accumulator import metrics_named
from omnial_bench.models.checkpoint import model_name
from omnial_bench.models.distributed import check_share
from omnial_bench.models.registry import build, check_learns, skeleton
from omnial_bench.pipeline.mirror import Mirror
from omnial_bench.runtime import Precision, fabric
from omnial_bench.trust import check_trust, is_foreign
from omnial_bench.types import Detector

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and how a plan is run; none of it but the precision decides a figure beyond rounding."""

    data: Path
    out: Path
    textures: Path | None = None
    device: str = "auto"
    precision: Precision = "32-true"
    jobs: int = 1
    devices: int = 1
    """Devices that share each batch of a training; attacks and scores use one."""
    recompute: bool = False
    """Trainings make features twice, for less memory."""
    keep_models: bool = False
    """Take finished trainings as they are where only code, packages or device have changed since."""
    mirror: str | None = None
    """A URL where the run folder is kept as well."""
    trusted: tuple[str, ...] = ()
    """`package.module:object` that records, plans, suites and checkpoints may run, a reader of data too."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One training of a plan."""

    detector: str
    paradigm: Paradigm
    categories: tuple[str, ...]
    recipe: Recipe
    title: str
    family: str
    """Of the detector, as its record says; they decide nothing."""

    @property
    def name(self) -> str:
        return model_name(self.detector, self.paradigm, self.categories[0] if self.paradigm == "separate" else None)


def models_of(plan: Plan) -> list[Model]:
    """The trainings of a plan: one unified model a detector, one separate model a detector and category."""
    models = []
    for detector in plan.detectors:
        recipe = planned_recipe(plan, detector)
        for paradigm in plan.paradigms:
            models += trainings(detector, recipe, paradigm, plan.categories)
    return models


def trainings(detector: str, recipe: Recipe, paradigm: Paradigm, categories: tuple[str, ...]) -> list[Model]:
    """The trainings of one detector, a name or the path of a record, in one paradigm."""
    name, record = Path(detector).stem, read_detector(detector)
    return [
        Model(
            detector=name, paradigm=paradigm, categories=group, recipe=recipe, title=record.title, family=record.family
        )
        for group in groups_of(paradigm, categories)
    ]


def groups_of(paradigm: str, categories: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The categories of each model."""
    return [categories] if paradigm == "unified" else [(category,) for category in categories]


def sources_of(plan: Plan, models: Sequence[Model], suites: Sequence[Suite]) -> list[Model]:
    """The models that the sets are built on: the plan's `sources`, else every unified model; none where no suite
    builds a set.

    Where one category has separate models alone, these. UserError for a name that is no model of the plan.
    """
    names = {model.name: model for model in models}
    for name in plan.sources:
        if name not in names:
            raise unknown("source model", name, names)
    if all(suite.against != "sources" for suite in suites):
        return []
    chosen = [names[name] for name in plan.sources] or [model for model in models if model.paradigm == "unified"]
    if not chosen and len(plan.categories) > 1:
        built = next(suite.name for suite in suites if suite.against == "sources")
        raise UserError(
            f"plan {plan.name}: expected sources for the sets of suite {built}, for all models are separate ones of "
            f"several categories; write sources = [{models[0].name!r}] or others of them"
        )
    return chosen or list(models)


def check_plan(plan: Plan, settings: Settings, *, looking: bool = False) -> None:
    """UserError for what a run of the plan would stumble over later: records, models, device, folders, every image.

    Nothing is written but the cache of decoded images, which the run finds again. Who is only `looking` decodes no
    image, and builds no detector, which is done once for one from elsewhere.
    """
    models = models_of(plan)
    check_names("models", [model.name for model in models])
    suites = [read_suite(name, settings.trusted) for name in plan.suites]
    sources_of(plan, models, suites)
    for entry, suite in zip(plan.suites, suites, strict=True):
        with about(entry):
            named = check_suite(suite, looking=looking)
        for name in named:
            log.warning("suite %s names the code %s: a run wants --trust %s", suite.name, name, name)
    if looking:
        _check_names_of_code(plan.metrics, settings.trusted, f"plan {plan.name}", "metric")
    else:
        metrics_named(plan.metrics, settings.trusted, f"plan {plan.name}")
    check_names("threats", [name for suite in suites for name in names_of(suite)])
    recipes = {model.detector: model.recipe for model in models}
    for entry in plan.detectors:
        recipe, where = recipes[Path(entry).stem], f"the record {entry} of plan {plan.name}"
        code = [*filter(is_foreign, (recipe.detector, check_defence(recipe.defence, where)))]
        if looking and code:
            _check_names_of_code(code, settings.trusted, where)
        else:
            check_recipe(recipe, settings.trusted, where)
        check_share(recipe.training.batch, settings.devices)
    sizes = sorted({model.recipe.size for model in models})
    if len(sizes) > 1:
        raise UserError(f"expected one network size, the detectors have {sizes}; give the plan a size")
    if settings.jobs > 1 and settings.devices > 1:
        raise UserError(
            f"expected jobs or devices above 1, got {settings.jobs} jobs on {settings.devices} devices; try one of them"
        )
    fabric(settings.device, settings.precision, settings.devices)
    check_folder(settings.out)
    if settings.mirror:
        Mirror(settings.mirror, settings.out).check()
    dataset = data_of(plan, settings)
    check_textures(settings.textures)
    if not looking:
        load_textures(settings.textures, sizes[0])
        look_through(dataset, ("train", "test"), sizes[0])


def _check_names_of_code(names: Collection[str], trusted: Collection[str], where: str, what: str = "detector") -> None:
    """Log what a run would have to trust, importing nothing; UserError for what is no name of code."""
    for name in names:
        check_trust(name, [name], where, what)
        if name not in trusted:
            log.warning("%s names the code %s: a run wants --trust %s", where, name, name)


def data_of(plan: Plan, settings: Settings) -> Dataset:
    """The plan's data; UserError as of `find_dataset`, also where it names a reader that is not trusted."""
    return find_dataset(
        settings.data, plan.categories, name=plan.dataset, reader=plan.reader, trusted=settings.trusted,
        labels=plan.labels,
    )  # fmt: skip


def check_recipe(recipe: Recipe, trusted: Collection[str], where: str) -> None:
    """UserError for a detector that is not there or learns nothing, an option that it or its defence has not, a size
    that it cannot take, or code that is not among `trusted`, which the record `where` asks to run."""
    if is_foreign(recipe.detector):
        detector: Detector = check_learns(build(recipe, trusted=trusted, where=where))
    else:
        with about(where):
            detector = skeleton(recipe)
    defended(detector, recipe.defence, trusted=trusted, where=where)


def names_of(suite: Suite) -> list[str]:
    """The names of images that a suite brings into the column `set`."""
    own = [] if suite.against == "sources" else [suite.control, suite.worst_name]
    return [*(threat.name for threat in suite.threats), *own]


def check_names(what: str, names: Sequence[str]) -> None:
    """UserError where a name is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"expected {what} of different names, {name!r} is there twice; rename or leave out one")


def look_through(dataset: Dataset, splits: Sequence[Split], size: tuple[int, int]) -> None:
    """Read every image and mask once: the last one may be the damaged one."""
    for category in dataset.categories:
        for split in splits:
            dataset.load(split, [category], size)
