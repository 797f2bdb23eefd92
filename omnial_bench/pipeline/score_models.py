"""Models on disk and from elsewhere -> rows: on the clean test split, on sealed sets, and attacked on the spot."""

import logging
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from omnial_bench.attacks.checks import check_suite
from omnial_bench.config.schema import Suite
from omnial_bench.errors import UserError
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import write_index
from omnial_bench.evaluation.suited import check_suited, has_gradient, takes_gradient
from omnial_bench.evaluation.target import labels_on
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.pipeline.executor import PRELOAD, do_all
from omnial_bench.pipeline.ledger import WRITTEN, Ledger, check_rows, row_names, row_text, write_environment
from omnial_bench.pipeline.model_tasks import Attacking, Scoring, others_on
from omnial_bench.pipeline.plan import check_names, look_through, names_of
from omnial_bench.pipeline.request import Desk, Request
from omnial_bench.pipeline.tasks import Task
from omnial_bench.processes import crew, threads_of
from omnial_bench.progress import Watch, logged

log = logging.getLogger(__name__)


def assess(request: Request, *, watch: Watch = lambda _: None) -> pd.DataFrame:
    """Rows of every model on the clean test split, on every set and under every suite.

    They lie in results.csv in `out`, with attacks.csv and health.csv where anything was attacked, and differences.csv
    where there are several models; they are written as tasks end. A suite that attacks `each` model shows its images
    to all models of the request. Done work in `out` is not done again. UserError for a mistake in the request, where
    the results.csv that is there holds rows which these do not replace, and where what is to be written is a link or
    holds one.
    """
    check_links(request.out, WRITTEN)
    desk = Desk(request)
    rows, tasks, sizes = _planned(desk)
    with claimed(make_folder(request.out), alone=True):
        there = request.out / "results.csv"
        check_rows(there, rows, [name for suite in desk.suites for name in names_of(suite)])
        if request.detectors and there.is_file():
            log.warning("%s: rows of detectors from elsewhere are made anew, in place of those there", there)
        with swept(request.out, desk.cache.folder, deep=False), swept(request.out / EXAMPLES), logged(request.out):
            return _assessed(desk, tasks, sizes, watch)


def _assessed(desk: Desk, tasks: list[Task], sizes: list[tuple[int, int]], watch: Watch) -> pd.DataFrame:
    request = desk.request
    categories = sorted({task.category for task in tasks if isinstance(task, Scoring | Attacking)})
    dataset = request.dataset(categories, name=desk.model(next(iter(desk.names))).dataset.name)
    write_environment(
        request.out, dataset, device=desk.device, threads=threads_of(request.jobs), precision=request.precision,
        seed=request.seed or 0, sizes=sizes, suites=desk.suites, **desk.told(),
        metrics=[own.metric for own in desk.own_metrics],
    )  # fmt: skip
    ledger = Ledger(request.out, [str(task) for task in tasks], categories)
    engine = crew(Desk, (request,), request.jobs, watch, preload=PRELOAD) if request.jobs > 1 else None
    do_all(desk, tasks, ledger, watch, engine, request.jobs)
    if examples := ledger.outcome.examples:
        write_index(request.out, examples)
    return ledger.close()


def _planned(desk: Desk) -> tuple[list[tuple[str, ...]], list[Task], list[tuple[int, int]]]:
    """The names of the rows that there will be, the tasks, and the models' sizes; UserError for what would be stumbled
    over later."""
    request = desk.request
    if not desk.names:
        raise UserError("expected a checkpoint or a detector to score, got none; name one")
    request.check()
    for suite in desk.suites:
        check_suite(suite)
        if suite.against == "sources":
            raise UserError(
                f"suite {suite.name} is for sets on disk; build them with `omnial-bench attack {suite.name}` and give "
                "their folders, or name a suite that attacks each model itself"
            )
    check_names("sets", [name for suite in desk.suites for name in names_of(suite)])
    check_folder(request.out)
    rows: list[tuple[str, ...]] = []
    scored: dict[str, list[Task]] = {}
    served: dict[str, tuple[str, ...]] = {}
    blind: set[str] = set()
    looked: set[tuple[object, ...]] = set()
    meeting: list[tuple[str, tuple[int, int]]] = []
    for name in desk.names:
        model = desk.model(name)
        detector, title = model.target.detector, model.target.model
        meeting.append((title, model.size))
        for suite in desk.suites:
            if suite.against == "self":
                check_suited(detector, suite, title)
        split = (model.dataset.root, model.categories, model.size)
        if split not in looked:
            look_through(model.dataset, ("test",), model.size)
            looked.add(split)
        served[name], scored[name] = model.categories, []
        if not has_gradient(detector):
            blind.add(name)
        for label, images in (("clean", None), *desk.sets.items()):
            if images is not None and images.size != model.size:
                raise UserError(f"expected images of {model.size} for {title}, set {images.folder} has {images.size}")
            rows += row_names(labels_on(model.target.labels, images, title), model.on(images))
            scored[name] += [Scoring(name, label, category, examples=False) for category in model.on(images)]
    for row in rows:
        if rows.count(row) > 1:
            raise UserError(f"the same rows twice, {row_text(row)}; score them into different folders")
    for suite in desk.suites:
        if suite.against == "each":
            _check_meeting(suite, meeting)
    tasks = [
        task
        for name in desk.names
        for task in (*scored[name], *(task for suite in desk.suites for task in _attacks(name, suite, served, blind)))
    ]
    return rows, tasks, list(dict.fromkeys(size for _, size in meeting))


def _check_meeting(suite: Suite, models: Sequence[tuple[str, tuple[int, int]]]) -> None:
    """UserError where models that share their images cannot be told apart as sources, or have different sizes."""
    names = [name for name, _ in models]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"expected models of different names in suite {suite.name}, for rows name their source, got {name} "
                "twice; call a detector by another name, or score them into different folders"
            )
    sizes = dict.fromkeys(size for _, size in models)
    if len(sizes) > 1:
        some = ", ".join(f"{name} {height}x{width}" for name, (height, width) in models[:6])
        raise UserError(
            f"expected one network size in suite {suite.name}, for the models share their images, got {some}; "
            "give a detector the size of the others with --size"
        )


def _attacks(name: str, suite: Suite, served: Mapping[str, Sequence[str]], blind: Collection[str]) -> list[Task]:
    """A model under a suite, a task a category, where the other models that serve it look on if the suite says so."""
    if suite.against == "each" and name in blind and takes_gradient(suite):
        log.warning("%s has no gradient: in %s it sees what others make, and makes none", name, suite.name)
        return []
    return [
        Attacking(name, suite, category, others=others_on(suite, name, category, served)) for category in served[name]
    ]
