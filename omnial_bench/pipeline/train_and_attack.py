"""Steps of a benchmark one at a time, on paths: `train` a detector, `attack` models to build adversarial sets."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from omnial_bench.attacks.checks import check_suite
from omnial_bench.attacks.sets.build import build_sets, compose
from omnial_bench.config.load import read_recipe, read_suite
from omnial_bench.config.schema import Paradigm
from omnial_bench.data.dataset import scan
from omnial_bench.data.textures import load_textures
from omnial_bench.errors import UserError
from omnial_bench.evaluation.suited import check_suited
from omnial_bench.evaluation.target import load_trained
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, model_name, read_provenance
from omnial_bench.models.distributed import check_share
from omnial_bench.models.training import LOG, is_trained
from omnial_bench.models.unfinished import STATE, drop_state
from omnial_bench.pipeline.own_detector import Elsewhere, weights_of
from omnial_bench.pipeline.plan import check_names, check_recipe, look_through, trainings
from omnial_bench.pipeline.train_task import train_model, training_inputs
from omnial_bench.progress import Watch, by_task
from omnial_bench.runtime import Precision, attack_dtype, fabric, placed
from omnial_bench.types import Detector


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
    reader: str | None = None,
) -> list[Path]:
    """Train one unified model into `out`, or a separate one a category into folders under it; the folders.

    `reader` is as of `find_dataset`. A finished training is not done again. UserError for code that the record or
    `reader` names and which is not among `trusted`, where a folder holds another training, which would be lost, and
    where what is to be written is a link or lies behind one.
    """
    recipe = read_recipe(detector, preset)
    check_recipe(recipe, trusted, f"the record {detector}")
    check_share(recipe.training.batch, devices)
    on = fabric(device, precision, devices).device
    check_folder(out)
    dataset = scan(data, categories, reader=reader, trusted=trusted)
    bank = load_textures(textures, recipe.size)
    look_through(dataset, ("train",), recipe.size)
    folders = {
        out if paradigm == "unified" else out / model.name: model
        for model in trainings(detector, recipe, paradigm, dataset.categories)
    }
    written = (WEIGHTS, RECIPE, LOG, STATE) if paradigm == "unified" else [folder.name for folder in folders]
    check_links(out, written)
    bank_hash = hashlib.sha256(bank.contiguous().numpy().data).hexdigest()
    inputs = {
        folder: training_inputs(model, dataset, bank_hash, seed=seed, precision=precision, device=on.type)
        for folder, model in folders.items()
    }
    due = [folder for folder in folders if not is_trained(folder, inputs[folder].key)]
    for folder in due:
        origin = read_provenance(folder)
        if origin is not None and origin.key != inputs[folder].key:
            other = f"{origin.model} of other settings, data or code"
            raise UserError(f"{folder} holds a finished training, {other}; choose another folder")
    with claimed(make_folder(out), alone=True), swept(*folders, deep=False):
        for folder in folders:
            drop_state(folder, inputs[folder].key)
        for folder in due:
            model = folders[folder]
            train_model(
                model, inputs[folder], dataset, bank, out=folder, seed=seed, device=device, devices=devices,
                precision=precision, recompute=recompute, trusted=trusted, progress=watch(f"train {model.name}"),
            )  # fmt: skip
    return list(folders)


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
    own: Elsewhere = Elsewhere(),  # noqa: B008
    reader: str | None = None,
) -> list[Path]:
    """Build the sets of a suite from the mean loss over checkpoints and detectors from elsewhere; the folders, one a
    threat. The suite, checkpoints and `reader`, which is as of `find_dataset`, may run the code that is `trusted`.

    UserError where one of these is a link or holds one.
    """
    suite = read_suite(suite_name, trusted)
    check_suite(suite, as_sets=True)
    check_links(out, [threat.name for threat in suite.threats])
    if not (sources or own.detectors):
        raise UserError("expected a source or a detector to attack, got none; name one")
    own.check()
    trained = [load_trained(path, trusted=trusted) for path in sources]
    on = fabric(device, precision).device
    check_folder(out)
    wanted = categories or (sorted({name for source in trained for name in source.provenance.categories}) or None)
    known_as = {source.provenance.dataset for source in trained}
    name = known_as.pop() if len(known_as) == 1 else None
    dataset = scan(data, wanted, name=name, reader=reader, trusted=trusted)
    if own.detectors and own.paradigm == "separate" and len(dataset.categories) > 1:
        raise UserError(
            f"expected one category for separate detectors, for they share each image, got "
            f"{', '.join(dataset.categories)}; name one with --category"
        )
    models = [_Source(model.provenance.model, model.detector, model.sha256, model.recipe.size) for model in trained]
    for detector in own.wanted(dataset.categories):
        module = own.build(detector, dataset, device=on, seed=seed)
        title = model_name(detector.name, own.paradigm, detector.category)
        models.append(_Source(title, module, weights_of(module), own.size))
    check_names("sources", [model.name for model in models])
    for model in models:
        check_suited(model.detector, suite, model.name)
    sizes = {model.size for model in models}
    if len(sizes) > 1:
        raise UserError(f"the sources have different network sizes {sorted(sizes)}; attack them one at a time")
    normals = dataset.load("train", None, sizes.pop())
    composed = compose(normals, anomalous=suite.anomalous, limit=limit or suite.limit, seed=seed, dataset=dataset.name)
    with claimed(make_folder(out), alone=True), swept(out, deep=False):
        return build_sets(
            {model.name: placed(model.detector, on) for model in models}, composed, suite, out=out, seed=seed,
            device=on, source_hashes={model.name: model.sha256 for model in models}, dataset=dataset.name,
            data_fingerprint=dataset.fingerprint, progress=by_task(watch, "attack {}"),
            precision=attack_dtype(precision),
        )  # fmt: skip
