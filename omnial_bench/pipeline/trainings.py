"""What decides a training, and whether a folder holds it: a model says itself what made it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import UInt8
from torch import Tensor

from omnial_bench import provenance as made_by
from omnial_bench.config.load import read_toml
from omnial_bench.data.dataset import Dataset, fingerprint_of
from omnial_bench.defences.registry import defence_code
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, Stored, provenance_of, read_provenance
from omnial_bench.models.training import LOG, train
from omnial_bench.models.unfinished import STATE
from omnial_bench.pipeline.cache import DATA, NEVER, Entry, Inputs, read_note
from omnial_bench.pipeline.plan import Model
from omnial_bench.results import read_texts
from omnial_bench.runtime import Precision
from omnial_bench.trust import code_of, is_foreign

if TYPE_CHECKING:
    from omnial_bench.pipeline.workspace import Workspace

TRAINING_CODE = ("data.dataset", "models.registry", "models.training", "models.losses")


def training_inputs(
    model: Model, dataset: Dataset, textures: str, *, seed: int, precision: Precision, device: str
) -> Inputs:
    """All that decides a training, `textures` by their hash: of the data the training images of its own categories."""
    foreign = {"detector": code_of(model.recipe.detector)} if is_foreign(model.recipe.detector) else {}
    return Inputs.of(
        dataset.digests("train", model.categories),
        code=made_by.code_version(*TRAINING_CODE), **foreign, recipe=model.recipe.model_dump(mode="json"),
        categories=model.categories, versions=made_by.versions(), device=device, precision=precision,
        dataset=dataset.name, **dataset.named_by, textures=textures, seed=seed,
    )  # fmt: skip


def identity_at(folder: Path) -> dict[str, Any]:
    """What tells a trained model from others: the hash of its weights, for a second training may be rounded otherwise,
    its recipe, and the code from elsewhere and of its defence. UserError where the folder holds none."""
    table = read_toml(folder / RECIPE)
    weights, recipe = table.get("sha256"), table.get("recipe")
    if not isinstance(weights, str) or not isinstance(recipe, dict):
        raise UserError(f"{folder / RECIPE} names no weights; train the model again")
    identity = {"weights": weights, "recipe": {name: recipe[name] for name in recipe if name != "training"}}
    detector = str(recipe.get("detector"))
    own = {"detector": code_of(detector)} if is_foreign(detector) else {}
    return identity | own | defence_code(recipe.get("defence", {}))


def train_model(
    model: Model,
    inputs: Inputs,
    dataset: Dataset,
    textures: UInt8[Tensor, "n 3 h w"],
    *,
    out: Path,
    seed: int,
    precision: Precision,
    **settings: Any,
) -> None:
    """Train a model under its inputs into `out`; all else as `models.training.train` takes it."""
    describe = provenance_of(
        model.detector, model.paradigm, model.categories, dataset=dataset.name,
        data_fingerprint=str(inputs.values[DATA]), seed=seed, precision=precision, key=inputs.key,
        title=model.title, reader=dataset.named_by.get("reader"),
    )  # fmt: skip
    normals = dataset.load("train", model.categories, model.recipe.size)
    train(model.recipe, normals, textures, out=out, provenance=describe, seed=seed, precision=precision, **settings)


def unfinished(folder: Path) -> Entry | None:
    """Why a training is due whatever decides it: its folder holds none that is finished; None where it does."""
    if (folder / RECIPE).is_file():
        return None
    return Entry(("begun, not finished" if (folder / STATE).is_file() else NEVER,))


def look(place: Workspace, model: Model, name: str, inputs: Inputs) -> Entry:
    """Whether the folder of a model holds a training, so that one that was brought here from elsewhere counts too."""
    folder = place.folder_of(model)
    if (entry := unfinished(folder)) is not None:
        return entry
    files = (folder / WEIGHTS, folder / RECIPE)
    try:
        made = read_provenance(folder)
        if made is None:
            return Entry((f"{folder / WEIGHTS} is missing",))
        if made.key != inputs.key and not place.settings.keep_models:
            return Entry(_other_training(place, model, name, inputs), superseded=True)
        stored = place.examine(model)
    except UserError as error:
        return Entry((str(error),), damaged=tuple(path for path in files if path.is_file()))
    if made.key == inputs.key:
        if stored.recipe == model.recipe and stored.provenance.categories == model.categories:
            return Entry((), {}, _damaged_beside(place, folder, name, inputs))
        return Entry((f"{folder / RECIPE} is damaged (its recipe is not that of its key)",), damaged=files)
    differs = _differs(place, model, stored)
    return Entry(differs, None if differs else {"model": made.model, "commit": made.commit})


def readable_log(folder: Path) -> list[Path]:
    """The log of a training, if it is there; one that is no table is set aside."""
    path = folder / LOG
    if not path.is_file():
        return []
    try:
        read_texts(path, ["iteration", "loss"])
    except UserError:
        Entry((), damaged=(path,)).set_damaged_aside()
        return []
    return [path]


def _damaged_beside(place: Workspace, folder: Path, name: str, inputs: Inputs) -> tuple[Path, ...]:
    """What of a training is damaged or lost and decides no figure: its note, or the log that it tells the hash of."""
    try:
        note = read_note(place.cache.folder, name)
    except UserError:
        note = None
    if note is None:
        return (place.cache.folder / f"{name}.json",)
    files = note.get("files", {}) if note.get("key") == inputs.key else {}
    digest = files.get((folder / LOG).relative_to(place.out).as_posix())
    whole = digest is None or ((folder / LOG).is_file() and sha256(folder / LOG) == digest)
    return () if whole else (folder / LOG,)


def _differs(place: Workspace, model: Model, stored: Stored) -> tuple[str, ...]:
    """What of a training that was made under another key differs beside code, packages, device and textures."""
    made, files = stored.provenance, place.dataset.digests("train", model.categories)
    data = made.data_fingerprint
    if data == place.dataset.fingerprint:
        # What earlier versions wrote down: all files of the plan, test images too.
        data = fingerprint_of(files)
    return place.cache.changes(
        {
            "recipe": stored.recipe.model_dump(mode="json"), "categories": made.categories, "seed": made.seed,
            "data": data,
        },
        Inputs.of(
            files, recipe=model.recipe.model_dump(mode="json"), categories=model.categories, seed=place.plan.seed,
        ),
        unnamed=(),
    )  # fmt: skip


def _other_training(place: Workspace, model: Model, name: str, inputs: Inputs) -> tuple[str, ...]:
    made = read_provenance(place.folder_of(model))
    try:
        note = read_note(place.cache.folder, name)
    except UserError:
        note = None
    if made and note and note.get("key") == made.key:
        return place.cache.changes(note.get("decided_by"), inputs)
    try:
        return _differs(place, model, place.examine(model)) or place.cache.changes(None, inputs)
    except UserError:
        return place.cache.changes(None, inputs)
