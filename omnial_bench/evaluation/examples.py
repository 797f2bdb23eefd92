"""Images kept for the report: a few of every category and set, and the synthetic anomalies by panel."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import KW_ONLY, astuple, dataclass, field, fields
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from omnial_bench.data.images import Images, to_bytes, to_float
from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import make_folder, whole, write_text
from omnial_bench.synthesis import omnial as synthesis
from omnial_bench.synthesis.jnd import jnd_map
from omnial_bench.synthesis.masks import PANELS, masks_within, panels_of
from omnial_bench.synthesis.transform import jittered_crop
from omnial_bench.types import Batch, Prediction, Synthetic

FOLDER = "examples"
GREYS_OF_LEVELS = (0, 255, 170, 85)
"""Grey of normal, easy, medium and hard in an image of labels."""


@dataclass(frozen=True)
class Example:
    """One image file; `path` is relative to the examples' folder."""

    model: str
    set: str
    category: str
    defect: str
    id: str
    role: str
    path: str
    note: str = ""
    """`strongest` or `weakest` where the image stands for what an attack did at its best or worst."""


def choose(images: Images) -> list[int]:
    """One image of each of the first two defects and the first normal one: the same ones for every model."""
    first: dict[str, int] = {}
    for index, defect in enumerate(images.defects):
        first.setdefault(defect, index)
    normal = first.pop("good", None)
    return list(first.values())[:2] + ([normal] if normal is not None else [])


@dataclass
class Keeper:
    """A scoring's viewer that writes the wanted images as PNG; by id, `originals` before the attack and `notes`."""

    run: Path
    _: KW_ONLY
    model: str
    name: str
    wanted: Collection[str]
    originals: Mapping[str, Tensor]
    notes: Mapping[str, str] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list, init=False)

    def __call__(self, batch: Batch, prediction: Prediction) -> None:
        for index, identity in enumerate(batch.ids):
            if identity not in self.wanted:
                continue
            tiles = {"input": batch.images[index], "truth": batch.masks[index].float()}
            tiles["map"] = prediction.anomaly_map[index]
            if prediction.reconstruction is not None:
                tiles["reconstruction"] = prediction.reconstruction[index].clamp(0, 1)
            if batch.references is not None:
                tiles["clean"] = batch.references[index]
            if identity in self.originals:
                tiles["original"] = to_float(self.originals[identity])
            for role, tile in tiles.items():
                path = Path(self.model, self.name, identity.replace("/", "-") + f"-{role}.png")
                write_image(self.run / FOLDER / path, tile)
                of = batch.categories[index], batch.defects[index], identity, role, path.as_posix()
                self.examples.append(Example(self.model, self.name, *of, self.notes.get(identity, "")))


def write_image(path: Path, tile: Float[Tensor, "..."]) -> None:
    """An RGB image (3, h, w) or a grey one (h, w), float in [0, 1], as PNG."""
    levels = to_bytes(tile.float().cpu())
    with whole(path) as aside:
        Image.fromarray((levels.permute(1, 2, 0) if levels.ndim == 3 else levels).numpy()).save(aside, format="PNG")


def gallery(
    run: Path, normals: Images, textures: Tensor, *, seed: int, categories: Iterable[str], detector: str
) -> list[Example]:
    """OmniAL's synthetic anomalies on the first normal of up to five categories, a panel each, as in its Fig. 4."""
    generator = torch.Generator().manual_seed(seed)
    examples: list[Example] = []
    for category in list(categories)[: len(PANELS)]:
        index = normals.categories.index(category)
        batch = _one_of_each_panel(to_float(normals.images[index : index + 1]), textures, generator)
        for panel, image, labels in zip(PANELS, batch.images, batch.labels, strict=True):
            greys = torch.tensor(GREYS_OF_LEVELS)[labels] / 255
            tiles = {"input": image, "truth": greys, "clean": batch.clean[0]}
            for role, tile in tiles.items():
                path = Path("synthesis", f"{category}-{panel}-{role}.png")
                write_image(run / FOLDER / path, tile)
                examples.append(
                    Example(detector, "synthesis", category, panel, normals.ids[index], role, path.as_posix())
                )
    return examples


def _one_of_each_panel(image: Float[Tensor, "1 3 h w"], textures: Tensor, generator: torch.Generator) -> Synthetic:
    count = len(PANELS)
    images = image.repeat(count, 1, 1, 1)
    height, width = images.shape[-2:]
    allowed = panels_of(torch.arange(count), torch.rand((count, 3), generator=generator), (height, width), "cpu")
    masks = masks_within(3, allowed, generator)
    chosen = to_float(textures[torch.randint(len(textures), (count,), generator=generator)])
    jnd = jnd_map(images)
    augmented, alphas = synthesis.fuse(images, jittered_crop(chosen, generator), masks, allowed, jnd=jnd)
    return Synthetic(augmented, images, synthesis.refine_labels(images, augmented, (alphas > 0).any(0)), jnd)


def write_index(run: Path, examples: Iterable[Example]) -> None:
    """examples/index.csv, an image a row."""
    columns = [column.name for column in fields(Example)]
    index = pd.DataFrame([astuple(example) for example in examples], columns=columns)
    make_folder(run / FOLDER)
    write_text(run / FOLDER / "index.csv", csv_text(index))
