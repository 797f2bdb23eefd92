"""Where the object is in a normal image: a threshold by category, cleaned up, whole frame where that fails."""

import logging
from pathlib import Path

import numpy as np

# By its name in full, for it imports a part of itself when it is asked for.
import skimage
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from omnial_bench.data.catalog import ForegroundRule, foreground_rule
from omnial_bench.data.dataset import Dataset
from omnial_bench.io.whole import whole
from omnial_bench.synthesis import automatic
from omnial_bench.synthesis.morphology import closed, filled, largest, opened, scaled

log = logging.getLogger(__name__)

GUARD = (0.02, 0.98)
"""Smallest and largest share of the frame that an object is believed to cover."""
LOOKED_AT, SHOWN = 24, 6
"""Training images of a category whose foreground is measured for a picture of it, and those in the picture."""
_GREY = (0.299, 0.587, 0.114)
_BLUE = (0.0, 0.0, 1.0)


def foreground(
    images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"], rule: ForegroundRule
) -> Bool[Tensor, "n h w"]:
    """The object's pixels, on the device of `images` (bytes, or float in [0, 1]); the work is done on the CPU.

    An image whose object would cover less than 2 % or more than 98 % of the frame gets the whole frame, and the log
    says how many did. The automatic rule is fitted to these images, of which most are to be normal; where it trusts
    nothing that it finds in them, all get the whole frame and the log says why. Rules after RealNet (Zhang et al., CVPR
    2024) and others, brought to one form.
    """
    n, _, height, width = images.shape
    masks = torch.ones((n, height, width), dtype=torch.bool)
    if rule.method == "whole":
        return masks.to(images.device)
    if rule.method == "auto":
        every = _to_bytes(_levels(images).permute(0, 2, 3, 1))
        opening, why = automatic.fit(list(every))
        if not opening:
            log.warning("foreground: the whole frame is taken, for %s", why)
            return masks.to(images.device)
        objects = (automatic.object_of(automatic.distance(image), opening) for image in every)
    else:
        weights = torch.tensor(_BLUE if rule.channel == "blue" else _GREY).view(1, 3, 1, 1)
        objects = (object_mask(channel, rule) for channel in _to_bytes((_levels(images) * weights).sum(1)))
    failed = []
    for index, mask in enumerate(objects):
        if GUARD[0] <= mask.mean() <= GUARD[1]:
            masks[index] = torch.from_numpy(mask)
        else:
            failed.append(index)
    if failed:
        log.warning(
            "foreground: %d of %d images get the whole frame, the %s threshold finds no object in them (first: %d)",
            len(failed), n, rule.method, failed[0],
        )  # fmt: skip
    return masks.to(images.device)


def object_mask(channel: NDArray[np.uint8], rule: ForegroundRule) -> NDArray[np.bool_]:
    """The rule on one h x w channel of grey levels, before the guard; a flat image has no object."""
    if channel.min() == channel.max():
        return np.zeros(channel.shape, dtype=np.bool_)
    threshold = _threshold(channel, rule)
    mask = channel <= threshold if rule.side == "dark" else channel > threshold
    mask = closed(mask, scaled(rule.close, channel.shape[0]))
    mask = opened(mask, scaled(rule.open, channel.shape[0]))
    if rule.fill_holes:
        mask = filled(mask)
    return largest(mask) if rule.largest else mask


def _threshold(channel: NDArray[np.uint8], rule: ForegroundRule) -> float:
    if rule.method == "triangle":
        return float(skimage.filters.threshold_triangle(channel))
    if rule.method == "multi_otsu" and len(np.unique(channel)) >= 3:
        # Of three classes the outermost is the object: a shadow between object and background is left out.
        return float(skimage.filters.threshold_multiotsu(channel, 3)[0 if rule.side == "dark" else -1])
    return float(skimage.filters.threshold_otsu(channel))


def _levels(images: Tensor) -> Tensor:
    """Grey levels from 0 to 255, on the CPU."""
    return images.detach().cpu().float() * (1 if images.dtype == torch.uint8 else 255)


def _to_bytes(levels: Tensor) -> NDArray[np.uint8]:
    return levels.round().clamp(0, 255).to(torch.uint8).numpy()


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
