"""A plan -> trainings, adversarial sets, scores -> rows. Each task is kept under the hash of all that decides it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pandas as pd
import tomli_w
import torch

from omnial_bench import provenance as made_by
from omnial_bench.attacks.health import health
from omnial_bench.config.load import records_folder
from omnial_bench.config.schema import Plan, Suite
from omnial_bench.data.cache import sweep_cache
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import Dataset
from omnial_bench.evaluation.differences import write_differences
from omnial_bench.evaluation.evaluate import Evaluation
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import gallery, write_index
from omnial_bench.evaluation.scoring import with_means
from omnial_bench.io.csv import csv_text
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import check_idle, locked
from omnial_bench.io.whole import DAMAGED, make_folder, sha256, without_none, write_json, write_text
from omnial_bench.models.unfinished import drop_state
from omnial_bench.pipeline.doing import do, left_by
from omnial_bench.pipeline.plan import Settings, check_plan
from omnial_bench.pipeline.ray_executor import Cluster, ray_crew
from omnial_bench.pipeline.standing import Standing, keep, look_at, set_damaged_aside, standings
from omnial_bench.pipeline.study import Decided, Study
from omnial_bench.pipeline.tasks import Task, Training, graph, places
from omnial_bench.processes import THREADS, Each, crew, threads_of
from omnial_bench.progress import Watch
from omnial_bench.results import attempts_frame, frame, write_rows

Report = Callable[[Path], Sequence[Path]]
"""Writes the documents of a run folder and names them."""
REPORT_CODE = ("reports.document",)
REPORT_PACKAGES = ("jinja2", "matplotlib", "pandas", "typst")
REPORT_INPUTS = (
    "*.csv", "plan.toml", "environment.json", f"{EXAMPLES}/**/*", "models/*/log.csv", "models/*/recipe.toml",
    "sets/*/manifest.json",
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
    again. Tasks run in `settings.jobs` processes here, or on a Ray `cluster`. `report` is called at the end, where
    anything that it reads has changed. With `settings.mirror` all of it lies there as well. UserError for a mistake in
    the plan or the data, while another process works in that folder, and where there is a link in it.
    """
    check_links(settings.out)
    check_plan(plan, settings)
    study = Study(plan, settings)
    make_folder(study.out)
    with _alone(study):
        if study.mirror:
            study.mirror.fetch(WHOLE)
        write_text(study.out / "plan.toml", tomli_w.dumps(without_none(plan.model_dump(mode="json"))))
        write_environment(
            study.out, study.dataset, device=study.device, threads=THREADS if cluster else threads_of(settings.jobs),
            precision=settings.precision, seed=plan.seed, suites=(*study.evaluations, *study.threats),
        )  # fmt: skip
        tasks, found = graph(study), Evaluation()
        with _engine(study, cluster, watch) as each:
            for one in each(do, tasks, places(tasks)):
                found.extend(one)
        if study.mirror:
            for task in tasks:
                study.mirror.fetch(task.name)
        normals = study.dataset.load("train", None, study.size)
        examples = gallery(
            study.out, normals, study.textures, seed=plan.seed, categories=plan.categories, detector="omnial"
        )
        write_index(study.out, [*examples, *found.examples])
        rows = write_found(study.out, found)
        if report is not None:
            _report(study.out, report)
        if study.mirror:
            of_tasks = {path for task in tasks for path in left_by(study, task)}
            study.mirror.send(WHOLE, [path for path in _documents(study.out) if path not in of_tasks])
    return rows


@contextmanager
def _alone(study: Study) -> Iterator[None]:
    """Be the only run in its folder, where nothing of killed processes lies at the beginning, nor at the end.

    At the end no save of a finished training is left either, and nothing that was begun in the cache.
    """
    keys = {study.folder_of(model): study.train_key(model) for model in study.models}
    with locked(study.out):
        try:
            with swept(study.out, workers=study.done):
                for folder in (*study.out.glob("*/"), *study.out.glob("models/*/")):
                    check_idle(folder)
                yield
        finally:
            sweep_cache()
            for folder, key in keys.items():
                drop_state(folder, key)


def _documents(out: Path) -> list[Path]:
    """Files of a whole run that a person reads, or that its report is made from."""
    found = {path for pattern in (*REPORT_INPUTS, *REPORT_FILES) for path in out.glob(pattern) if path.is_file()}
    note = out / ".tasks" / "report.json"
    return [*sorted(path for path in found if path.suffix != DAMAGED), *([note] if note.is_file() else [])]


def dry_run(plan: Plan, settings: Settings) -> list[Standing]:
    """What `run` would do with each task of a plan, and why; in order, the report last.

    Nothing is written but the cache of decoded pictures, and what is brought from the mirror. UserError as of `run`,
    but a folder in use is no mistake, and no code from elsewhere is run, trusted or not.
    """
    check_links(settings.out)
    check_plan(plan, settings, looking=True)
    return standings(Study(plan, settings), lambda: reporting(settings.out))


def _engine(study: Study, cluster: Cluster | None, watch: Watch) -> AbstractContextManager[Each]:
    plan, settings = study.plan, study.settings
    if cluster is None:
        return crew(Study, (plan, settings), settings.jobs, watch)
    # Spelt out, for what `auto` means differs from machine to machine.
    settings = replace(settings, device=study.device.type)

    def asks(task: Task) -> tuple[float, float]:
        """CPU cores and GPUs: a training is shared among devices, all else uses one."""
        devices = settings.devices if isinstance(task, Training) else 1
        return (1, devices) if study.device.type == "cuda" else (devices, 0)

    return ray_crew(Study, (plan, settings), cluster, watch, asks=asks)


def reporting(out: Path) -> Decided:
    """What decides the report of a run folder: all that it reads, and what writes it."""
    paths = {
        path for pattern in REPORT_INPUTS for path in out.glob(pattern) if path.is_file() and path.suffix != DAMAGED
    }
    templates = sorted((Path(__file__).parents[1] / "reports").rglob("*.*"))
    return Decided(
        {
            "code": made_by.code_version(*REPORT_CODE),
            "templates": {path.name: sha256(path) for path in templates if path.suffix in (".j2", ".typ")},
            "versions": {name: metadata.version(name) for name in REPORT_PACKAGES},
            "published": sha256(records_folder("reports") / "published.csv"),
            "inputs": {path.relative_to(out).as_posix(): sha256(path) for path in sorted(paths)},
        }
    )


def _report(out: Path, write: Report) -> None:
    by = reporting(out)
    looked = look_at(out, "report", by)
    set_damaged_aside(looked)
    if looked.reasons:
        write(out)
        written = (path for pattern in REPORT_FILES for path in out.glob(pattern))
        keep(out, "report", by, {}, [path for path in written if path.is_file() and path.suffix != DAMAGED])


def write_found(out: Path, found: Evaluation) -> pd.DataFrame:
    """results.csv with the class means, where anything was attacked in place attacks.csv and health.csv, and of several
    models differences.csv; the rows."""
    rows = frame(with_means(found.rows))
    write_rows(out / "results.csv", rows)
    if found.attempts:
        attempts = attempts_frame(found.attempts)
        write_text(out / "attacks.csv", csv_text(attempts))
        write_text(out / "health.csv", csv_text(health(rows, attempts)))
    write_differences(out, found.drawn)
    return rows


def write_environment(
    out: Path,
    data: Dataset,
    *,
    device: torch.device,
    threads: int,
    precision: str,
    seed: int,
    suites: Iterable[Suite] = (),
) -> None:
    """environment.json; a run that goes on keeps the time of its first start and the titles of earlier suites."""
    entry, path = CATALOG.get(data.name), out / "environment.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        started, titles = before["started"], before.get("suites")
    except (OSError, ValueError, LookupError, TypeError):
        started, titles = datetime.now(UTC).isoformat(timespec="seconds"), None
    environment = {
        "versions": made_by.versions(),
        **made_by.describe_machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": threads,
        "precision": precision,
        "commit": made_by.commit(),
        "command": made_by.command_line(),
        "seed": seed,
        "started": started,
        "dataset": {"name": data.name, "fingerprint": data.fingerprint, "root": data.root.resolve().name},
        "data_notice": entry.notice if entry else None,
        "suites": (titles if isinstance(titles, dict) else {}) | {suite.name: suite.title for suite in suites},
    }
    write_json(path, environment)
