"""The steps of a benchmark one at a time, on paths: train, attack, score; and `benchmark` for a detector in hand."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets import AdversarialSet, build_sets, compose, load_set
from omnial_bench.attacks.threats import check_suite
from omnial_bench.checkpoint import Trained, load, provenance_of, read_provenance
from omnial_bench.data.folder import Dataset, find_dataset
from omnial_bench.data.pictures import Pictures
from omnial_bench.data.textures import load_textures
from omnial_bench.device import Precision, attack_dtype, fabric, placed
from omnial_bench.errors import UserError
from omnial_bench.jobs import Watch
from omnial_bench.nouns import Detector
from omnial_bench.planning import Model, check_names, check_recipe, look_through
from omnial_bench.records import Paradigm, read_recipe, read_suite
from omnial_bench.runner import by_threat
from omnial_bench.scoring import Labels, labels_of, score, with_means
from omnial_bench.store import KEY, Result, check_folder, frame, read_rows, write_rows
from omnial_bench.training import is_trained, train


def train_models(
    detector: str,
    *,
    data: Path,
    categories: Sequence[str] | None,
    paradigm: Paradigm,
    preset: str,
    textures: Path | None,
    out: Path,
    device: str,
    precision: Precision,
    seed: int,
    watch: Watch,
) -> list[Path]:
    """Train one unified model into `out`, or a separate one a category into folders under it; the folders.

    A finished training is not done again. UserError where a folder holds another one, which would be lost.
    """
    recipe = read_recipe(detector, preset)
    check_recipe(recipe)
    fabric(device, precision)
    check_folder(out)
    dataset = find_dataset(data, categories)
    bank = load_textures(textures, recipe.size)
    look_through(dataset, ("train",), recipe.size)
    groups = [dataset.categories] if paradigm == "unified" else [(name,) for name in dataset.categories]
    folders, todo = [], []
    for group in groups:
        model = Model(detector=Path(detector).stem, paradigm=paradigm, categories=group, recipe=recipe)
        folder = out if paradigm == "unified" else out / model.name
        key = made_by.key_of(
            recipe=recipe.model_dump(mode="json"), categories=group, data=dataset.fingerprint, seed=seed,
            textures=hashlib.sha256(bank.contiguous().numpy().data).hexdigest(), precision=precision,
        )  # fmt: skip
        folders.append(folder)
        if not is_trained(folder, key):
            _check_free(folder, key)
            todo.append((model, folder, key))
    for model, folder, key in todo:
        describe = provenance_of(
            model.detector, paradigm, model.categories, dataset=dataset.name, data_fingerprint=dataset.fingerprint,
            seed=seed, precision=precision, key=key,
        )  # fmt: skip
        train(
            recipe, dataset.load("train", model.categories, recipe.size), bank, out=folder, provenance=describe,
            seed=seed, device=device, precision=precision, progress=watch(f"train {model.name}"),
        )  # fmt: skip
    return folders


def _check_free(folder: Path, key: str) -> None:
    found = read_provenance(folder)
    if found is not None and found.key != key:
        raise UserError(
            f"{folder} holds a finished training, {found.model} with other settings or data; choose another folder"
        )


def attack_models(
    suite_name: str,
    sources: Sequence[str],
    *,
    data: Path,
    categories: Sequence[str] | None,
    limit: int | None,
    out: Path,
    device: str,
    precision: Precision,
    seed: int,
    watch: Watch,
) -> list[Path]:
    """Build the sets of a suite from the mean loss over trained models; the folders, one a threat."""
    suite = read_suite(suite_name)
    check_suite(suite)
    found = [load(path) for path in sources]
    trained = {one.provenance.model: one for one in found}
    check_names("sources", [one.provenance.model for one in found])
    sizes = {one.recipe.size for one in found}
    if len(sizes) > 1:
        raise UserError(f"the sources have different network sizes {sorted(sizes)}; attack them one at a time")
    on = fabric(device, precision).device
    check_folder(out)
    wanted = categories or sorted({name for one in found for name in one.provenance.categories})
    known_as = {one.provenance.dataset for one in found}
    dataset = find_dataset(data, wanted, name=known_as.pop() if len(known_as) == 1 else None)
    normals = dataset.load("train", None, sizes.pop())
    composed = compose(normals, anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed, dataset=dataset.name)
    return build_sets(
        {name: placed(one.detector, on) for name, one in trained.items()}, composed, suite, out=out, seed=seed,
        device=on, source_hashes={name: one.sha256 for name, one in trained.items()}, dataset=dataset.name,
        data_fingerprint=dataset.fingerprint, progress=by_threat(watch), precision=attack_dtype(precision),
    )  # fmt: skip


class _Task(NamedTuple):
    """A model on the pictures of one category: of the clean test split, or of a set."""

    model: Trained
    dataset: Dataset
    category: str
    adversarial: AdversarialSet | None
    labels: Labels

    def load(self) -> Pictures:
        if self.adversarial is not None:
            return self.adversarial.load(self.category)
        return self.dataset.load("test", [self.category], self.model.recipe.size)

    @property
    def name(self) -> tuple[str, ...]:
        """The values of NAMED: what tells its rows from others."""
        values = {**vars(self.labels), "category": self.category}
        return tuple(str(values[column]) for column in NAMED)


NAMED = tuple(name for name in KEY if name != "metric")


def score_models(
    checkpoints: Sequence[str],
    *,
    data: Path,
    sets: Sequence[Path],
    out: Path,
    device: str,
    seed: int | None,
    watch: Watch,
) -> pd.DataFrame:
    """Rows of every checkpoint on the clean test split and on every set; written to results.csv in `out`.

    `seed` goes into the rows; None: the seed that each model was trained with. UserError where the results.csv that is
    there already holds rows which these do not replace.
    """
    trained = [load(path) for path in checkpoints]
    adversarial = [None, *map(load_set, sets)]
    on = fabric(device, "32-true").device
    check_folder(out)
    planned = [_tasks(found, data, adversarial, seed) for found in trained]
    _check_rows(out / "results.csv", [task.name for tasks in planned for task in tasks])
    rows: list[Result] = []
    for found, tasks in zip(trained, planned, strict=True):
        progress = watch(f"score {found.provenance.model}")
        for done, task in enumerate(tasks):
            rows += score(found.detector, task.load(), task.labels, task.category, device=on)
            if progress is not None:
                progress(done + 1, len(tasks), f"{task.labels.set} {task.category}")
    table = frame(with_means(rows))
    write_rows(out / "results.csv", table)
    return table


def _tasks(found: Trained, data: Path, adversarial: Sequence[AdversarialSet | None], seed: int | None) -> list[_Task]:
    """What a model is scored on, all of it looked through."""
    made, size = found.provenance, found.recipe.size
    dataset = find_dataset(data, made.categories, name=made.dataset)
    look_through(dataset, ("test",), size)
    run = made_by.key_of(model=found.sha256, data=dataset.fingerprint)[:8]
    tasks = []
    for one in adversarial:
        if one is not None and one.size != size:
            raise UserError(f"expected pictures of {size} for {made.model}, set {one.folder} has {one.size}")
        labels = labels_of(found, run, one)
        labels = labels if seed is None else replace(labels, seed=seed)
        there = made.categories if one is None else [name for name in made.categories if name in one.categories]
        tasks += [_Task(found, dataset, category, one, labels) for category in there]
    return tasks


def _check_rows(path: Path, names: Sequence[tuple[str, ...]]) -> None:
    """UserError where rows would be the same but for their values, or rows that are there would be lost."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"the same rows twice, {_row(name)}; score them into different folders")
    if not path.is_file():
        return
    there = read_rows(path)
    for name in there.loc[there["category"] != "mean", list(NAMED)].astype(str).itertuples(index=False, name=None):
        if name not in names:
            raise UserError(f"{path} holds other rows, {_row(name)}, which would be lost; choose another folder")


def _row(name: tuple[str, ...]) -> str:
    return " ".join(
        dict(zip(NAMED, name, strict=True))[column] for column in ("detector", "paradigm", "category", "set")
    )


def benchmark(
    detector: Detector,
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
    """A detector in hand on the clean test split and on a suite whose sets are built on itself.

    `data` is a folder in MVTec AD's or VisA's layout, `size` the network's height and width, `limit` the pictures a
    category in each set. The frame has the columns of results.csv, `source` is the detector's own name. The sets are
    white-box for this detector, built on training normals. UserError for a mistake in the data or the suite.
    """
    record = read_suite(suite)
    check_suite(record)
    on = fabric(device, precision).device
    dataset = find_dataset(Path(data), categories)
    look_through(dataset, ("train", "test"), size)
    placed(detector, on)
    composed = compose(
        dataset.load("train", None, size), anomalous=record.anomalous, limit=limit or record.limit, seed=seed,
        dataset=dataset.name,
    )  # fmt: skip
    base = {"detector": name, "paradigm": "unified", "preset": "given", "dataset": dataset.name, "run": name}
    rows: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        folders = build_sets(
            {name: detector}, composed, record, out=Path(folder), seed=seed, device=on, source_hashes={name: "none"},
            dataset=dataset.name, data_fingerprint=dataset.fingerprint, precision=attack_dtype(precision),
        )  # fmt: skip
        for one in [None, *map(load_set, folders)]:
            where = {"set": one.name, "threat": one.label, "source": one.source} if one else {}
            for category in dataset.categories:
                pictures = one.load(category) if one else dataset.load("test", [category], size)
                labels = Labels(**base, seed=seed, **where)
                rows += score(detector, pictures, labels, category, device=on)
    return frame(with_means(rows))
