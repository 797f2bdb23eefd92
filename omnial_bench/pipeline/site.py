"""Where a module from elsewhere is to work: its data, and the normal images that it is fitted on and scaled by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from omnial_bench.data.dataset import Dataset
from omnial_bench.data.decode import image_files, read_image
from omnial_bench.errors import UserError
from omnial_bench.models.outside.calibration import CALIBRATION, LEAST, held_out

SEEDS = 2**31
"""One more than the largest seed."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a module is to work: the data, the categories that it serves, and the network's height and width."""

    dataset: Dataset
    categories: tuple[str, ...]
    size: tuple[int, int]
    device: torch.device
    seed: int = 0
    held_out: Tensor | str | Path | None = None
    """Normal images that nothing was fitted on: (n, 3, h, w) in [0, 1], or a folder of files, or one of folders that
    are named after the categories; None: training ones."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords for a factory."""

    def fitted_on(self) -> UInt8[Tensor, "n 3 h w"]:
        """The training images of its categories, without those that are held out of them."""
        images = self.dataset.load("train", self.categories, self.size).images
        if self.held_out is not None:
            return images
        reserved = set(held_out(len(images)))
        return images[[place for place in range(len(images)) if place not in reserved]]


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """A network's height and width; UserError where it is no pair of whole numbers above 0."""
    if not isinstance(size, tuple | list) or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise UserError(f"expected size as height and width such as (256, 256), got {size!r}")
    return size[0], size[1]


def check_seed(seed: int) -> int:
    """A seed as the command line takes it; UserError for any other."""
    if type(seed) is not int or not 0 <= seed < SEEDS:
        raise UserError(f"expected a seed from 0 to {SEEDS - 1}, a whole number, got {seed!r}")
    return seed


def held_out_images(site: Site, *, fitted: bool) -> tuple[Tensor, list[str]]:
    """Normal images that nothing was fitted on, as bytes or as float in [0, 1], and the category of each, "" where it
    is not known; training images where none are held out."""
    if isinstance(site.held_out, str | Path):
        return _read_folder(site, Path(site.held_out))
    if site.held_out is not None:
        _check_own(site, "held_out images")
        return _checked(site.held_out), [""] * len(site.held_out)
    normals = site.dataset.load("train", site.categories, site.size)
    places = held_out(len(normals)) if fitted else range(len(normals))
    return normals.images[places], [normals.categories[place] for place in places]


def calibration_images(images: Tensor) -> Tensor:
    """Those of the images that a scale is taken from: at most `CALIBRATION`, evenly."""
    count = min(len(images), CALIBRATION)
    return images[[index * len(images) // count for index in range(count)]]


def _check_own(site: Site, got: str) -> None:
    """UserError where images would be taken for those of every category, and each has a module of its own."""
    if len(site.categories) < len(site.dataset.categories):
        raise UserError(
            f"expected held_out images for each category, which has a module of its own, got {got} for all; give a "
            f"folder that holds one named {site.categories[0]} and so on"
        )


def _checked(images: Tensor) -> Tensor:
    if not isinstance(images, Tensor):
        raise UserError(f"expected held_out images as a tensor or a folder, got {type(images).__name__}")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UserError(
            f"expected held_out images of shape (n, 3, h, w), float in [0, 1], got {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"expected held_out images in [0, 1], got {images.min():g} to {images.max():g}")
    return images


def _read_folder(site: Site, folder: Path) -> tuple[UInt8[Tensor, "n 3 h w"], list[str]]:
    """The images in the folders of the site's categories with these or, where there are none, in the folder itself."""
    if not folder.is_dir():
        raise UserError(f"no folder of held_out images at {folder}; check the path")
    folders = {category: folder / category for category in site.categories if (folder / category).is_dir()}
    if not folders:
        _check_own(site, "one folder")
    named = [(path, name) for name, place in (folders or {"": folder}).items() for path in image_files(place)]
    files, categories = [path for path, _ in named], [name for _, name in named]
    if len(files) < LEAST:
        raise UserError(f"expected at least {LEAST} held_out images in {folder}, got {len(files)}; add some")
    images = np.stack([read_image(path, site.size)[0].transpose(2, 0, 1) for path in files])
    return torch.from_numpy(images), categories
