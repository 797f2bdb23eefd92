"""Adapted modules on disk: weights and scale as safetensors, with a recipe that names the code which builds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
import torch

from omnial_bench import provenance
from omnial_bench.config.load import parse
from omnial_bench.config.schema import Paradigm, Recipe
from omnial_bench.data.dataset import scan
from omnial_bench.data.images import to_float
from omnial_bench.errors import UserError
from omnial_bench.io.leftovers import swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import claimed
from omnial_bench.io.whole import make_folder
from omnial_bench.models.checkpoint import RECIPE, WEIGHTS, load, provenance_of, save
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.pipeline.own_detector import BATCH, Wanted, weights_of
from omnial_bench.trust import check_trust
from omnial_bench.types import Detector

TOLERANCE = 1e-3
"""In log-odds, between a detector and what is read back of it: sums may be taken in another order."""


def save_adapted(
    folder: str | Path,
    detector: Detector,
    factory: str,
    data: str | Path,
    *,
    categories: Sequence[str] | None = None,
    size: tuple[int, int] = (256, 256),
    name: str | None = None,
    paradigm: Paradigm = "unified",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write an adapted module and its scale to a folder that commands and `load_detector` take as a checkpoint.

    `factory` is the `package.module:object` that builds the module, with `options` as keywords. When it is loaded the
    factory is called again, with noise for `normals`, and what is registered as parameter or buffer is replaced, of
    whatever shape it is. `data`, `categories` and `size` say what the module was made for; `name` (default: the
    object's) and `paradigm` are those of its rows. That it comes back the same is looked at before this returns.
    UserError for a detector that is not adapted, for one that does not come back the same, as one whose fit lies
    outside of its state_dict, and for a folder that holds a checkpoint.
    """
    folder, wanted = Path(folder), Wanted.named(factory if name is None else f"{name}={factory}")
    check_trust(wanted.factory, [wanted.factory], "save_adapted")
    if not isinstance(detector, Adapted):
        raise UserError(f"expected a detector that adapt has made, got {type(detector).__name__}; only these are kept")
    check_links(folder, (WEIGHTS, RECIPE))
    if (folder / RECIPE).exists() or (folder / WEIGHTS).exists():
        raise UserError(f"{folder} holds a checkpoint, which would be lost; choose another folder")
    values = {"detector": wanted.factory, "preset": "given", "size": list(size), "options": dict(options or {})}
    recipe = parse(Recipe, values, "save_adapted")
    try:
        tomli_w.dumps({"options": recipe.options})
    except (TypeError, ValueError) as error:
        raise UserError(f"expected options that TOML can hold, got {recipe.options}: {error}") from error
    dataset = scan(Path(data), categories)
    describe = provenance_of(
        wanted.name, paradigm, dataset.categories, dataset=dataset.name, data_fingerprint=dataset.fingerprint,
        seed=seed, precision="32-true",
        key=provenance.key_of(recipe=recipe.model_dump(mode="json"), weights=weights_of(detector)),
    )  # fmt: skip
    images = to_float(dataset.load("train", None, size).images[:BATCH])
    with claimed(make_folder(folder), alone=True), swept(folder, deep=False):
        try:
            save(folder, detector, recipe, describe(0))
            _check_same(detector, load(folder, trusted=[wanted.factory]).detector, images)
        except BaseException:
            (folder / RECIPE).unlink(missing_ok=True)
            (folder / WEIGHTS).unlink(missing_ok=True)
            raise
    return folder


def _check_same(detector: Adapted, read_back: Detector, images: torch.Tensor) -> None:
    device = detector.threshold.device
    with torch.no_grad():
        first, other = detector(images.to(device)), read_back(images)
    pairs = ((first.log_odds, other.log_odds), (first.image_score, other.image_score))
    if not all(torch.allclose(left.cpu(), right, rtol=TOLERANCE, atol=TOLERANCE) for left, right in pairs):
        raise UserError(
            f"{type(detector.module).__name__} does not come back the same from its parameters and buffers; register "
            "all that it was fitted to as one of these, or pass it as an option"
        )
