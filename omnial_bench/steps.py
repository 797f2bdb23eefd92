"""The steps of a benchmark one at a time, on paths: train, attack, score; and `benchmark` for a detector in hand."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from omnial_bench import provenance as made_by
from omnial_bench.attacks.sets import AdversarialSet, build_sets, compose, load_set
from omnial_bench.benchmark import by_threat
from omnial_bench.checkpoint import Provenance, load, model_name
from omnial_bench.data.folder import find_dataset
from omnial_bench.data.textures import load_textures
from omnial_bench.device import Precision, attack_dtype, fabric, placed
from omnial_bench.errors import UserError
from omnial_bench.jobs import Watch
from omnial_bench.models.registry import skeleton
from omnial_bench.nouns import Detector
from omnial_bench.records import Paradigm, read_recipe, read_suite
from omnial_bench.scoring import Labels, labels_of, score, with_means
from omnial_bench.store import Result, frame, make_folder, write_rows
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
    """Train one unified model into `out`, or a separate one a category into folders under it; the folders."""
    recipe = read_recipe(detector, preset)
    skeleton(recipe)
    fabric(device, precision)
    dataset = find_dataset(data, categories)
    bank = load_textures(textures, recipe.size)
    name, folders = Path(detector).stem, []
    for group in [dataset.categories] if paradigm == "unified" else [(one,) for one in dataset.categories]:
        model = model_name(name, paradigm, group[0] if paradigm == "separate" else None)
        folder = out if paradigm == "unified" else out / model
        key = made_by.key_of(
            recipe=recipe.model_dump(mode="json"), categories=group, data=dataset.fingerprint, seed=seed,
            textures=str(textures), precision=precision,
        )  # fmt: skip

        def describe(iterations: int, model: str = model, group: tuple[str, ...] = group, key: str = key) -> Provenance:
            return Provenance(
                model=model, detector=name, paradigm=paradigm, categories=group, dataset=dataset.name,
                data_fingerprint=dataset.fingerprint, seed=seed, precision=precision, iterations=iterations, key=key,
                versions=made_by.versions(), commit=made_by.commit(),
            )  # fmt: skip

        if not is_trained(folder, key):
            train(
                recipe, dataset.load("train", group, recipe.size), bank, out=folder, provenance=describe, seed=seed,
                device=device, precision=precision, progress=watch(f"train {model}"),
            )  # fmt: skip
        folders.append(folder)
    return folders


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
    trained = {found.provenance.model: found for found in map(load, sources)}
    sizes = {found.recipe.size for found in trained.values()}
    if len(sizes) > 1:
        raise UserError(f"the sources have different network sizes {sorted(sizes)}; attack them one at a time")
    wanted = categories or sorted({name for found in trained.values() for name in found.provenance.categories})
    dataset = find_dataset(data, wanted)
    on = fabric(device, precision).device
    normals = dataset.load("train", None, sizes.pop())
    composed = compose(normals, anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed, dataset=dataset.name)
    return build_sets(
        {name: placed(found.detector, on) for name, found in trained.items()}, composed, suite, out=out, seed=seed,
        device=on, source_hashes={name: found.sha256 for name, found in trained.items()}, dataset=dataset.name,
        data_fingerprint=dataset.fingerprint, progress=by_threat(watch), precision=attack_dtype(precision),
    )  # fmt: skip


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

    `seed` goes into the rows; None: the seed that each model was trained with.
    """
    trained = [load(path) for path in checkpoints]
    adversarial: list[AdversarialSet | None] = [None, *map(load_set, sets)]
    on = fabric(device, "32-true").device
    make_folder(out)
    rows: list[Result] = []
    for found in trained:
        progress, done = watch(f"score {found.provenance.model}"), 0
        dataset = find_dataset(data, found.provenance.categories, name=found.provenance.dataset)
        run = made_by.key_of(model=found.sha256, data=dataset.fingerprint)[:8]
        for one in adversarial:
            if one is not None and one.size != found.recipe.size:
                raise UserError(f"set {one.folder} is {one.size}, {found.provenance.model} takes {found.recipe.size}")
            for category in found.provenance.categories:
                if one is not None and category not in one.categories:
                    continue
                pictures = one.load(category) if one else dataset.load("test", [category], found.recipe.size)
                labels = labels_of(found, run, one)
                rows += score(found.detector, pictures, labels, category, device=on)
                done += 1
                if progress is not None:
                    progress(done, len(adversarial) * len(found.provenance.categories), category)
    if seed is not None:
        rows = [Result(**{**vars(row), "seed": seed}) for row in rows]
    table = frame(with_means(rows))
    write_rows(out / "results.csv", table)
    return table


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
    dataset, record = find_dataset(Path(data), categories), read_suite(suite)
    on = fabric(device, precision).device
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
