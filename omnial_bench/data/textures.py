"""The bank of texture images that synthetic anomalies are made of. Without torch until they are loaded."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from omnial_bench.data import cache, decode
from omnial_bench.errors import UserError

if TYPE_CHECKING:
    import torch
    from jaxtyping import UInt8
    from torch import Tensor

BUNDLED = ("brick.png", "grass.png", "gravel.png")
"""Photographs (CC0) that lie inside scikit-image's wheel, 512x512 grey."""
CROPS = 64
"""Crops of each bundled photograph."""


def load_textures(
    folder: Path | None, size: tuple[int, int], *, limit: int | None = None, seed: int = 0
) -> UInt8[Tensor, "n 3 h w"]:
    """Texture images at `size` (height, width) as bytes on the CPU, decoded once and cached.

    `folder` holds images at any depth, such as DTD's `images/<class>/`; each is resized whole, as DRAEM does. Without
    a folder, random crops of the photographs inside scikit-image are taken. `limit` keeps that many, drawn by `seed`.
    UserError where the folder is missing or holds no image, and naming an image that cannot be decoded.
    """
    if limit is not None and limit < 1:
        raise UserError(f"expected a limit of at least 1 texture, got {limit}; leave it out to take all")
    return _bundled(size, limit, seed) if folder is None else _from_folder(folder, size, limit, seed)


def check_textures(folder: Path | None) -> None:
    """UserError as of `load_textures` for a folder that is missing or holds no image; none is decoded."""
    if folder is not None:
        _files(folder)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"no texture folder at {folder}: expected images in it, at any depth; check the path")
    paths = sorted(path for path in folder.rglob("*") if decode.is_image(path))
    if not paths:
        raise UserError(f"no images in {folder}: expected textures at any depth, such as DTD's images/<class>/*.jpg")
    return paths


def _from_folder(folder: Path, size: tuple[int, int], limit: int | None, seed: int) -> UInt8[Tensor, "n 3 h w"]:
    import torch

    paths = _files(folder)
    if limit is not None and limit < len(paths):
        chosen = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed))[:limit]
        paths = [paths[index] for index in sorted(chosen.tolist())]

    def make() -> dict[str, Tensor]:
        pixels = np.empty((len(paths), 3, *size), np.uint8)

        def read(index: int) -> None:
            pixels[index] = decode.read_image(paths[index], size)[0].transpose(2, 0, 1)

        list(cache.streamed(read, range(len(paths))))
        return {"images": torch.from_numpy(pixels)}

    decided_by = [decode.VERSION, list(size), cache.file_stamps(folder, paths)]
    return cache.remember(f"textures-{size[0]}x{size[1]}", decided_by, make)["images"]


@lru_cache(maxsize=2)
def _bundled(size: tuple[int, int], limit: int | None, seed: int) -> UInt8[Tensor, "n 3 h w"]:
    import torch

    photographs = []
    for name in BUNDLED:
        path = Path(str(files("skimage.data").joinpath(name)))
        if not path.is_file():
            raise UserError(f"scikit-image lies here without its photograph {name}; give a folder of textures instead")
        photographs.append(Image.fromarray(decode.read_image(path)[0]))
    generator = torch.Generator().manual_seed(seed)
    count = CROPS * len(BUNDLED) if limit is None else limit
    crops = [_crop(photographs[index % len(photographs)], size, generator) for index in range(count)]
    return torch.stack(crops)


def _crop(photograph: Image.Image, size: tuple[int, int], generator: torch.Generator) -> UInt8[Tensor, "3 h w"]:
    """A crop of a quarter to the whole of the image's side, of the network's shape, mirrored and turned by chance."""
    import torch

    scale, left, top = torch.rand(3, generator=generator).tolist()
    mirror, turns = torch.randint(2, (), generator=generator).item(), int(torch.randint(4, (), generator=generator))
    image = photograph.rotate(90 * turns)
    largest = min(image.width / size[1], image.height / size[0])
    width, height = ((0.25 + 0.75 * scale) * largest * side for side in (size[1], size[0]))
    x, y = left * (image.width - width), top * (image.height - height)
    crop = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
    return pixels.flip(2) if mirror else pixels
