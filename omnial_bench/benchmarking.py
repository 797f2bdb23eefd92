"""A detector in hand -> rows: on the clean test split, and under a suite that attacks it; nothing is kept on disk."""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from omnial_bench.attacks.health import doubts, health
from omnial_bench.attacks.sets import build_sets, compose, load_set
from omnial_bench.attacks.threats import check_suite
from omnial_bench.data.folder import Dataset, find_dataset
from omnial_bench.data.pictures import to_float
from omnial_bench.device import Precision, attack_dtype, fabric, placed
from omnial_bench.models.adapter import adapt
from omnial_bench.nouns import Detector
from omnial_bench.planning import look_through
from omnial_bench.reading import read_suite
from omnial_bench.records import Suite
from omnial_bench.scoring import Labels, labels_on, score, with_means
from omnial_bench.store import Result, attempts_frame, frame
from omnial_bench.white_box import Evaluation, Target, evaluate

CALIBRATION = 32
"""Normal training pictures that a foreign module's scale is taken from."""


def benchmark(
    detector: nn.Module,
    data: str | Path,
    suite: str = "paper",
    *,
    categories: Sequence[str] | None = None,
    size: tuple[int, int] = (256, 256),
    name: str = "detector",
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "32-true",
) -> pd.DataFrame:
    """A detector in hand on the clean test split and under a suite that attacks it.

    `detector` is a Detector, or any module that returns an anomaly map, a pair of map and image score, or a Prediction
    (see `models.adapter.Adapted`). `data` is a folder in MVTec AD's or VisA's layout, `size` the network's height and
    width, `limit` the pictures a category under attack. The frame has the columns of results.csv; `source` is `self`,
    for every attack is on this detector. A check of the attacks' health that fails is a warning. UserError for a
    mistake in the data or the suite, and for a detector that cannot be attacked.
    """
    modes = [(module, module.training) for module in detector.modules()]
    try:
        return _benchmarked(
            detector, Path(data), read_suite(suite), categories, size, name, limit, seed=seed, device=device,
            precision=precision,
        )  # fmt: skip
    finally:
        for module, training in modes:
            module.training = training


def _benchmarked(
    detector: nn.Module,
    data: Path,
    record: Suite,
    categories: Sequence[str] | None,
    size: tuple[int, int],
    name: str,
    limit: int | None,
    *,
    seed: int,
    device: str,
    precision: Precision,
) -> pd.DataFrame:
    check_suite(record)
    on = fabric(device, precision).device
    dataset = find_dataset(data, categories)
    look_through(dataset, ("train", "test"), size)
    model = placed(adapted(detector, dataset, size, on), on)
    labels = Labels(
        detector=name, paradigm="unified", preset="given", dataset=dataset.name, seed=seed, run=name
    )  # fmt: skip
    target = Target(detector=model, labels=labels)
    found = Evaluation()
    for category in dataset.categories:
        found.rows.extend(score(model, dataset.load("test", [category], size), labels, category, device=on))
    if record.against == "sources":
        found.rows.extend(_on_sets(target, record, dataset, size, limit=limit, device=on, precision=precision))
    else:
        for category in dataset.categories:
            found.extend(
                evaluate(
                    target, record, dataset.load("test", [category], size), category, seed=seed, device=on,
                    precision=attack_dtype(precision), limit=limit,
                )
            )  # fmt: skip
    table = frame(with_means(found.rows))
    for notes in doubts(health(table, attempts_frame(found.attempts)))["notes"]:
        warnings.warn(f"{name}: {notes}", stacklevel=3)
    return table


def _on_sets(
    target: Target, suite: Suite, dataset: Dataset, size: tuple[int, int], *, limit: int | None, device: torch.device,
    precision: Precision,
) -> list[Result]:  # fmt: skip
    """Rows on the sets of a suite, built on the model itself and thrown away."""
    seed, rows = target.labels.seed, []
    composed = compose(
        dataset.load("train", None, size), anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed,
        dataset=dataset.name,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        folders = build_sets(
            {target.model: target.detector}, composed, suite, out=Path(folder), seed=seed, device=device,
            source_hashes={target.model: "none"}, dataset=dataset.name, data_fingerprint=dataset.fingerprint,
            precision=attack_dtype(precision),
        )  # fmt: skip
        for one in map(load_set, folders):
            labels = labels_on(target.labels, one, target.model)
            labels = replace(labels, source="self" if one.source == target.model else one.source)
            for category in dataset.categories:
                rows += score(target.detector, one.load(category), labels, category, device=device)
    return rows


def adapted(module: nn.Module, dataset: Dataset, size: tuple[int, int], device: torch.device) -> Detector:
    """A foreign module as a Detector on `device`, its scale taken from the first normals of every category."""
    if isinstance(module, Detector):
        return module
    module.to(device)
    each = max(1, CALIBRATION // len(dataset.categories))
    normals = (
        to_float(dataset.load("train", [category], size).images[:each], device) for category in dataset.categories
    )
    return adapt(module, normals)
