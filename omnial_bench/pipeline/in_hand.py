"""A detector in hand -> rows: each model of it scored, and attacked or shown the sets that are built on it."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from omnial_bench.attacks.sets.build import build_sets, compose, load_set
from omnial_bench.config.schema import Suite
from omnial_bench.evaluation.evaluate import evaluate
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.examples import write_index
from omnial_bench.evaluation.scoring import score_category
from omnial_bench.evaluation.suited import check_suited
from omnial_bench.evaluation.target import DIGITS, Labels, Outcome, Target
from omnial_bench.io.leftovers import swept
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import make_folder
from omnial_bench.metrics.accumulator import Metrics
from omnial_bench.pipeline.ledger import check_rows, row_names, write_environment, write_rows_of
from omnial_bench.pipeline.own_detector import Factory, detector_at, weights_of
from omnial_bench.pipeline.plan import groups_of, names_of
from omnial_bench.pipeline.site import Site
from omnial_bench.processes import threads_of
from omnial_bench.progress import Watch, by_task
from omnial_bench.results import Result
from omnial_bench.runtime import Precision, attack_dtype, placed


@dataclass(frozen=True, kw_only=True)
class Subject:
    """All that the models of a benchmark share: what attacks them on which images, and the columns of their rows."""

    site: Site
    """Of all categories."""
    suite: Suite
    labels: Labels
    limit: int | None
    precision: Precision
    out: Path | None
    watch: Watch
    metrics: Metrics
    false_alarms: float


def evaluate_in_hand(subject: Subject, detector: nn.Module | Factory) -> Outcome:
    """A detector, or what makes one for each model, on the clean test split and under the suite; with a folder all that
    a report needs lies there as well."""
    if subject.out is None:
        return _evaluate(subject, detector)
    out, site = subject.out, subject.site
    with claimed(make_folder(out), alone=True), swept(out, deep=False), swept(out / EXAMPLES):
        names = row_names(subject.labels, site.dataset.categories)
        check_rows(out / "results.csv", names, names_of(subject.suite))
        write_environment(
            out, site.dataset, device=site.device, threads=threads_of(1), precision=subject.precision, seed=site.seed,
            sizes=[site.size], suites=[subject.suite], metrics=[own.metric for own in subject.metrics],
        )  # fmt: skip
        outcome = _evaluate(subject, detector)
        if outcome.examples:
            write_index(out, outcome.examples)
        write_rows_of(out, outcome)
    return outcome


def _evaluate(subject: Subject, detector: nn.Module | Factory) -> Outcome:
    outcome, paradigm = Outcome(), subject.labels.paradigm
    for categories in groups_of(paradigm, subject.site.dataset.categories):
        site = replace(subject.site, categories=categories)
        model = placed(detector_at(site, detector, name=subject.labels.detector), site.device)
        target = Target(
            detector=model, labels=replace(subject.labels, weights=weights_of(model)[:DIGITS]),
            categories=categories if paradigm == "separate" else (), metrics=subject.metrics,
            false_alarms=subject.false_alarms,
        )  # fmt: skip
        check_suited(model, subject.suite, target.model)
        tell = subject.watch(f"score {target.model} on clean")
        for done, category in enumerate(categories):
            images = site.dataset.load("test", [category], site.size)
            outcome.extend(score_category(target, images, category, device=site.device))
            if tell is not None:
                tell(done + 1, len(categories), category)
        if subject.suite.against == "sources":
            outcome.rows.extend(_on_sets(subject, site, target))
            continue
        for category in categories:
            attacked = evaluate(
                target, subject.suite, site.dataset.load("test", [category], site.size), category, seed=site.seed,
                device=site.device, precision=attack_dtype(subject.precision), limit=subject.limit, out=subject.out,
                progress=subject.watch(f"{subject.suite.name} on {target.model}, {category}"),
            )  # fmt: skip
            outcome.extend(attacked)
    return outcome


def _on_sets(subject: Subject, site: Site, target: Target) -> list[Result]:
    """Rows on the sets of a suite, built on the model itself and thrown away."""
    rows, suite, dataset = list[Result](), subject.suite, site.dataset
    composed = compose(
        dataset.load("train", site.categories, site.size), anomalous=suite.anomalous,
        limit=subject.limit or suite.limit, seed=site.seed, dataset=dataset.name,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        folders = build_sets(
            {target.model: target.detector}, composed, suite, out=Path(folder), seed=site.seed,
            device=site.device, source_hashes={target.model: "none"}, dataset=dataset.name,
            data_fingerprint=dataset.fingerprint, precision=attack_dtype(subject.precision),
            progress=by_task(subject.watch, "{} on " + target.model),
        )  # fmt: skip
        for adversarial in map(load_set, folders):
            source = "self" if adversarial.source == target.model else adversarial.source
            for category in site.categories:
                images = adversarial.load(category)
                scored = score_category(target, images, category, adversarial=adversarial, device=site.device)
                rows += [replace(row, source=source) for row in scored.rows]
    return rows
