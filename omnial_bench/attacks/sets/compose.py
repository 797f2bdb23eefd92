"""The images of an adversarial set before any attack: training normals, most of them with a synthetic anomaly.

OmniAL, section 4.3: built from the normal training images, 80 % anomalous, anomalies on the object only, their
texture cropped from normal images.
"""

import hashlib
import logging
from dataclasses import dataclass

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from omnial_bench.data.catalog import foreground_rule
from omnial_bench.data.images import Images, concatenate, to_bytes, to_float
from omnial_bench.errors import UserError
from omnial_bench.synthesis.draw import choice
from omnial_bench.synthesis.foreground import foreground
from omnial_bench.synthesis.jnd import jnd_map
from omnial_bench.synthesis.masks import REDRAWS, masks_within
from omnial_bench.synthesis.omnial import fuse, refine_labels
from omnial_bench.synthesis.transform import jittered_crop

log = logging.getLogger(__name__)

BATCH = 16
"""Images synthesised at once; fixed, for it decides which random numbers an image gets."""
LEVELS = 3


@dataclass(frozen=True)
class Composed:
    """Images that await an attack: defect `synthetic` where there is an anomaly, the normals as references."""

    images: Images
    objects: Bool[Tensor, "n h w"]
    """Foreground of each normal image; the whole frame for textures."""
    regions: Bool[Tensor, "n h w"]
    """For a normal image the region where a targeted attack is to fabricate a defect; empty for an anomalous one."""


def compose(
    images: Images,
    *,
    textures: UInt8[Tensor, "t 3 h w"] | None = None,
    anomalous: float = 0.8,
    limit: int | None = None,
    seed: int,
    dataset: str,
    device: torch.device | str = "cpu",
) -> Composed:
    """Choose among training normals and give `anomalous` of them, by category and to the exact count, an anomaly.

    At most `limit` images a category, drawn by `seed`; what a category gets does not depend on the others. The
    level is uniform over easy, medium and hard; the texture is a jittered crop of a random normal of the category, or
    of `textures` where they are given; the mask is Perlin noise on the foreground of `dataset`'s rule. The truth is
    where local SSIM sees a change. Everything is on the 8-bit grid. An id is `<category>/test/<defect>/<stem>`. Raises
    UserError where there are no images.
    """
    if not len(images):
        raise UserError("expected training images to build adversarial sets from, got none; check the data folder")
    categories = dict.fromkeys(images.categories)
    parts = [
        _compose_category(
            images, name, textures, anomalous, limit, generator_for(seed, "compose", name), dataset, device
        )
        for name in categories
    ]
    return Composed(
        concatenate([part.images for part in parts]),
        torch.cat([part.objects for part in parts]),
        torch.cat([part.regions for part in parts]),
    )


def generator_for(seed: int, *names: str) -> torch.Generator:
    """A generator of its own for what `names` say, independent of every other."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def split(n: int, anomalous: float, limit: int | None, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Which of `n` images stay normal and which get an anomaly, in order; both kinds occur wherever two images
    do."""
    drawn: list[int] = torch.randperm(n, generator=generator)[:limit].tolist()
    count = round(anomalous * len(drawn))
    if len(drawn) > 1:
        count = min(max(count, 1), len(drawn) - 1)
    return sorted(drawn[count:]), sorted(drawn[:count])


def _compose_category(
    normals: Images,
    category: str,
    textures: UInt8[Tensor, "t 3 h w"] | None,
    anomalous: float,
    limit: int | None,
    generator: torch.Generator,
    dataset: str,
    device: torch.device | str,
) -> Composed:
    rows = [index for index, name in enumerate(normals.categories) if name == category]
    normal, synthetic = split(len(rows), anomalous, limit, generator)
    chosen = normals.select([rows[index] for index in (*normal, *synthetic)])
    clean, objects = chosen.images, foreground(chosen.images, foreground_rule(dataset, category))
    images, masks, regions = clean.clone(), torch.zeros_like(objects), torch.zeros_like(objects)
    sources = normals.images[torch.tensor(rows)] if textures is None else textures
    for start in range(0, len(normal), BATCH):
        part = slice(start, min(start + BATCH, len(normal)))
        drawn = masks_within(1, objects[part].to(device), generator)[0].cpu()
        # An object that the noise never meets is fabricated upon as a whole.
        regions[part] = torch.where(drawn.flatten(1).any(1)[:, None, None], drawn, objects[part])
    for start in range(len(normal), len(chosen), BATCH):
        part = slice(start, start + BATCH)
        images[part], masks[part] = add_anomalies(clean[part], objects[part], sources, generator, device=device)
    bare = [chosen.ids[index] for index in range(len(normal), len(chosen)) if not masks[index].any()]
    if bare:
        log.warning(
            "%s: no visible anomaly after %d draws in %d images, first %s", category, REDRAWS, len(bare), bare[0]
        )
    defects = ("good",) * len(normal) + ("synthetic",) * len(synthetic)
    stems = [name.rsplit("/", 1)[-1] for name in chosen.ids]
    ids = tuple(f"{category}/test/{defect}/{stem}" for defect, stem in zip(defects, stems, strict=True))
    return Composed(Images(images, masks, chosen.categories, defects, ids, clean), objects, regions)


def add_anomalies(
    clean: UInt8[Tensor, "b 3 h w"],
    objects: Bool[Tensor, "b h w"],
    sources: UInt8[Tensor, "t 3 h w"],
    generator: torch.Generator,
    *,
    device: torch.device | str = "cpu",
) -> tuple[UInt8[Tensor, "b 3 h w"], Bool[Tensor, "b h w"]]:
    """One anomaly of a random level on each object, and its mask, both on the CPU.

    Nothing changes outside `objects`. An image in which no change can be seen draws again, up to 20 times.
    """
    normals, within = to_float(clean, device), objects.to(device)
    jnd = jnd_map(normals)
    levels = choice(len(clean), LEVELS, generator).to(device)
    images, masks = clean.clone(), torch.zeros_like(objects)
    todo = torch.arange(len(clean))
    for _ in range(REDRAWS + 1):
        if not len(todo):
            break
        at = todo.to(device)
        shapes = torch.zeros((LEVELS, len(todo), *objects.shape[1:]), dtype=torch.bool, device=device)
        shapes[levels[at], torch.arange(len(todo), device=device)] = masks_within(1, within[at], generator)[0]
        textures = jittered_crop(to_float(sources[choice(len(todo), len(sources), generator)], device), generator)
        augmented, alphas = fuse(normals[at], textures, shapes, within[at], jnd=jnd[at])
        drawn = to_bytes(augmented)
        seen = refine_labels(normals[at], to_float(drawn), (alphas > 0).any(0)) > 0
        images[todo], masks[todo] = drawn.cpu(), seen.cpu()
        todo = todo[~masks[todo].flatten(1).any(1)]
    return images, masks
