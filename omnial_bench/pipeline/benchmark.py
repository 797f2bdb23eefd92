"""A detector in hand -> rows: on the clean test split, and under a suite that attacks it; kept on disk on request."""

import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from omnial_bench.attacks.health import doubts, health
from omnial_bench.attacks.sets.build import build_sets, compose, load_set
from omnial_bench.attacks.threats import check_suite
from omnial_bench.config.load import read_suite
from omnial_bench.config.schema import Paradigm, Suite
from omnial_bench.data.dataset import Dataset, Truth, find_dataset
from omnial_bench.data.readers.base import Reader
from omnial_bench.errors import UserError, is_printable
from omnial_bench.evaluation.differences import Drawn, differences
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import write_index
from omnial_bench.evaluation.outcome import Evaluation
from omnial_bench.evaluation.scoring import score, score_category, with_means
from omnial_bench.evaluation.suited import check_suited
from omnial_bench.evaluation.target import DIGITS, Labels, Target, labels_on
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.metrics.outside import Accumulator, Metrics, check_metrics
from omnial_bench.pipeline.earlier_rows import WRITTEN, check_rows, row_names
from omnial_bench.pipeline.own_detector import (
    Factory,
    Site,
    check_name,
    check_seed,
    check_size,
    detector_at,
    weights_of,
)
from omnial_bench.pipeline.plan import look_through, names_of
from omnial_bench.pipeline.results import write_environment, write_found
from omnial_bench.processes import threads_of
from omnial_bench.progress import Progress, Watch, watching
from omnial_bench.results import attempts_frame, differences_frame, frame
from omnial_bench.runtime import Precision, attack_dtype, fabric, placed
from omnial_bench.trust import load

LEAST_SHOWN = 2
"""Images a category under attack, at the least: a normal and an anomalous one."""
Telling = Callable[[str, int, int, str], None]
"""Called with a task's name, its steps done and in all, and a note."""


class Benchmark(pd.DataFrame):
    """The rows of a benchmark, as a frame with the columns of results.csv; frames made of it are plain ones."""

    _metadata = ["attempts", "health", "drawn"]  # noqa: RUF012
    attempts: pd.DataFrame
    """How each attack went, the columns of attacks.csv."""
    health: pd.DataFrame
    """The checks of the attacks, the columns of health.csv."""
    drawn: list[Drawn]
    """What `compare` takes."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """All that the models of a benchmark share."""

    suite: Suite
    dataset: Dataset
    size: tuple[int, int]
    name: str
    paradigm: Paradigm
    preset: str
    limit: int | None
    seed: int
    device: torch.device
    precision: Precision
    options: Mapping[str, Any] = field(default_factory=dict)
    held_out: Tensor | Path | None = None
    out: Path | None = None
    watch: Watch = lambda _: None
    metrics: Metrics = ()

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The categories of each model."""
        known = self.dataset.categories
        return [known] if self.paradigm == "unified" else [(category,) for category in known]

    @property
    def labels(self) -> Labels:
        return Labels(
            detector=self.name, paradigm=self.paradigm, preset=self.preset, dataset=self.dataset.name, seed=self.seed,
            run=self.name,
        )  # fmt: skip


def benchmark(
    detector: nn.Module | Factory,
    data: str | Path,
    suite: str | Path = "paper",
    *,
    reader: str | Reader | None = None,
    labels: Truth | None = None,
    categories: Sequence[str] | None = None,
    size: tuple[int, int] = (256, 256),
    name: str = "detector",
    paradigm: Paradigm = "unified",
    preset: str = "given",
    options: Mapping[str, Any] | None = None,
    held_out: Tensor | str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "32-true",
    progress: bool | Telling = False,
    save: str | Path | None = None,
    metrics: Sequence[str | type[Accumulator]] = (),
    trusted: Sequence[str] = (),
) -> Benchmark:
    """A detector in hand on the clean test split and under a suite that attacks it.

    `detector` is a Detector, any module that returns an anomaly map, a pair of map and image score, or a Prediction
    (see `models.adapter.Adapted`), or a function that makes one (see `adapting.detector_at`), called with `options`,
    once, or once a category where `paradigm` is `separate`. `held_out` are normal images that the module was not
    fitted on, from which its scale is taken: (n, 3, h, w) in [0, 1], or a folder of files or of one folder a category.
    `data` is a folder in a layout of READERS, or in any other that `reader` reads: a Reader, or the name of one,
    `package.module:object`, whose code this call runs; with `labels` of `image` no masks are read. `size` is the
    network's height and width, `limit` the images a category under attack. `progress` is True for bars on a terminal or
    in a notebook, or a function called with a task's name, steps done, steps in all and a note. Into the folder `save`
    go the files that `omnial-bench score` writes, for `omnial-bench report`. `metrics` are classes of Accumulator, or
    names `package.module:object` of them, whose figures are rows as well; `trusted` are the names of attacks from
    elsewhere that the suite may run.

    The frame has the columns of results.csv, and the attributes `health` and `attempts`, the frames of health.csv and
    attacks.csv; `source` is `self`, for every attack is on this detector. A check of the attacks' health that fails is
    a warning. UserError for a mistake in what is given, for a detector that cannot be attacked, and for a folder that
    holds other rows, which would be lost.
    """
    name, size = check_name(name), check_size(size)
    check_seed(seed)
    if limit is not None and (type(limit) is not int or limit < LEAST_SHOWN):
        raise UserError(f"expected a limit of at least {LEAST_SHOWN} images a category, got {limit!r}")
    _check_kinds(
        data=data, suite=suite, reader=reader, categories=categories, device=device, progress=progress, save=save
    )
    if not isinstance(preset, str) or not is_printable(preset):
        raise UserError(f"expected a preset of one line that can be printed, got {preset!r}")
    if precision not in get_args(Precision):
        raise UserError(f"unknown precision {precision!r}; expected {', '.join(get_args(Precision))}")
    for what, names in (("metrics", metrics), ("trusted", trusted)):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise UserError(f"expected {what} as a list, got {names!r}; write [{names!r}]"[:300])
    record = read_suite(str(suite), trusted)
    check_suite(record)
    own = check_metrics(load(one, [one], "the call", "metric") if isinstance(one, str) else one for one in metrics)
    on = fabric(device, precision).device
    if save is not None:
        check_links(Path(save), WRITTEN)
        check_folder(Path(save))
    trusted = [reader] if isinstance(reader, str) else []
    dataset = find_dataset(Path(data), categories, reader=reader, trusted=trusted, labels=labels)
    if paradigm not in ("unified", "separate"):
        raise UserError(f"expected paradigm unified or separate, got {paradigm!r}")
    if paradigm == "separate" and isinstance(detector, nn.Module) and len(dataset.categories) > 1:
        raise UserError(
            f"expected a factory, which makes a module for each of {len(dataset.categories)} categories, got one "
            "module; give a function that makes it, or one category"
        )
    look_through(dataset, ("train", "test"), size)
    with _watching(progress) as watch, _modes_kept(detector):
        task = _Task(
            suite=record, dataset=dataset, size=size, name=name, paradigm=paradigm, preset=preset, limit=limit,
            seed=seed, device=on, precision=precision, options=options or {}, watch=watch,
            held_out=Path(held_out) if isinstance(held_out, str) else held_out,
            out=None if save is None else Path(save), metrics=own,
        )  # fmt: skip
        found = _saved(task, detector) if task.out is not None else _found(task, detector)
    rows = Benchmark(frame(with_means(found.rows)))
    rows.attempts = attempts_frame(found.attempts)
    rows.health = health(rows, rows.attempts)
    rows.drawn = found.drawn
    for notes in doubts(rows.health)["notes"]:
        warnings.warn(f"{name}: {notes}", stacklevel=2)
    return rows


def _check_kinds(
    *, data: object, suite: object, reader: object, categories: object, device: object, progress: object, save: object
) -> None:
    """UserError for what is of another kind than `benchmark` takes."""
    if isinstance(categories, str):
        raise UserError(f"expected categories as a list of names, got {categories!r}; write [{categories!r}]")
    named = isinstance(categories, Collection) and all(isinstance(name, str) for name in categories)
    for what, fits, got in (
        ("the folder of a data set", isinstance(data, str | Path), data),
        ("the name of a suite or the path of its file", isinstance(suite, str | Path), suite),
        ("a Reader or the name of one", reader is None or isinstance(reader, str | Reader), reader),
        ("categories as a list of names", categories is None or named, categories),
        ("a device such as cpu", isinstance(device, str), device),
        ("progress as True, False or a function", isinstance(progress, bool) or callable(progress), progress),
        ("a folder to save to", save is None or isinstance(save, str | Path), save),
    ):
        if not fits:
            raise UserError(f"expected {what}, got {got!r}"[:300])


def compare(*found: Benchmark) -> pd.DataFrame:
    """Every pair of detectors that were benchmarked on the same images, with the columns of differences.csv.

    The `difference` is the figure of the first less that of the other, `low` and `high` are the ends of its 95 %
    interval over images, of which both had the same draws. UserError where two detectors share a name.
    """
    names = [name for rows in found for name in dict.fromkeys(rows["detector"] + " " + rows["paradigm"])]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"expected detectors of different names, got {name} twice; benchmark one under another name"
            )
    return differences_frame(differences(one for rows in found for one in rows.drawn))


@contextmanager
def _modes_kept(detector: object) -> Iterator[None]:
    modules = detector.modules() if isinstance(detector, nn.Module) else ()
    modes = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _watching(progress: bool | Telling) -> Iterator[Watch]:
    if callable(progress):
        tell = progress

        def watch(task: str) -> Progress:
            return lambda done, total, note: tell(task, done, total, note)

        yield watch
    elif progress:
        with watching(notebook=True) as bars:
            yield bars
    else:
        yield lambda _: None


def _saved(task: _Task, detector: nn.Module | Factory) -> Evaluation:
    """As `_found`, and everything that a report needs lies in the task's folder."""
    assert task.out is not None
    out, names = task.out, row_names(task.labels, task.dataset.categories)
    with claimed(make_folder(out), alone=True), swept(out, deep=False), swept(out / EXAMPLES):
        check_rows(out / "results.csv", names, names_of(task.suite))
        write_environment(
            out, task.dataset, device=task.device, threads=threads_of(1), precision=task.precision, seed=task.seed,
            sizes=[task.size], suites=[task.suite], metrics=[one.metric for one in task.metrics],
        )  # fmt: skip
        found = _found(task, detector)
        if found.examples:
            write_index(out, found.examples)
        write_found(out, found)
    return found


def _found(task: _Task, detector: nn.Module | Factory) -> Evaluation:
    found = Evaluation()
    for categories in task.groups:
        site = Site(
            dataset=task.dataset, categories=categories, size=task.size, device=task.device, seed=task.seed,
            options=task.options, held_out=task.held_out,
        )  # fmt: skip
        model = placed(detector_at(site, detector, name=task.name), task.device)
        labels = replace(task.labels, weights=weights_of(model)[:DIGITS])
        target = Target(
            detector=model, labels=labels, categories=categories if task.paradigm == "separate" else (),
            metrics=task.metrics,
        )  # fmt: skip
        check_suited(model, task.suite, target.model)
        found.extend(_on_test(task, target, categories))
        if task.suite.against == "sources":
            found.extend(_on_sets(task, target, categories))
        else:
            found.extend(_attacked(task, target, categories))
    return found


def _on_test(task: _Task, target: Target, categories: Sequence[str]) -> Evaluation:
    found, tell = Evaluation(), task.watch(f"score {target.model} on clean")
    for done, category in enumerate(categories):
        images = task.dataset.load("test", [category], task.size)
        found.extend(score_category(target, images, category, device=task.device))
        if tell is not None:
            tell(done + 1, len(categories), category)
    return found


def _attacked(task: _Task, target: Target, categories: Sequence[str]) -> Evaluation:
    """Rows under a suite that attacks the test split; a category's threats are a task to watch."""
    found = Evaluation()
    for category in categories:
        found.extend(
            evaluate(
                target, task.suite, task.dataset.load("test", [category], task.size), category, seed=task.seed,
                device=task.device, precision=attack_dtype(task.precision), limit=task.limit, out=task.out,
                progress=task.watch(f"{task.suite.name} on {target.model}, {category}"),
            )
        )  # fmt: skip
    return found


def _on_sets(task: _Task, target: Target, categories: Sequence[str]) -> Evaluation:
    """Rows on the sets of a suite, built on the model itself and thrown away."""
    found, seed, name = Evaluation(), task.seed, task.dataset.name
    composed = compose(
        task.dataset.load("train", categories, task.size), anomalous=task.suite.anomalous,
        limit=task.limit or task.suite.limit, seed=seed, dataset=name,
    )  # fmt: skip
    tells = {threat.name: task.watch(f"{threat.name} on {target.model}") for threat in task.suite.threats}

    def tell(threat: str, done: int, total: int) -> None:
        if (told := tells[threat]) is not None:
            told(done, total, "")

    with tempfile.TemporaryDirectory() as folder:
        folders = build_sets(
            {target.model: target.detector}, composed, task.suite, out=Path(folder), seed=seed, device=task.device,
            source_hashes={target.model: "none"}, dataset=name, data_fingerprint=task.dataset.fingerprint,
            precision=attack_dtype(task.precision), progress=tell,
        )  # fmt: skip
        for one in map(load_set, folders):
            labels = labels_on(target.labels, one, target.model)
            labels = replace(labels, source="self" if one.source == target.model else one.source)
            for category in categories:
                found.rows.extend(
                    score(
                        target.detector, one.load(category), labels, category, device=task.device,
                        metrics=target.metrics,
                    )
                )  # fmt: skip
    return found
