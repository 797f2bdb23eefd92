"""What the measurements of networks share: detectors, images and batches."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from omnial_bench.config.load import read_recipe
from omnial_bench.config.schema import Recipe
from omnial_bench.models.registry import build
from omnial_bench.types import GradientTrained, Synthetic

PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16"}


def recipe_of(name: str, preset: str, batch: int | None) -> Recipe:
    """The recipe, with another batch where one is given: a share of a step does not depend on it."""
    recipe = read_recipe(name, preset)
    if batch is None:
        return recipe
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"batch": batch})})


def clean_images(recipe: Recipe, count: int) -> tuple[Tensor, Tensor]:
    """Normals and textures as float in [0, 1]: smooth images, for noise has edges everywhere."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((2, count, 3, 16, 16), generator=generator)
    fine = torch.nn.functional.interpolate(coarse.flatten(0, 1), size=recipe.size, mode="bicubic").clamp(0, 1)
    images, textures = fine.unflatten(0, (2, count))
    return images, textures


def learner(recipe: Recipe, generator: torch.Generator) -> GradientTrained:
    """A new detector that is trained by gradient."""
    detector = build(recipe, generator)
    assert isinstance(detector, GradientTrained), f"{recipe.detector} is fitted"
    return detector


def ready(recipe: Recipe, *, channels_last: bool = True) -> tuple[GradientTrained, Synthetic]:
    """A new detector and one batch for it."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    detector: GradientTrained = learner(recipe, generator).to(memory_format=layout)  # type: ignore[call-overload]
    batch = detector.synthesize(*clean_images(recipe, recipe.training.batch), generator)
    return detector, batch._replace(images=batch.images.contiguous(memory_format=layout))


def autocast(precision: str) -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
