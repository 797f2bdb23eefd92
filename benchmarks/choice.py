"""Which value of a setting a detector learns best with, by training normals alone: no test image is read.

`python -m benchmarks.choice DATA DETECTOR KEY VALUE... [--category C]... [--seeds N] [--unified]` fits the preset
`small` to four fifths of each category's training normals (of all of them with `--unified`: one model) with each value
of an option or a training setting, a number or a list such as `[8,16]`. It prints the pixel AP on the last fifth of
each category, half of it with OmniAL's synthetic anomalies.
"""

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from omnial_bench.config.load import read_recipe
from omnial_bench.config.schema import Recipe
from omnial_bench.data.dataset import find_dataset
from omnial_bench.data.images import to_float
from omnial_bench.data.textures import load_textures
from omnial_bench.metrics.ranking import average_precision
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.fitting import fit_detector
from omnial_bench.models.registry import build
from omnial_bench.models.schedule import split_normals
from omnial_bench.synthesis.omnial import synthesize
from omnial_bench.types import Synthetic

SHARE = 0.2


def set_value(recipe: Recipe, key: str, value: float | list[float]) -> Recipe:
    if key in type(recipe.training).model_fields:
        return recipe.model_copy(update={"training": recipe.training.model_copy(update={key: value})})
    return recipe.model_copy(update={"options": {**recipe.options, key: value}})


def validate(recipe: Recipe, images: dict[str, Tensor], textures: Tensor, seed: int) -> dict[str, float]:
    """The pixel AP on what is held out of each category, of one model fitted to the rest of all."""
    generator = torch.Generator().manual_seed(seed)
    chosen, shown = [], {}
    for category, normals in images.items():
        kept, held_out = split_normals(len(normals), SHARE, generator)
        chosen.append(normals[kept])
        sources = to_float(textures[torch.randint(len(textures), (len(held_out),), generator=generator)])
        shown[category] = synthesize(to_float(normals[held_out]), sources, generator, panels=False)
    detector = build(recipe, generator)
    assert isinstance(detector, Fitted)
    fit_detector(detector, recipe, torch.cat(chosen), generator, device=torch.device("cpu"))
    return {category: precision(detector.eval(), batch) for category, batch in shown.items()}


def precision(detector: Fitted, batch: Synthetic) -> float:
    with torch.no_grad():
        maps = torch.cat([detector(part).score_map for part in batch.images.split(8)])
    found = average_precision(maps.flatten(), (batch.labels > 0).flatten())
    assert found is not None, "half of the images have an anomaly"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("detector")
    parser.add_argument("key")
    parser.add_argument("values", type=json.loads, nargs="+")
    parser.add_argument("--category", action="append")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--unified", action="store_true")
    asked = parser.parse_args()
    recipe, console = read_recipe(asked.detector, "small"), Console()
    data, textures = find_dataset(asked.data, asked.category), load_textures(None, recipe.size)
    images = {category: data.load("train", [category], recipe.size).images for category in data.categories}
    groups = [images] if asked.unified else [{category: normals} for category, normals in images.items()]
    for group in groups:
        for value in asked.values:
            changed = set_value(recipe, asked.key, value)
            tried = [validate(changed, group, textures, seed) for seed in range(asked.seeds)]
            for category in group:
                console.print(category, str(value), *(f"{precisions[category]:.3f}" for precisions in tried))


if __name__ == "__main__":
    main()
