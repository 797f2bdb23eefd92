"""Training one at a time, on paths: `train`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from omnial_bench.config.load import read_recipe
from omnial_bench.config.schema import Paradigm
from omnial_bench.data.dataset import scan
from omnial_bench.data.textures import load_textures
from omnial_bench.errors import UserError
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import check_folder, make_folder
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, read_provenance
from omnial_bench.models.distributed import check_share
from omnial_bench.models.training import LOG, is_trained
from omnial_bench.models.unfinished import STATE, drop_state
from omnial_bench.pipeline.plan import check_recipe, look_through, trainings
from omnial_bench.pipeline.train_task import train_model, training_inputs
from omnial_bench.progress import Watch
from omnial_bench.runtime import Precision, fabric

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
    models = trainings(detector, recipe, paradigm, dataset.categories)
    check_links(out, FILES if paradigm == "unified" else [model.name for model in models])
    hashed = hashlib.sha256(bank.contiguous().numpy().data).hexdigest()
    keys, todo = {}, []
    for model in models:
        folder = out if paradigm == "unified" else out / model.name
        inputs = training_inputs(model, dataset, hashed, seed=seed, precision=precision, device=on.type)
        keys[folder] = inputs.key
        if not is_trained(folder, inputs.key):
            _check_free(folder, inputs.key)
            todo.append((model, folder, inputs))
    with claimed(make_folder(out), alone=True), swept(*keys, deep=False):
        for folder, key in keys.items():
            drop_state(folder, key)
        for model, folder, inputs in todo:
            train_model(
                model, inputs, dataset, bank, out=folder, seed=seed, device=device, devices=devices,
                precision=precision, recompute=recompute, trusted=trusted, progress=watch(f"train {model.name}"),
            )  # fmt: skip
    return list(keys)


def _check_free(folder: Path, key: str) -> None:
    origin = read_provenance(folder)
    if origin is not None and origin.key != key:
        raise UserError(
            f"{folder} holds a finished training, {origin.model} of other settings, data or code; choose another folder"
        )
