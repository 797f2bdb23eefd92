"""A trained detector on disk: weights as safetensors, its recipe and provenance as TOML, each checked when read."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import BeforeValidator, Field, PlainSerializer
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from omnial_bench import provenance as made_by
from omnial_bench.config.load import parse, read_toml
from omnial_bench.config.schema import Paradigm, Recipe, Record
from omnial_bench.errors import UserError
from omnial_bench.io.whole import sha256, whole, without_none, write_text
from omnial_bench.models.finished import RECIPE as RECIPE
from omnial_bench.models.finished import WEIGHTS as WEIGHTS
from omnial_bench.models.finished import folder_of
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.outside.adapter import is_adapted, make_room, restored
from omnial_bench.models.registry import build, skeleton
from omnial_bench.trust import check_trust, is_foreign
from omnial_bench.types import Detector

Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]*[^/\\\x00-\x1f.][^/\\\x00-\x1f]*$")]
"""A name that files are named after: it leads into no other folder."""

Scores = Annotated[
    tuple[float, ...],
    BeforeValidator(lambda value: value.split() if isinstance(value, str) else value),
    PlainSerializer(lambda scores: " ".join(map(repr, scores))),
]


class Provenance(Record):
    """Where a checkpoint comes from."""

    model: Name
    """`<detector>-<paradigm>`, and `-<category>` for one of the separate models."""
    detector: Name
    """Name of the detector's record."""
    paradigm: Paradigm
    categories: tuple[Name, ...]
    dataset: str
    data_fingerprint: str
    seed: int
    precision: str
    iterations: int
    key: str
    versions: dict[str, str]
    commit: str
    title: str | None = None
    """What reports call the detector; None in checkpoints of earlier versions."""
    family: str | None = None
    """Of the detector, as its record says; None in checkpoints of earlier versions."""
    reader: dict[str, str] | None = None
    """What read the data where the user named it: its name, and of code from elsewhere the hash."""


class _File(Record):
    sha256: str
    """Of the weights."""
    recipe: Recipe
    provenance: Provenance
    normal_scores: dict[str, Scores] | None = None
    """As of a Detector; None in checkpoints of earlier versions, and where no normal image was held out."""
    checksum: str | None = None
    """SHA-256 of the entries above."""

    def digest(self) -> str:
        entries = without_none(self.model_dump(mode="json", exclude={"checksum"}))
        return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Trained:
    """A detector with the recipe that made it."""

    detector: Detector
    recipe: Recipe
    provenance: Provenance
    sha256: str


def model_name(detector: str, paradigm: str, category: str | None = None) -> str:
    return "-".join(part for part in (detector, paradigm, category) if part)


def provenance_of(
    detector: str, paradigm: Paradigm, categories: Sequence[str], **facts: Any
) -> Callable[[int], Provenance]:
    """Where a training that starts now comes from, as a function of its number of iterations; `facts` are the fields of
    Provenance that its other arguments do not give."""
    model = model_name(detector, paradigm, categories[0] if paradigm == "separate" else None)
    made = partial(Provenance, model=model, detector=detector, paradigm=paradigm, categories=tuple(categories), **facts)
    versions, commit = made_by.versions(), made_by.commit()
    return lambda iterations: made(iterations=iterations, versions=versions, commit=commit)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file, whole or not there; OSError where it cannot be written, on a full disk for one."""
    # Cloned, for weights that two layers share are refused as they are.
    laid_out = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with whole(path, apart=True) as aside:
        try:
            save_file(laid_out, aside, metadata)
        except SafetensorError as error:
            code = int(found[1]) if (found := re.search(r"os error (\d+)", str(error))) else errno.EIO
            raise OSError(code, os.strerror(code), str(path)) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; UserError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error}); train it again or copy it again") from error


def save(folder: Path, detector: Detector, recipe: Recipe, provenance: Provenance) -> None:
    """Write the weights, then the recipe that names their hash: a folder with a recipe is complete."""
    write_tensors(folder / WEIGHTS, detector.state_dict(), {"recipe": recipe.model_dump_json()})
    record = _File(
        sha256=sha256(folder / WEIGHTS), recipe=recipe, provenance=provenance,
        normal_scores=dict(detector.normal_scores) or None,
    )  # fmt: skip
    table = {"checksum": record.digest(), **record.model_dump(mode="json", exclude_none=True)}
    write_text(folder / RECIPE, tomli_w.dumps(without_none(table)))


def read_provenance(folder: Path) -> Provenance | None:
    """The provenance of a finished training, None where there is none."""
    if not (folder / RECIPE).is_file() or not (folder / WEIGHTS).is_file():
        return None
    return _check(parse(_File, read_toml(folder / RECIPE), str(folder / RECIPE)), folder / RECIPE).provenance


def _check(record: _File, path: Path) -> _File:
    if record.checksum not in (None, record.digest()):
        raise UserError(f"{path} is damaged (its checksum differs); copy it again, or train again")
    return record


@dataclass(frozen=True)
class Stored:
    """What a checkpoint on disk is, without the network: nothing of it is run."""

    recipe: Recipe
    provenance: Provenance
    sha256: str
    tensors: Mapping[str, Tensor]
    normal_scores: Mapping[str, tuple[float, ...]]
    folder: Path


def examine(path: str | Path, trusted: Collection[str] | None = None) -> Stored:
    """A checkpoint from its folder or its file, checked as far as that can be done without building its network.

    Where its code is to be run, that it may, by who is `trusted`, is the first thing looked at. UserError where a file
    is missing or damaged, the hash differs, or the weights belong to another detector.
    """
    folder = folder_of(path)
    record = parse(_File, read_toml(folder / RECIPE), str(folder / RECIPE))
    name = record.recipe.detector
    if is_foreign(name) and trusted is not None:
        check_trust(name, trusted, str(folder / RECIPE))
    tensors, _ = read_tensors(folder / WEIGHTS)
    if sha256(folder / WEIGHTS) != record.sha256:
        raise UserError(
            f"{folder / WEIGHTS} does not match the hash in {RECIPE}; one of them was replaced, train again"
        )
    if not is_foreign(name):
        # Without storage first: a recipe that was changed may ask for more memory than there is.
        _check_fit(skeleton(record.recipe), tensors, folder, record.recipe)
    _check(record, folder / RECIPE)
    return Stored(record.recipe, record.provenance, record.sha256, tensors, record.normal_scores or {}, folder)


def load(path: str | Path, *, trusted: Collection[str] = ()) -> Trained:
    """A trained detector from its folder or its checkpoint file, in eval mode on the CPU.

    A recipe that names code to run, `package.module:object`, is refused unless that name is among `trusted`: a file
    is no reason to run it. UserError for it, and as of `examine`.
    """
    stored = examine(path, trusted)
    recipe, tensors, where = stored.recipe, stored.tensors, str(stored.folder / RECIPE)
    foreign = is_foreign(recipe.detector)
    detector = None if foreign else _filled(stored)
    if detector is None:
        if foreign and is_adapted(tensors):
            detector = restored(recipe, stored.provenance.categories, tensors, trusted=trusted, where=where)
        else:
            detector = build(recipe, trusted=trusted, where=where)
        _check_fit(detector, tensors, stored.folder, recipe)
        detector.load_state_dict(dict(tensors))
    detector.eval()
    detector.normal_scores = stored.normal_scores
    return Trained(detector, stored.recipe, stored.provenance, stored.sha256)


def _filled(stored: Stored) -> Detector | None:
    """The detector with the stored weights in place of those that building it would draw, which takes seconds for a
    large one; None where it holds more than its file does, which only building it makes."""
    detector = skeleton(stored.recipe)
    if isinstance(detector, Fitted):
        make_room(detector, stored.tensors)
    # Copies, for what is read from a file changes with it.
    detector.load_state_dict({name: tensor.clone() for name, tensor in stored.tensors.items()}, assign=True)
    held = (
        value
        for part in detector.modules()
        for value in (*part.parameters(recurse=False), *part.buffers(recurse=False), *vars(part).values())
    )
    return None if any(isinstance(value, Tensor) and value.is_meta for value in held) else detector


def _check_fit(detector: Detector, tensors: Mapping[str, Tensor], folder: Path, recipe: Recipe) -> None:
    """UserError where the names, shapes or types differ; a Fitted takes any shape and type."""
    if isinstance(detector, Fitted):
        make_room(detector, tensors)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in detector.state_dict().items()}
    if expected != {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}:
        raise UserError(f"{folder / WEIGHTS} holds the weights of another detector than {recipe.detector}")
