"""A picture of the foreground of each category, to be looked at before anomalies are put there."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from omnial_bench.data.catalog import foreground_rule
from omnial_bench.data.dataset import Dataset
from omnial_bench.io.whole import whole
from omnial_bench.synthesis.foreground import foreground

SHOWN = 6
"""Images of a category in the picture."""
LOOKED_AT = 24
"""Training images of a category whose foreground is measured."""


def draw_foregrounds(dataset: Dataset, path: Path, size: tuple[int, int]) -> list[str]:
    """Write a PNG with a row of training images a category, dimmed where they are background; a sentence a category.

    UserError as of `Dataset.load`, and where the file cannot be written.
    """
    rows, told = [], []
    for category in dataset.categories:
        images = dataset.load("train", [category], size).images
        images = images[torch.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).round().long()]
        rule = foreground_rule(dataset.name, category)
        masks = foreground(images, rule)
        dimmed = torch.where(masks[:, None], images, images // 4 + 184)[:SHOWN]
        row = dimmed.permute(2, 0, 3, 1).reshape(size[0], -1, 3).numpy()
        rows.append(np.pad(row, ((0, 0), (0, SHOWN * size[1] - row.shape[1]), (0, 0)), constant_values=255))
        share = float(masks.float().mean())
        what = "whole frame" if share == 1 else f"{share:.1%} of the frame"
        told.append(f"{category}: {what}, by the {'automatic' if rule.method == 'auto' else rule.method} rule")
    with whole(path) as aside:
        Image.fromarray(np.vstack(rows)).save(aside, format="PNG")
    return told
