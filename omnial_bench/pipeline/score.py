"""Models on disk and foreign modules -> rows: on the clean test split, on sealed sets, and attacked on the spot."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets.build import AdversarialSet, load_set
from omnial_bench.attacks.sets.manifest import NAME as MANIFEST
from omnial_bench.attacks.threats import check_suite
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Paradigm, Suite
from omnial_bench.data.dataset import Dataset, find_dataset
from omnial_bench.data.images import Pictures
from omnial_bench.errors import UserError
from omnial_bench.evaluation.evaluate import Evaluation, Target, evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import write_index
from omnial_bench.evaluation.scoring import DIGITS, Labels, labels_of, labels_on, score
from omnial_bench.evaluation.suited import check_suited, has_gradient, takes_gradient
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder, set_aside, sha256
from omnial_bench.models.checkpoint import load
from omnial_bench.pipeline.own_detector import Site, Wanted, detector_at, option_of, weights_of
from omnial_bench.pipeline.plan import check_names, look_through, names_of
from omnial_bench.pipeline.run import write_environment, write_found
from omnial_bench.pipeline.standing import remembered
from omnial_bench.pipeline.study import EVALUATION_CODE, Decided
from omnial_bench.processes import crew, threads_of
from omnial_bench.progress import Progress, Watch
from omnial_bench.results import DIFFERENCES, KEY, read_rows
from omnial_bench.runtime import Precision, attack_dtype, fabric

log = logging.getLogger(__name__)

NAMED = tuple(name for name in KEY if name != "metric")
"""The columns that tell the rows of one model on one set of pictures from others."""
MODEL = ("detector", "paradigm", "preset", "dataset", "category", "seed")
WRITTEN = ("results.csv", "attacks.csv", "health.csv", DIFFERENCES, "environment.json", ".tasks", EXAMPLES)
"""What lies in the folder of a request afterwards; all else there is the user's."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be scored on what; `detectors` are written `package.module:object`, after `NAME=` where their rows are
    to have another name than the object's, and trusted by that."""

    data: Path
    out: Path
    checkpoints: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    """`package.module:object` that checkpoints may run."""
    options: tuple[str, ...] = ()
    """`key=value` for what makes the foreign detectors."""
    paradigm: Paradigm = "unified"
    """Of foreign detectors; `separate`: one is made for each category."""
    held_out: Path | None = None
    """A folder of normal pictures that foreign detectors take their scale from."""
    sets: tuple[Path, ...] = ()
    suites: tuple[str, ...] = ()
    """Suites that attack each model itself, or every model with each."""
    categories: tuple[str, ...] | None = None
    """Of foreign detectors; a checkpoint is scored on its own."""
    size: tuple[int, int] = (256, 256)
    """Network height and width of foreign detectors."""
    limit: int | None = None
    """Test pictures a category under attack at the most; a suite's own limit holds too."""
    seed: int | None = None
    """In the rows; None: that of each training, 0 for foreign detectors."""
    device: str = "auto"
    precision: Precision = "32-true"
    jobs: int = 1

    @property
    def attack_seed(self) -> int:
        return self.seed or 0


class _Candidate(NamedTuple):
    """A model with what it is scored on."""

    target: Target
    categories: tuple[str, ...]
    size: tuple[int, int]
    dataset: Dataset
    key: str | None
    """Hash of its weights; None for foreign code, whose results are never taken for done."""

    def pictures(self, category: str) -> Pictures:
        return self.dataset.load("test", [category], self.size)

    def on(self, adversarial: AdversarialSet | None) -> tuple[str, ...]:
        """Its categories that a set has, or all of them on the clean test split."""
        if adversarial is None:
            return self.categories
        return tuple(name for name in self.categories if name in adversarial.categories)


class _Desk:
    """A request with its data: what every task looks things up in."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.suites = [read_suite(name) for name in request.suites]
        self.sets = [load_set(folder) for folder in request.sets]
        self.device = fabric(request.device, request.precision).device
        self.options = dict(map(option_of, request.options))
        self.names: tuple[str | Wanted, ...] = (*request.checkpoints, *self._wanted())
        self.opened: dict[str | Wanted, _Candidate] = {}

    def _wanted(self) -> list[Wanted]:
        """The foreign detectors, one a category where each has its own."""
        wanted = [Wanted.named(text) for text in self.request.detectors]
        if self.request.paradigm == "unified" or not wanted:
            return wanted
        categories = find_dataset(self.request.data, self.request.categories).categories
        return [replace(one, category=category) for one in wanted for category in categories]

    def candidate(self, name: str | Wanted) -> _Candidate:
        """A model; the last one stays at hand, for tasks come a model at a time."""
        if name not in self.opened:
            self.opened = {name: self.open(name)}
        return self.opened[name]

    def open(self, name: str | Wanted) -> _Candidate:
        return self._foreign(name) if isinstance(name, Wanted) else self._trained(name)

    def others(self, name: str | Wanted, suite: Suite) -> list[str | Wanted]:
        """The other models, to which a suite shows what it makes of this one's pictures."""
        return [other for other in self.names if other != name] if suite.against == "each" else []

    def _trained(self, path: str) -> _Candidate:
        found, request = load(path, trusted=self.request.trusted), self.request
        made = found.provenance
        dataset = find_dataset(request.data, made.categories, name=made.dataset)
        labels = labels_of(found, made_by.key_of(model=found.sha256, data=dataset.fingerprint)[:8])
        labels = labels if request.seed is None else replace(labels, seed=request.seed)
        target = Target(detector=found.detector, labels=labels, categories=made.categories)
        return _Candidate(target, made.categories, found.recipe.size, dataset, found.sha256)

    def _foreign(self, wanted: Wanted) -> _Candidate:
        request, seed = self.request, self.request.seed or 0
        dataset = find_dataset(request.data, request.categories)
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
        return _Candidate(
            Target(detector=detector, labels=labels, categories=own), site.categories, request.size, dataset, None
        )

    def decided(self, candidate: _Candidate, **parts: object) -> Decided | None:
        """All that decides a task on a model; None where that cannot be told."""
        if candidate.key is None:
            return None
        return Decided(
            {
                "code": made_by.code_version(*EVALUATION_CODE),
                "model": candidate.key, "data": candidate.dataset.fingerprint,
                "versions": made_by.versions(), "precision": self.request.precision, "device": self.device.type,
                "seed": self.request.seed, **parts,
            }
        )  # fmt: skip

    def kept(self, task: str, by: Decided | None, make: Callable[[], Evaluation]) -> Evaluation:
        return make() if by is None else remembered(self.request.out, task, by, make)


def assess(request: Request, *, watch: Watch = lambda _: None) -> pd.DataFrame:
    """Rows of every model on the clean test split, on every set and under every suite.

    They lie in results.csv in `out`, with attacks.csv and health.csv where anything was attacked, and differences.csv
    where there are several models. A suite that attacks `each` model shows its pictures to all models of the request.
    Done work in `out` is not done again. UserError for a
    mistake in the request, where the results.csv that is there holds rows which these do not replace, and where what
    is to be written is a link or holds one.
    """
    check_links(request.out, WRITTEN)
    desk = _Desk(request)
    rows = _check(desk)
    with claimed(make_folder(request.out), alone=True):
        check_rows(request.out / "results.csv", rows, [name for suite in desk.suites for name in names_of(suite)])
        with swept(request.out, request.out / ".tasks", deep=False), swept(request.out / EXAMPLES):
            return _assessed(desk, watch)


def _assessed(desk: _Desk, watch: Watch) -> pd.DataFrame:
    request = desk.request
    categories = sorted({category for name in desk.names for category in desk.candidate(name).categories})
    dataset = find_dataset(request.data, categories, name=desk.candidate(desk.names[0]).dataset.name)
    write_environment(
        request.out, dataset, device=desk.device, threads=threads_of(request.jobs), precision=request.precision,
        seed=request.seed or 0, suites=desk.suites,
    )  # fmt: skip
    tasks = [
        (name, what, index)
        for name in desk.names
        for what, count in (("set", 1 + len(desk.sets)), ("suite", len(desk.suites)))
        for index in range(count)
    ]
    found = Evaluation()
    with crew(_Desk, (request,), request.jobs, watch) as each:
        for one in each(_do, tasks):
            found.extend(one)
    if found.examples:
        write_index(request.out, found.examples)
    return write_found(request.out, found)


def _do(desk: _Desk, task: tuple[str | Wanted, str, int], watch: Watch) -> Evaluation:
    name, what, index = task
    candidate = desk.candidate(name)
    model = candidate.target.model
    if what == "suite":
        suite = desk.suites[index]
        others = desk.others(name, suite)
        title = f"{suite.name} on {model}"
        shown = [desk.open(other).key for other in others]
        # Whose weights cannot be told may have changed.
        by = (
            None
            if None in shown
            else desk.decided(candidate, suite=suite.model_dump(mode="json"), others=shown, limit=desk.request.limit)
        )
        return desk.kept(f"{suite.name}-{model}", by, lambda: _evaluated(desk, candidate, suite, others, watch(title)))
    adversarial = None if index == 0 else desk.sets[index - 1]
    pictures = "clean" if adversarial is None else sha256(adversarial.folder / MANIFEST)
    label = "clean" if adversarial is None else adversarial.name
    return desk.kept(
        f"score-{model}-{label}-{index}",
        desk.decided(candidate, pictures=pictures),
        lambda: _scored(desk, candidate, adversarial, watch(f"score {model} on {label}")),
    )


def _scored(
    desk: _Desk, candidate: _Candidate, adversarial: AdversarialSet | None, progress: Progress | None
) -> Evaluation:
    found, target = Evaluation(), candidate.target
    labels = labels_on(target.labels, adversarial, target.model)
    categories = candidate.on(adversarial)
    for done, category in enumerate(categories):
        pictures = adversarial.load(category) if adversarial else candidate.pictures(category)
        drawn = found.drawn if adversarial is None else None
        found.rows.extend(score(target.detector, pictures, labels, category, device=desk.device, drawn=drawn))
        if progress is not None:
            progress(done + 1, len(categories), category)
    return found


def _evaluated(
    desk: _Desk, candidate: _Candidate, suite: Suite, others: Sequence[str | Wanted], progress: Progress | None
) -> Evaluation:
    found, request = Evaluation(), desk.request
    if suite.against == "each" and takes_gradient(suite) and not has_gradient(candidate.target.detector):
        log.warning(
            "%s has no gradient: in %s it sees what others make, and makes none", candidate.target.model, suite.name
        )
        return found
    for category in candidate.categories:
        # Opened apart: the attacked model is to stay at hand.
        targets = (other for name in others if category in (other := desk.open(name)).categories)
        found.extend(
            evaluate(
                candidate.target, suite, candidate.pictures(category), category,
                (other.target for other in targets), seed=request.attack_seed, device=desk.device,
                precision=attack_dtype(request.precision), limit=request.limit, out=request.out, progress=progress,
            )
        )  # fmt: skip
    return found


def _check(desk: _Desk) -> list[tuple[str, ...]]:
    """UserError for what would be stumbled over later; nothing is written. The names of the rows that there will be."""
    request = desk.request
    if not desk.names:
        raise UserError("expected a checkpoint or a detector to score, got none; name one")
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
    looked: set[tuple[object, ...]] = set()
    for name in desk.names:
        candidate = desk.candidate(name)
        for suite in desk.suites:
            if suite.against == "self":
                check_suited(candidate.target.detector, suite, candidate.target.model)
        split = (candidate.dataset.root, candidate.categories, candidate.size)
        if split not in looked:
            look_through(candidate.dataset, ("test",), candidate.size)
            looked.add(split)
        for one in (None, *desk.sets):
            if one is not None and one.size != candidate.size:
                model = candidate.target.model
                raise UserError(f"expected pictures of {candidate.size} for {model}, set {one.folder} has {one.size}")
            labels = labels_on(candidate.target.labels, one, candidate.target.model)
            rows += row_names(labels, candidate.on(one))
    for row in rows:
        if rows.count(row) > 1:
            raise UserError(f"the same rows twice, {_row(row)}; score them into different folders")
    return rows


def check_rows(path: Path, names: Sequence[tuple[str, ...]], sets: Sequence[str]) -> None:
    """UserError where rows that are there would be lost: neither among `names` nor those of a model under a suite."""
    if not path.is_file():
        return
    models = {tuple(dict(zip(NAMED, name, strict=True))[column] for column in MODEL) for name in names}
    try:
        known = read_rows(path)
    except UserError as error:
        if not any(path.parent.glob(".tasks/*.json")):
            raise
        # What was scored here lies in the notes of the tasks as well.
        log.warning("made again, the damaged one is kept as %s: %s", set_aside(path), error)
        return
    for values in known.to_dict("records"):
        if values["category"] == "mean" or _name(values) in names:
            continue
        if values["set"] in sets and tuple(str(values[column]) for column in MODEL) in models:
            continue
        raise UserError(f"{path} holds other rows, {_row(_name(values))}, which would be lost; choose another folder")


def row_names(labels: Labels, categories: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of a model's rows on pictures of categories, as `check_rows` takes them."""
    return [_name({**vars(labels), "category": category}) for category in categories]


def _name(values: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(values[column]) for column in NAMED)


def _row(name: tuple[str, ...]) -> str:
    values = dict(zip(NAMED, name, strict=True))
    return " ".join(values[column] for column in ("detector", "paradigm", "category", "set"))
