"""The steps of a benchmark one at a time, on paths: train, attack, score; and `benchmark` for a detector in hand."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from omnial_bench import provenance as made_by
from omnial_bench.adapting import Site, Wanted, check_own, detector_at, option_of, weights_of
from omnial_bench.attacks.sets import build_sets, compose
from omnial_bench.attacks.threats import check_suite
from omnial_bench.checkpoint import RECIPE, WEIGHTS, load, model_name, provenance_of, read_provenance
from omnial_bench.data.folder import Dataset, find_dataset
from omnial_bench.data.textures import load_textures
from omnial_bench.device import Precision, attack_dtype, fabric, placed
from omnial_bench.doing import by_threat
from omnial_bench.errors import UserError
from omnial_bench.jobs import Watch
from omnial_bench.leftovers import swept
from omnial_bench.links import check_links
from omnial_bench.lock import claimed
from omnial_bench.nouns import Detector
from omnial_bench.planning import Model, check_names, check_recipe, look_through
from omnial_bench.reading import read_recipe, read_suite
from omnial_bench.records import Paradigm
from omnial_bench.spread import check_share
from omnial_bench.store import check_folder, make_folder
from omnial_bench.suited import check_suited
from omnial_bench.training import LOG, is_trained, train
from omnial_bench.unfinished import STATE, drop_state

FILES = (WEIGHTS, RECIPE, LOG, STATE)
"""What a training writes to its folder."""


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
    devices: int = 1,
    recompute: bool = False,
    trusted: Sequence[str] = (),
) -> list[Path]:
    """Train one unified model into `out`, or a separate one a category into folders under it; the folders.

    A finished training is not done again. UserError for a record that asks for code which is not among `trusted`, where
    a folder holds another training, which would be lost, and where what is to be written is a link or lies behind one.
    """
    recipe = read_recipe(detector, preset)
    check_recipe(recipe, trusted, f"the record {detector}")
    check_share(recipe.training.batch, devices)
    fabric(device, precision, devices)
    check_folder(out)
    dataset = find_dataset(data, categories)
    bank = load_textures(textures, recipe.size)
    look_through(dataset, ("train",), recipe.size)
    groups = [dataset.categories] if paradigm == "unified" else [(name,) for name in dataset.categories]
    models = [
        Model(detector=Path(detector).stem, paradigm=paradigm, categories=group, recipe=recipe) for group in groups
    ]
    check_links(out, FILES if paradigm == "unified" else [model.name for model in models])
    keys, todo = {}, []
    for model in models:
        folder = out if paradigm == "unified" else out / model.name
        key = made_by.key_of(
            recipe=recipe.model_dump(mode="json"), categories=model.categories, data=dataset.fingerprint, seed=seed,
            textures=hashlib.sha256(bank.contiguous().numpy().data).hexdigest(), precision=precision,
        )  # fmt: skip
        keys[folder] = key
        if not is_trained(folder, key):
            _check_free(folder, key)
            todo.append((model, folder, key))
    with claimed(make_folder(out), alone=True), swept(*keys, deep=False):
        for folder, key in keys.items():
            drop_state(folder, key)
        for model, folder, key in todo:
            describe = provenance_of(
                model.detector, paradigm, model.categories, dataset=dataset.name, data_fingerprint=dataset.fingerprint,
                seed=seed, precision=precision, key=key,
            )  # fmt: skip
            train(
                recipe, dataset.load("train", model.categories, recipe.size), bank, out=folder, provenance=describe,
                seed=seed, device=device, devices=devices, precision=precision,
                recompute=recompute, trusted=trusted, progress=watch(f"train {model.name}"),
            )  # fmt: skip
    return list(keys)


def _check_free(folder: Path, key: str) -> None:
    found = read_provenance(folder)
    if found is not None and found.key != key:
        raise UserError(
            f"{folder} holds a finished training, {found.model} with other settings or data; choose another folder"
        )


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Detectors from elsewhere that sets are built on, written and trusted as in `assessment.Request`."""

    detectors: Sequence[str] = ()
    options: Sequence[str] = ()
    paradigm: Paradigm = "unified"
    held_out: Path | None = None
    size: tuple[int, int] = (256, 256)


class _Source(NamedTuple):
    name: str
    detector: Detector
    sha256: str
    size: tuple[int, int]


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
    trusted: Sequence[str] = (),
    foreign: Foreign | None = None,
) -> list[Path]:
    """Build the sets of a suite from the mean loss over checkpoints and detectors from elsewhere; the folders, one a
    threat. Checkpoints may run the code that is `trusted`.

    UserError where one of these is a link or holds one.
    """
    suite = read_suite(suite_name)
    check_suite(suite)
    check_links(out, [threat.name for threat in suite.threats])
    foreign = foreign or Foreign()
    if not (sources or foreign.detectors):
        raise UserError("expected a source or a detector to attack, got none; name one")
    check_own(foreign.detectors, foreign.options, foreign.paradigm, foreign.held_out)
    found = [load(path, trusted=trusted) for path in sources]
    on = fabric(device, precision).device
    check_folder(out)
    wanted = categories or (sorted({name for one in found for name in one.provenance.categories}) or None)
    known_as = {one.provenance.dataset for one in found}
    dataset = find_dataset(data, wanted, name=known_as.pop() if len(known_as) == 1 else None)
    models = [_Source(one.provenance.model, one.detector, one.sha256, one.recipe.size) for one in found]
    models += _foreign(foreign, dataset, on, seed)
    check_names("sources", [one.name for one in models])
    for one in models:
        check_suited(one.detector, suite, one.name)
    sizes = {one.size for one in models}
    if len(sizes) > 1:
        raise UserError(f"the sources have different network sizes {sorted(sizes)}; attack them one at a time")
    normals = dataset.load("train", None, sizes.pop())
    composed = compose(normals, anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed, dataset=dataset.name)
    with claimed(make_folder(out), alone=True), swept(out, deep=False):
        return build_sets(
            {one.name: placed(one.detector, on) for one in models}, composed, suite, out=out, seed=seed,
            device=on, source_hashes={one.name: one.sha256 for one in models}, dataset=dataset.name,
            data_fingerprint=dataset.fingerprint, progress=by_threat(watch), precision=attack_dtype(precision),
        )  # fmt: skip


def _foreign(foreign: Foreign, dataset: Dataset, device: torch.device, seed: int) -> list[_Source]:
    """The detectors from elsewhere, on a device."""
    if foreign.detectors and foreign.paradigm == "separate" and len(dataset.categories) > 1:
        raise UserError(
            f"expected one category for separate detectors, for they share each picture, got "
            f"{', '.join(dataset.categories)}; name one with --category"
        )
    made, own = [], dataset.categories[0] if foreign.paradigm == "separate" else None
    for wanted in map(Wanted.named, foreign.detectors):
        site = Site(
            dataset=dataset, categories=dataset.categories, size=foreign.size, device=device, seed=seed,
            options=dict(map(option_of, foreign.options)), held_out=foreign.held_out,
        )  # fmt: skip
        detector = detector_at(site, wanted.factory, name=wanted.name)
        name = model_name(wanted.name, foreign.paradigm, own)
        made.append(_Source(name, detector, weights_of(detector), foreign.size))
    return made
