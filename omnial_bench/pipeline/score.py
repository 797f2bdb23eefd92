"""Models on disk and foreign modules -> rows: on the clean test split, on sealed sets, and attacked on the spot."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets.sealed import AdversarialSet, load_set
from omnial_bench.attacks.threats import check_suite
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Paradigm, Suite
from omnial_bench.data.dataset import Dataset, Truth, find_dataset
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import Target
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import write_index
from omnial_bench.evaluation.scoring import DIGITS, Labels, labels_of, labels_on
from omnial_bench.evaluation.suited import check_suited, has_gradient, takes_gradient
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.metrics.accumulator import metrics_named
from omnial_bench.models.checkpoint import WEIGHTS, load, model_name, read_provenance
from omnial_bench.pipeline.cache import Cache
from omnial_bench.pipeline.earlier_rows import WRITTEN, check_rows, row_names, row_text
from omnial_bench.pipeline.executor import PRELOAD, do_all
from omnial_bench.pipeline.own_detector import Site, Wanted, check_own, detector_at, option_of, weights_of
from omnial_bench.pipeline.plan import check_names, look_through, names_of
from omnial_bench.pipeline.results import Ledger, write_environment
from omnial_bench.pipeline.tasks import Attacking, Scoring, Task
from omnial_bench.pipeline.trainings import identity_at
from omnial_bench.processes import crew, threads_of
from omnial_bench.progress import Watch, logged
from omnial_bench.runtime import Precision, fabric

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be scored on what; `detectors` are written `package.module:object`, after `NAME=` where their rows are
    to have another name than the object's, and trusted by that."""

    data: Path
    out: Path
    checkpoints: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    """`package.module:object` that suites and checkpoints may run, and the reader."""
    reader: str | None = None
    """What reads the data, as of `find_dataset`; None: that of its layout."""
    labels: Truth | None = None
    """What is known of the test images, as of `scan`."""
    options: tuple[str, ...] = ()
    """`key=value` for what makes the foreign detectors."""
    paradigm: Paradigm = "unified"
    """Of foreign detectors; `separate`: one is made for each category."""
    held_out: Path | None = None
    """A folder of normal images that foreign detectors take their scale from."""
    sets: tuple[Path, ...] = ()
    suites: tuple[str, ...] = ()
    """Suites that attack each model itself, or every model with each."""
    categories: tuple[str, ...] | None = None
    """Of foreign detectors; a checkpoint is scored on its own."""
    size: tuple[int, int] = (256, 256)
    """Network height and width of foreign detectors."""
    limit: int | None = None
    """Test images a category under attack at the most; a suite's own limit holds too."""
    seed: int | None = None
    """In the rows; None: that of each training, 0 for foreign detectors."""
    device: str = "auto"
    precision: Precision = "32-true"
    jobs: int = 1
    metrics: tuple[str, ...] = ()
    """Metrics from elsewhere, `package.module:object`, trusted as `detectors` are."""

    @property
    def attack_seed(self) -> int:
        return self.seed or 0

    def dataset(self, categories: Sequence[str] | None, *, name: str | None = None) -> Dataset:
        """The data that the models are scored on."""
        return find_dataset(
            self.data, categories, name=name, reader=self.reader, trusted=self.trusted, labels=self.labels
        )


class _Model(NamedTuple):
    """A model with what it is scored on."""

    target: Target
    categories: tuple[str, ...]
    size: tuple[int, int]
    dataset: Dataset

    def on(self, adversarial: AdversarialSet | None) -> tuple[str, ...]:
        """Its categories that a set has, or all of them on the clean test split."""
        if adversarial is None:
            return self.categories
        return tuple(name for name in self.categories if name in adversarial.categories)


class _Desk:
    """A request with its data: what every task looks things up in."""

    def __init__(self, request: Request) -> None:
        self.request, self.cache = request, Cache(request.out)
        self.seed, self.limit, self.precision = request.attack_seed, request.limit, request.precision
        self.suites = [read_suite(name, request.trusted) for name in request.suites]
        self.metrics = request.metrics
        self.own_metrics = metrics_named(request.metrics, request.metrics, "the command")
        sets = [load_set(folder) for folder in request.sets]
        self.sets = dict(zip(_distinct([one.name for one in sets], ["clean"]), sets, strict=True))
        self.device = fabric(request.device, request.precision).device
        self.options = dict(map(option_of, request.options))
        wanted: list[str | Wanted] = [*request.checkpoints, *self._wanted()]
        self.names = dict(zip(_distinct([self._name(one) for one in wanted]), wanted, strict=True))
        """What is asked for, by the names of the models."""
        self._at_hand: dict[str, _Model] = {}
        self.sizes: list[tuple[int, int]] = []
        """The network sizes of the models."""

    def _wanted(self) -> list[Wanted]:
        """The foreign detectors, one a category where each has its own."""
        wanted = [Wanted.named(text) for text in self.request.detectors]
        if self.request.paradigm == "unified" or not wanted:
            return wanted
        categories = self.request.dataset(self.request.categories).categories
        return [replace(one, category=category) for one in wanted for category in categories]

    def _name(self, one: str | Wanted) -> str:
        if isinstance(one, Wanted):
            return model_name(one.name, self.request.paradigm, one.category)
        try:
            made = read_provenance(_folder(one))
        except UserError:
            # Which is said in full when it is opened.
            made = None
        return made.model if made else Path(one).name

    def titles(self) -> dict[str, str]:
        """What the checkpoints say that reports call their detectors."""
        made = [read_provenance(_folder(one)) for one in self.names.values() if isinstance(one, str)]
        return {one.detector: one.title for one in made if one and one.title}

    def model(self, name: str) -> _Model:
        """A model; the last one stays at hand, for tasks come a model at a time."""
        if name not in self._at_hand:
            self._at_hand = {name: self.open(name)}
        return self._at_hand[name]

    def open(self, name: str) -> _Model:
        """A model, beside the one at hand."""
        wanted = self.names[name]
        return self._foreign(wanted) if isinstance(wanted, Wanted) else self._trained(wanted)

    def target(self, model: str) -> Target:
        return self.model(model).target

    def other_target(self, model: str) -> Target:
        return self.open(model).target

    def identity(self, model: str) -> dict[str, Any] | None:
        """None for foreign code, whose results are never taken for done."""
        wanted = self.names[model]
        return None if isinstance(wanted, Wanted) else identity_at(_folder(wanted))

    def images(self, model: str, category: str) -> Images:
        found = self.model(model)
        return found.dataset.load("test", [category], found.size)

    def files(self, model: str, category: str) -> dict[str, str]:
        return self.model(model).dataset.digests("test", [category])

    def open_set(self, name: str) -> AdversarialSet:
        return self.sets[name]

    def base(self, model: str) -> dict[str, Any]:
        dataset = self.model(model).dataset
        return {
            "versions": made_by.versions(), "device": self.device.type, "precision": self.precision,
            "dataset": dataset.name, **dataset.named_by, "row_seed": self.request.seed,
        }  # fmt: skip

    def _trained(self, path: str) -> _Model:
        found, request = load(path, trusted=self.request.trusted), self.request
        made = found.provenance
        dataset = request.dataset(made.categories, name=made.dataset)
        labels = labels_of(found, made_by.key_of(model=found.sha256, data=dataset.fingerprint)[:8])
        labels = labels if request.seed is None else replace(labels, seed=request.seed)
        target = Target(detector=found.detector, labels=labels, categories=made.categories, metrics=self.own_metrics)
        return _Model(target, made.categories, found.recipe.size, dataset)

    def _foreign(self, wanted: Wanted) -> _Model:
        request, seed = self.request, self.request.seed or 0
        dataset = request.dataset(request.categories)
        own = () if wanted.category is None else (wanted.category,)
        site = Site(
            dataset=dataset, categories=own or dataset.categories, size=request.size, device=self.device, seed=seed,
            options=self.options, held_out=request.held_out,
        )  # fmt: skip
        detector = detector_at(site, wanted.factory, name=wanted.name)
        labels = Labels(
            detector=wanted.name, paradigm=request.paradigm, preset="given", dataset=dataset.name, seed=seed,
            run=made_by.key_of(detector=wanted.factory, options=request.options, data=dataset.fingerprint)[:8],
            weights=weights_of(detector)[:DIGITS],
        )  # fmt: skip
        target = Target(detector=detector, labels=labels, categories=own, metrics=self.own_metrics)
        return _Model(target, site.categories, request.size, dataset)


def _folder(checkpoint: str) -> Path:
    path = Path(checkpoint)
    return path.parent if path.name == WEIGHTS else path


def _distinct(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Names of which none is there twice or taken: those that would be get their number."""
    twice = {name for name in names if names.count(name) > 1 or name in taken}
    return [f"{name}-{index + 1}" if name in twice else name for index, name in enumerate(names)]


def assess(request: Request, *, watch: Watch = lambda _: None) -> pd.DataFrame:
    """Rows of every model on the clean test split, on every set and under every suite.

    They lie in results.csv in `out`, with attacks.csv and health.csv where anything was attacked, and differences.csv
    where there are several models; they are written as tasks end. A suite that attacks `each` model shows its images
    to all models of the request. Done work in `out` is not done again. UserError for a mistake in the request, where
    the results.csv that is there holds rows which these do not replace, and where what is to be written is a link or
    holds one.
    """
    check_links(request.out, WRITTEN)
    desk = _Desk(request)
    rows, tasks = _planned(desk)
    with claimed(make_folder(request.out), alone=True):
        check_rows(request.out / "results.csv", rows, [name for suite in desk.suites for name in names_of(suite)])
        with swept(request.out, desk.cache.folder, deep=False), swept(request.out / EXAMPLES), logged(request.out):
            return _assessed(desk, tasks, watch)


def _assessed(desk: _Desk, tasks: list[Task], watch: Watch) -> pd.DataFrame:
    request = desk.request
    categories = sorted({task.category for task in tasks if isinstance(task, Scoring | Attacking)})
    dataset = request.dataset(categories, name=desk.model(next(iter(desk.names))).dataset.name)
    write_environment(
        request.out, dataset, device=desk.device, threads=threads_of(request.jobs), precision=request.precision,
        seed=request.seed or 0, sizes=desk.sizes, suites=desk.suites, titles=desk.titles(),
        metrics=[one.metric for one in desk.own_metrics],
    )  # fmt: skip
    ledger = Ledger(request.out, [str(task) for task in tasks], categories)
    do_all(crew(_Desk, (request,), request.jobs, watch, preload=PRELOAD), tasks, ledger, watch)
    if examples := ledger.found.examples:
        write_index(request.out, examples)
    return ledger.close()


def _planned(desk: _Desk) -> tuple[list[tuple[str, ...]], list[Task]]:
    """The names of the rows that there will be, and the tasks; UserError for what would be stumbled over later."""
    request = desk.request
    if not desk.names:
        raise UserError("expected a checkpoint or a detector to score, got none; name one")
    check_own(request.detectors, request.options, request.paradigm, request.held_out)
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
        meeting.append((model.target.model, model.size))
        for suite in desk.suites:
            if suite.against == "self":
                check_suited(model.target.detector, suite, model.target.model)
        split = (model.dataset.root, model.categories, model.size)
        if split not in looked:
            look_through(model.dataset, ("test",), model.size)
            looked.add(split)
            desk.sizes = list(dict.fromkeys([*desk.sizes, model.size]))
        served[name], scored[name] = model.categories, []
        if not has_gradient(model.target.detector):
            blind.add(name)
        for label, one in (("clean", None), *desk.sets.items()):
            if one is not None and one.size != model.size:
                raise UserError(
                    f"expected images of {model.size} for {model.target.model}, set {one.folder} has {one.size}"
                )
            rows += row_names(labels_on(model.target.labels, one, model.target.model), model.on(one))
            scored[name] += [Scoring(name, label, category, examples=False) for category in model.on(one)]
    for row in rows:
        if rows.count(row) > 1:
            raise UserError(f"the same rows twice, {row_text(row)}; score them into different folders")
    for suite in desk.suites:
        if suite.against == "each":
            _check_meeting(suite, meeting)
    tasks = [
        task
        for name in desk.names
        for task in (*scored[name], *(one for suite in desk.suites for one in _attacks(name, suite, served, blind)))
    ]
    return rows, tasks


def _check_meeting(suite: Suite, models: Sequence[tuple[str, tuple[int, int]]]) -> None:
    """UserError where models that are shown what the others were attacked with cannot be told apart as sources, or have
    different network sizes."""
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
        Attacking(
            name, suite, category,
            others=tuple(other for other in served if other != name and category in served[other])
            if suite.against == "each"
            else (),
        )
        for category in served[name]
    ]  # fmt: skip
