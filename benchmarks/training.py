"""The training step beside the bare network, and beside the way of the published code."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.common import PRECISIONS, autocast, clean_images, learner, ready, recipe_of
from benchmarks.measure import Row, memory_handed_back, side_by_side
from omnial_bench.data.images import to_bytes
from omnial_bench.models.blocks import recompute_features
from omnial_bench.models.gradient import Loop, Order
from omnial_bench.models.instance_norm import InstanceNorm
from omnial_bench.runtime import Precision
from omnial_bench.types import GradientTrained, Synthetic

NORMALS = 32


def convolution(repeats: int) -> Row:
    """What the processor can give: one convolution of 256 channels alone, in bfloat16 and in float32."""
    side, channels, batch = 64, 256, 4
    images, kernel = torch.randn(batch, channels, side, side), torch.randn(channels, channels, 3, 3)
    low, high = (
        tuple(values.to(dtype, memory_format=torch.channels_last) for values in (images, kernel))
        for dtype in (torch.bfloat16, torch.float32)
    )
    with torch.inference_mode():
        row = side_by_side(
            f"3x3 convolution of {channels} channels, {batch} images of {side}x{side}", "the same in float32",
            lambda: F.conv2d(low[0], low[1], padding=1), lambda: F.conv2d(high[0], high[1], padding=1),
            repeats=repeats, times=(5, 5), precision="bfloat16",
        )  # fmt: skip
    work = 2 * batch * (channels * 3 * side) ** 2 / 1e9
    return replace(row, note=f"{work / row.ours:.0f} against {work / (row.theirs or 1):.0f} GFLOP/s")


def bare(detector: GradientTrained, batch: Synthetic, optimizer: torch.optim.Optimizer, precision: str) -> None:
    """Forward, backward and optimiser on tensors that are ready."""
    optimizer.zero_grad(set_to_none=True)
    with autocast(precision):
        loss = torch.stack(list(detector.loss(batch).values())).sum()
    loss.backward()
    optimizer.step()


def whole(name: str, preset: str, precision: Precision, batch: int | None) -> Loop:
    """The training loop as it runs, before its first step."""
    recipe = recipe_of(name, preset, batch)
    generator = torch.Generator().manual_seed(0)
    order = Order(recipe=recipe, out=Path(tempfile.gettempdir()), device="cpu", precision=precision)
    return Loop(learner(recipe, generator), order, generator)


def over_floor(name: str, preset: str, precision: Precision, repeats: int, *, batch: int | None = None) -> Row:
    """A whole step, images in bytes to new weights, over the same network on ready tensors."""
    recipe = recipe_of(name, preset, batch)
    loop = whole(name, preset, precision, batch)
    images, textures, chosen = _bytes(recipe.size)
    detector, made = ready(recipe)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-4, foreach=True)
    return side_by_side(
        f"{name} {preset}: training step, batch {recipe.training.batch}", "bare network on ready tensors",
        lambda: loop.advance(images, chosen, textures, 1e-4), lambda: bare(detector, made, optimizer, precision),
        repeats=repeats, sense="ours / theirs", goal="<= 1.05", precision=PRECISIONS[precision],
    )  # fmt: skip


def over_published(name: str, preset: str, repeats: int, *, batch: int | None = None) -> Row:
    """A whole step in bfloat16 against the bare network as the published code runs it.

    That is: float32, contiguous, plain Adam, and memory handed back to the system. Its synthesis is left out, in its
    favour.
    """
    recipe = recipe_of(name, preset, batch)
    loop = whole(name, preset, "bf16-mixed", batch)
    images, textures, chosen = _bytes(recipe.size)
    detector, made = ready(recipe, channels_last=False)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-4, foreach=False)

    def theirs() -> None:
        with memory_handed_back():
            bare(detector, made, optimizer, "32-true")

    return side_by_side(
        f"{name} {preset}: training step, batch {recipe.training.batch}",
        "the same network in float32, contiguous, memory handed back; without synthesis",
        lambda: loop.advance(images, chosen, textures, 1e-4), theirs, repeats=repeats,
        goal=">= 3" if preset == "paper" else "", precision="bfloat16",
    )  # fmt: skip


def instance_norm(name: str, preset: str, precision: Precision, repeats: int) -> Row:
    """A bare step with instance norm taken image by image, beside one with torch's group norm of a group a channel."""
    recipe = recipe_of(name, preset, None)
    (ours, made), (theirs, _) = ready(recipe), ready(recipe)
    for part in theirs.modules():
        if isinstance(part, InstanceNorm):
            part.__class__ = nn.GroupNorm  # type: ignore[assignment]
    own, other = (torch.optim.Adam(each.parameters(), lr=1e-4, foreach=True) for each in (ours, theirs))
    return side_by_side(
        f"{name} {preset}: training step, batch {recipe.training.batch}, instance norm image by image", "group norm",
        lambda: bare(ours, made, own, precision), lambda: bare(theirs, made, other, precision),
        repeats=repeats, precision=PRECISIONS[precision],
    )  # fmt: skip


def recomputed(name: str, preset: str, batch: int) -> Row:
    """Memory and seconds of a step in which features are made twice, over those of one that keeps them."""
    recipe = recipe_of(name, preset, batch)
    detector, made = ready(recipe)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-4, foreach=True)

    def step(recompute: bool) -> None:
        recompute_features(detector, recompute)
        bare(detector, made, optimizer, "bf16-mixed")

    return side_by_side(
        f"{name} {preset}: training step, batch {batch}, features recomputed", "features kept",
        lambda: step(True), lambda: step(False), repeats=1, sense="ours / theirs", precision="bfloat16",
        note="weights and Adam's moments lay in memory before",
    )  # fmt: skip


def _bytes(size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normals and textures as they lie in memory, and the normals to train on."""
    recipe = recipe_of("draem", "paper", NORMALS).model_copy(update={"size": size})
    images, textures = (to_bytes(stack) for stack in clean_images(recipe, NORMALS))
    return images, textures, torch.arange(NORMALS)
