"""A plan -> trainings, adversarial sets, scores -> rows -> report, each through the cache of its run folder."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pandas as pd
import tomli_w

from omnial_bench import provenance
from omnial_bench.config.load import records_folder
from omnial_bench.config.schema import Plan
from omnial_bench.data.cache import sweep_cache
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import gallery, write_index
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import check_idle, locked
from omnial_bench.io.whole import DAMAGED, make_folder, sha256, without_none, write_text
from omnial_bench.metrics.accumulator import metrics_named
from omnial_bench.models.unfinished import drop_state
from omnial_bench.pipeline.executor import PRELOAD, Standing, do_all, standings
from omnial_bench.pipeline.ledger import Ledger, write_environment
from omnial_bench.pipeline.plan import Settings, check_plan
from omnial_bench.pipeline.ray_executor import Cluster, ray_crew
from omnial_bench.pipeline.task_cache import Cache, Inputs
from omnial_bench.pipeline.tasks import Task
from omnial_bench.pipeline.train_task import Training
from omnial_bench.pipeline.workspace import Workspace
from omnial_bench.processes import THREADS, Each, crew, threads_of
from omnial_bench.progress import Watch, logged
from omnial_bench.results import UNFINISHED

log = logging.getLogger(__name__)

Report = Callable[[Path], Sequence[Path]]
"""Writes the documents of a run folder and names them."""
REPORT_CODE = ("reports.document",)
REPORT_PACKAGES = ("jinja2", "matplotlib", "pandas", "typst")
REPORT_INPUTS = (
    "*.csv", "plan.toml", "environment.json", UNFINISHED, f"{EXAMPLES}/**/*", "models/*/log.csv",
    "models/*/recipe.toml", "sets/*/manifest.json",
)  # fmt: skip
WHOLE = "run"
"""What lies at the mirror and belongs to no task of its own."""
REPORT_FILES = ("report.*", "figures/*", "tables/*")


def run(
    plan: Plan,
    settings: Settings,
    *,
    watch: Watch = lambda _: None,
    cluster: Cluster | None = None,
    report: Report | None = None,
) -> pd.DataFrame:
    """Train, build the sets, score; results.csv and everything that a report needs lie in `settings.out` afterwards.

    What is there already, whole and still fitting the plan, is not done again; what is damaged is set aside and made
    again. Rows are written as tasks end. Tasks run in `settings.jobs` processes here, or on a Ray `cluster`. `report`
    is called at the end, where anything that it reads has changed. With `settings.mirror` all of it lies there as well.
    UserError for a mistake in the plan or the data, while another process works in that folder, and where there is a
    link in it.
    """
    check_links(settings.out)
    check_plan(plan, settings)
    place = Workspace(plan, settings)
    make_folder(place.out)
    with _alone(place), logged(place.out):
        place.cache.bring([WHOLE])
        write_text(place.out / "plan.toml", tomli_w.dumps(without_none(plan.model_dump(mode="json"))))
        write_environment(
            place.out, place.dataset, device=place.device, threads=THREADS if cluster else threads_of(settings.jobs),
            precision=settings.precision, seed=plan.seed, sizes=[place.size], suites=place.suites,
            titles={model.detector: model.title for model in place.models},
            families={model.detector: model.family for model in place.models},
            metrics=[own.metric for own in metrics_named(plan.metrics, settings.trusted, f"plan {plan.name}")],
        )  # fmt: skip
        tasks = place.tasks
        ledger = Ledger(place.out, [str(task) for task in tasks], plan.categories, run=place.run)
        do_all(place, tasks, ledger, watch, _engine(place, cluster, watch), None if cluster else settings.jobs)
        place.cache.bring([task.name for task in tasks])
        normals = place.dataset.load("train", None, place.size)
        examples = gallery(
            place.out, normals, place.textures, seed=plan.seed, categories=plan.categories, detector="omnial"
        )
        write_index(place.out, [*examples, *ledger.outcome.examples])
        rows = ledger.close()
        if report is not None:
            _report(place.cache, report)
        # What a person reads, or the report is made from; its note vouches for it.
        documents = [*_files(place.out, *REPORT_INPUTS, *REPORT_FILES), *_files(place.cache.folder, "report.json")]
        of_tasks = {path for task in tasks for path in task.sent(place)}
        place.cache.send(WHOLE, [path for path in documents if path not in of_tasks])
    return rows


@contextmanager
def _alone(place: Workspace) -> Iterator[None]:
    """Be the only run in its folder, where nothing of killed processes lies at the beginning, and at the end no save of
    a finished training either, nor anything that was begun in the cache."""
    keys = {place.folder_of(model): place.training(model).key for model in place.models}
    with locked(place.out):
        try:
            with swept(place.out, workers=place.cache.folder):
                for folder in (*place.out.glob("*/"), *place.out.glob("models/*/")):
                    check_idle(folder)
                yield
        finally:
            sweep_cache()
            for folder, key in keys.items():
                drop_state(folder, key)


def _files(out: Path, *patterns: str) -> list[Path]:
    """Whole files of a folder, each once."""
    paths = {path for pattern in patterns for path in out.glob(pattern) if path.is_file()}
    return sorted(path for path in paths if path.suffix != DAMAGED)


def dry_run(plan: Plan, settings: Settings) -> list[Standing]:
    """What `run` would do with each task of a plan, and why; in order, the report last.

    Nothing is written but what is brought from the mirror and the hashes of files that are compared. UserError as of
    `run`, but no image is decoded, so that a damaged one goes unseen, a folder in use is no mistake, and no detector
    from elsewhere is run, trusted or not; a reader of the data that the plan names is, if it is trusted, for without it
    nothing is known of the data.
    """
    check_links(settings.out)
    check_plan(plan, settings, looking=True)
    return standings(Workspace(plan, settings), lambda: report_inputs(settings.out))


def _engine(place: Workspace, cluster: Cluster | None, watch: Watch) -> AbstractContextManager[Each] | None:
    """Where tasks are done; None: here."""
    plan, settings = place.plan, place.settings
    if cluster is None and settings.jobs == 1:
        return None
    if cluster is None:
        return crew(Workspace, (plan, settings), settings.jobs, watch, preload=PRELOAD)
    # Spelt out, for what `auto` means differs from machine to machine.
    settings = replace(settings, device=place.device.type)

    def asks(task: Task) -> tuple[float, float]:
        """CPU cores and GPUs: a training is shared among devices, all else uses one."""
        devices = settings.devices if isinstance(task, Training) else 1
        return (1, devices) if place.device.type == "cuda" else (devices, 0)

    return ray_crew(Workspace, (plan, settings), cluster, asks=asks)


def report_inputs(out: Path) -> Inputs:
    """What decides the report of a run folder: all that it reads, and what writes it."""
    templates = sorted((Path(__file__).parents[1] / "reports").rglob("*.*"))
    values = {
        "code": provenance.code_version(*REPORT_CODE),
        "templates": {path.name: sha256(path) for path in templates if path.suffix in (".j2", ".typ")},
        "versions": {name: metadata.version(name) for name in REPORT_PACKAGES},
        "published": sha256(records_folder("reports") / "published.csv"),
        "inputs": {path.relative_to(out).as_posix(): sha256(path) for path in _files(out, *REPORT_INPUTS)},
    }
    return Inputs(values)


def _report(cache: Cache, write: Report) -> None:
    inputs = report_inputs(cache.out)
    entry = cache.read("report", inputs)
    entry.set_damaged_aside()
    if entry.reasons:
        write(cache.out)
        cache.put("report", inputs, {}, _files(cache.out, *REPORT_FILES))
