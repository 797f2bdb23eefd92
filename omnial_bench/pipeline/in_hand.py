"""A detector in hand -> rows: each model of it scored, and attacked or shown the sets that are built on it."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omnial_bench.attacks.sets.build import build_sets, compose, load_set
from omnial_bench.config.schema import Paradigm, Suite
from omnial_bench.data.dataset import Dataset
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import write_index
from omnial_bench.evaluation.outcome import Outcome
from omnial_bench.evaluation.scoring import score_category
from omnial_bench.evaluation.suited import check_suited
from omnial_bench.evaluation.target import DIGITS, Labels, Target
from omnial_bench.io.leftovers import swept
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import make_folder
from omnial_bench.metrics.accumulator import Metrics
from omnial_bench.metrics.alarms import RATE
from omnial_bench.pipeline.earlier_rows import check_rows, row_names
from omnial_bench.pipeline.ledger import write_environment, write_rows_of
from omnial_bench.pipeline.own_detector import Factory, detector_at, weights_of
from omnial_bench.pipeline.plan import names_of
from omnial_bench.pipeline.site import Site
from omnial_bench.processes import threads_of
from omnial_bench.progress import Watch, by_task
from omnial_bench.results import Result
from omnial_bench.runtime import Precision, attack_dtype, placed


@dataclass(frozen=True, kw_only=True)
class Subject:
    """All that the models of a benchmark share: what attacks them on which images, and the columns of their rows."""

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
    false_alarms: float = RATE

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


def evaluate_in_hand(subject: Subject, detector: nn.Module | Factory) -> Outcome:
    """A detector, or what makes one for each model, on the clean test split and under the suite; with a folder all that
    a report needs lies there as well."""
    if subject.out is None:
        return _evaluate(subject, detector)
    out, names = subject.out, row_names(subject.labels, subject.dataset.categories)
    with claimed(make_folder(out), alone=True), swept(out, deep=False), swept(out / EXAMPLES):
        check_rows(out / "results.csv", names, names_of(subject.suite))
        write_environment(
            out, subject.dataset, device=subject.device, threads=threads_of(1), precision=subject.precision,
            seed=subject.seed, sizes=[subject.size], suites=[subject.suite],
            metrics=[own.metric for own in subject.metrics],
        )  # fmt: skip
        outcome = _evaluate(subject, detector)
        if outcome.examples:
            write_index(out, outcome.examples)
        write_rows_of(out, outcome)
    return outcome


def _evaluate(subject: Subject, detector: nn.Module | Factory) -> Outcome:
    outcome = Outcome()
    for categories in subject.groups:
        site = Site(
            dataset=subject.dataset, categories=categories, size=subject.size, device=subject.device, seed=subject.seed,
            options=subject.options, held_out=subject.held_out,
        )  # fmt: skip
        model = placed(detector_at(site, detector, name=subject.name), subject.device)
        labels = replace(subject.labels, weights=weights_of(model)[:DIGITS])
        target = Target(
            detector=model, labels=labels, categories=categories if subject.paradigm == "separate" else (),
            metrics=subject.metrics, false_alarms=subject.false_alarms,
        )  # fmt: skip
        check_suited(model, subject.suite, target.model)
        tell = subject.watch(f"score {target.model} on clean")
        for done, category in enumerate(categories):
            images = subject.dataset.load("test", [category], subject.size)
            outcome.extend(score_category(target, images, category, device=subject.device))
            if tell is not None:
                tell(done + 1, len(categories), category)
        if subject.suite.against == "sources":
            outcome.rows.extend(_on_sets(subject, target, categories))
            continue
        for category in categories:
            images = subject.dataset.load("test", [category], subject.size)
            outcome.extend(
                evaluate(
                    target, subject.suite, images, category, seed=subject.seed, device=subject.device,
                    precision=attack_dtype(subject.precision), limit=subject.limit, out=subject.out,
                    progress=subject.watch(f"{subject.suite.name} on {target.model}, {category}"),
                )
            )  # fmt: skip
    return outcome


def _on_sets(subject: Subject, target: Target, categories: Sequence[str]) -> list[Result]:
    """Rows on the sets of a suite, built on the model itself and thrown away."""
    rows, suite, dataset = list[Result](), subject.suite, subject.dataset
    composed = compose(
        dataset.load("train", categories, subject.size), anomalous=suite.anomalous,
        limit=subject.limit or suite.limit, seed=subject.seed, dataset=dataset.name,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        folders = build_sets(
            {target.model: target.detector}, composed, suite, out=Path(folder), seed=subject.seed,
            device=subject.device, source_hashes={target.model: "none"}, dataset=dataset.name,
            data_fingerprint=dataset.fingerprint, precision=attack_dtype(subject.precision),
            progress=by_task(subject.watch, "{} on " + target.model),
        )  # fmt: skip
        for adversarial in map(load_set, folders):
            source = "self" if adversarial.source == target.model else adversarial.source
            for category in categories:
                images = adversarial.load(category)
                scored = score_category(target, images, category, adversarial=adversarial, device=subject.device)
                rows += [replace(row, source=source) for row in scored.rows]
    return rows
