"""Synthetic anomalies: their share of a training step, and their rate against pipelines that go image by image."""

import numpy as np
import torch

from benchmarks import published
from benchmarks.common import PRECISIONS, autocast, clean_images, ready, recipe_of
from benchmarks.measure import Row, missing, side_by_side
from omnial_bench.data.images import to_bytes
from omnial_bench.synthesis import draem

PUBLISHED = "DRAEM's published loader was once seen at 105 images a second on two such cores; that is not measured here"
SIDE, BATCH = 256, 8
DRAWS = 4
"""Batches in a turn: half of the images stay normal, so that batches differ."""


def share(name: str, preset: str, precision: str, repeats: int, *, batch: int | None = None) -> Row:
    """Synthesis of a batch, as a share of a whole training step."""
    recipe = recipe_of(name, preset, batch)
    detector, made = ready(recipe)
    images, textures = clean_images(recipe, recipe.training.batch)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-4, foreach=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision):
            loss = torch.stack(list(detector.loss(made).values())).sum()
        loss.backward()
        optimizer.step()

    size = "x".join(str(side) for side in recipe.size)
    return side_by_side(
        f"{name} {preset}: synthesis of {recipe.training.batch} images of {size}", "step on ready tensors",
        lambda: detector.synthesize(images, textures, generator), step, repeats=repeats, times=(DRAWS, 1),
        sense="share", goal="<= 0.05" if preset == "paper" else "<= 0.10", precision=PRECISIONS[precision],
    )  # fmt: skip


def rate(repeats: int) -> list[Row]:
    """DRAEM's recipe for a batch of 256x256, against the published way and against anomalib's generator."""
    recipe = recipe_of("draem", "paper", BATCH)
    images, textures = clean_images(recipe, BATCH)
    arrays = [to_bytes(stack).permute(0, 2, 3, 1).contiguous().numpy() for stack in (images, textures)]
    generator, random = torch.Generator().manual_seed(1), np.random.default_rng(1)

    def ours(anomalous: float) -> object:
        return draem.synthesize(images, textures, generator, anomalous=anomalous)

    def one_by_one() -> object:
        return [published.synthesize(image, texture, random) for image, texture in zip(*arrays, strict=True)]

    rows = [
        side_by_side(
            f"DRAEM's recipe, {BATCH} images of {SIDE}x{SIDE}, half of them anomalous",
            "the recipe an image at a time, in NumPy and Pillow", lambda: ours(0.5), one_by_one, repeats=repeats,
            times=(DRAWS, 1), goal=">= 5", note=PUBLISHED,
        )
    ]  # fmt: skip
    if missing("anomalib"):
        return rows
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

    theirs = PerlinAnomalyGenerator(probability=1.0)
    rows.append(
        side_by_side(
            f"DRAEM's recipe, {BATCH} images of {SIDE}x{SIDE}, all anomalous",
            "anomalib's PerlinAnomalyGenerator, an image at a time", lambda: ours(1.0),
            lambda: [theirs(image) for image in images], repeats=repeats, times=(DRAWS, 1), goal=">= 3",
        )
    )  # fmt: skip
    return rows
