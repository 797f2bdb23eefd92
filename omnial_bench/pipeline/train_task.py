"""The task that trains a model: what decides it, and whether a folder holds it; a model says itself what made it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import UInt8
from torch import Tensor

from omnial_bench import provenance
from omnial_bench.config.load import read_toml
from omnial_bench.data.dataset import Dataset, fingerprint_of
from omnial_bench.defences.registry import defence_code
from omnial_bench.errors import UserError
from omnial_bench.evaluation.target import Outcome
from omnial_bench.io.whole import sha256
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, Provenance, Stored, examine, provenance_of, read_provenance
from omnial_bench.models.training import LOG, train
from omnial_bench.models.unfinished import STATE, is_whole
from omnial_bench.pipeline.plan import Model
from omnial_bench.pipeline.task_cache import DATA, NEVER, UNNAMED, Entry, Inputs, read_note
from omnial_bench.pipeline.tasks import TRAINING_CODE, Kind, Task
from omnial_bench.progress import Watch
from omnial_bench.results import read_texts
from omnial_bench.runtime import Precision
from omnial_bench.trust import code_of, is_foreign

if TYPE_CHECKING:
    from omnial_bench.pipeline.workspace import Workspace


def training_inputs(
    model: Model, dataset: Dataset, textures: str, *, seed: int, precision: Precision, device: str
) -> Inputs:
    """All that decides a training, `textures` by their hash: of the data the training images of its own categories."""
    foreign = {"detector": code_of(model.recipe.detector)} if is_foreign(model.recipe.detector) else {}
    return Inputs.of(
        dataset.digests("train", model.categories),
        code=provenance.code_version(*TRAINING_CODE), **foreign, recipe=model.recipe.model_dump(mode="json"),
        categories=model.categories, versions=provenance.versions(), device=device, precision=precision,
        dataset=dataset.name, **dataset.named_by, textures=textures, seed=seed,
    )  # fmt: skip


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
        title=model.title, family=model.family, reader=dataset.named_by.get("reader"),
    )  # fmt: skip
    normals = dataset.load("train", model.categories, model.recipe.size)
    train(model.recipe, normals, textures, out=out, provenance=describe, seed=seed, precision=precision, **settings)


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
    own |= {"normal_scores": table["normal_scores"]} if "normal_scores" in table else {}
    return identity | own | defence_code(recipe.get("defence", {}))


def unfinished(folder: Path) -> Entry | None:
    """Why a training is due whatever decides it: its folder holds none that is finished; None where it does."""
    if (folder / RECIPE).is_file():
        return None
    return Entry(("begun, not finished" if (folder / STATE).is_file() else NEVER,))


@dataclass(frozen=True)
class Training(Task):
    """Train one model of a plan."""

    model: Model
    needs: tuple[str, ...] = ()
    kind: ClassVar[Kind] = "train"

    @property
    def name(self) -> str:
        return f"train-{self.model.name}"

    @property
    def under_way(self) -> str:
        return f"{self.name}.saved"

    def __str__(self) -> str:
        return f"train {self.model.name}"

    def inputs(self, place: Workspace) -> Inputs:
        return place.training(self.model)

    def run(self, place: Workspace, inputs: Inputs | None, watch: Watch) -> Outcome:
        assert inputs is not None
        folder, settings = place.folder_of(self.model), place.settings
        train_model(
            self.model, inputs, place.dataset, place.textures, out=folder, seed=place.seed, device=settings.device,
            devices=settings.devices, trusted=settings.trusted, precision=place.precision,
            recompute=settings.recompute, progress=watch(str(self)),
            saved=place.cache.resume(self.under_way, folder / STATE, is_whole),
        )  # fmt: skip
        return Outcome()

    def look(self, place: Workspace, inputs: Inputs) -> Entry:
        """By what the folder holds, so that a training that was brought here from elsewhere counts too."""
        model, folder = self.model, place.folder_of(self.model)
        if (entry := unfinished(folder)) is not None:
            return entry
        files = (folder / WEIGHTS, folder / RECIPE)
        try:
            origin = read_provenance(folder)
            if origin is None:
                return Entry((f"{folder / WEIGHTS} is missing",))
            if origin.key != inputs.key and not place.settings.keep_models:
                return Entry(self._changes(place, origin, inputs), superseded=True)
            stored = examine(folder)
        except UserError as error:
            return Entry((str(error),), damaged=tuple(path for path in files if path.is_file()))
        if origin.key == inputs.key:
            if stored.recipe == model.recipe and stored.provenance.categories == model.categories:
                return Entry((), {}, self._damaged_beside(place, inputs))
            return Entry((f"{folder / RECIPE} is damaged (its recipe is not that of its key)",), damaged=files)
        differs = self._differs(place, stored)
        return Entry(differs, None if differs else {"model": origin.model, "commit": origin.commit})

    def written(self, place: Workspace, outcome: Outcome) -> list[Path]:  # noqa: ARG002
        """The log, if it is there; one that is no table is set aside."""
        path = place.folder_of(self.model) / LOG
        try:
            table = read_texts(path, ["iteration", "loss"])
        except UserError:
            Entry((), damaged=(path,)).set_damaged_aside()
            return []
        return [] if table is None else [path]

    def sent(self, place: Workspace) -> list[Path]:
        return [place.folder_of(self.model) / name for name in (WEIGHTS, LOG, RECIPE)]

    def _note(self, place: Workspace) -> dict[str, Any] | None:
        with suppress(UserError):
            return read_note(place.cache.folder, self.name)
        return None

    def _damaged_beside(self, place: Workspace, inputs: Inputs) -> tuple[Path, ...]:
        """What of a training is damaged or lost and decides no figure: its note, or the log whose hash that holds."""
        note, path = self._note(place), place.folder_of(self.model) / LOG
        if note is None:
            return (place.cache.note(self.name),)
        files = note.get("files", {}) if note.get("key") == inputs.key else {}
        digest = files.get(path.relative_to(place.out).as_posix())
        return () if digest is None or (path.is_file() and sha256(path) == digest) else (path,)

    def _differs(self, place: Workspace, stored: Stored) -> tuple[str, ...]:
        """What of a training that was made under another key differs beside code, packages, device and textures."""
        origin, files = stored.provenance, place.dataset.digests("train", self.model.categories)
        data = origin.data_fingerprint
        if data == place.dataset.fingerprint:
            # What earlier versions wrote down: all files of the plan, test images too.
            data = fingerprint_of(files)
        recipe, now = stored.recipe.model_dump(mode="json"), self.model.recipe.model_dump(mode="json")
        return place.cache.changes(
            {"recipe": recipe, "categories": origin.categories, "seed": origin.seed, "data": data},
            Inputs.of(files, recipe=now, categories=self.model.categories, seed=place.plan.seed), unnamed=(),
        )  # fmt: skip

    def _changes(self, place: Workspace, origin: Provenance, inputs: Inputs) -> tuple[str, ...]:
        note, differs = self._note(place), tuple[str, ...]()
        if note and note.get("key") == origin.key:
            return place.cache.changes(note.get("decided_by"), inputs)
        with suppress(UserError):
            differs = self._differs(place, examine(place.folder_of(self.model)))
        return differs or UNNAMED
