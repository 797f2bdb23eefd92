"""DRAEM's training samples: augmented textures blended into Perlin masks (Zavrtanik et al., ICCV 2021, section 3.2)."""

import math

import torch
from jaxtyping import Bool
from torch import Tensor

from omnial_bench.synthesis.draw import chance, uniform
from omnial_bench.synthesis.masks import marked, training_masks
from omnial_bench.synthesis.textures import augment
from omnial_bench.synthesis.transform import rotate
from omnial_bench.types import RGB, Synthetic

MAX_TRANSPARENCY = 0.8


def synthesize(
    images: RGB,
    textures: RGB,
    generator: torch.Generator,
    *,
    anomalous: float = 0.5,
    panels: bool = False,
    rotation: float = 0.0,
) -> Synthetic:
    """A batch with labels 0 and 1.

    Without panels a sample stays normal with probability 1 - `anomalous`; with panels none does.
    A normal image is turned by U(-90, 90) degrees, zeros around it, with probability `rotation` before anything else.
    """
    images = turned(images, rotation, generator)
    (masks,), _ = training_masks(1, images, generator, anomalous=anomalous, panels=panels)
    augmented = augment(textures, generator, wanted=marked(masks))
    return Synthetic(blend(images, augmented, masks, generator), images, masks.long())


def blend(images: RGB, textures: RGB, masks: Bool[Tensor, "b h w"], generator: torch.Generator) -> RGB:
    """Inside the masks (1 - beta) texture + beta image, beta ~ U(0, 0.8) an image; outside, the image."""
    beta = uniform((len(images), 1, 1, 1), 0.0, MAX_TRANSPARENCY, generator, images.device)
    # One pass over the images, and exactly the image where the weight is zero.
    return torch.lerp(images, textures, masks[:, None] * (1 - beta))


def turned(images: RGB, probability: float, generator: torch.Generator) -> RGB:
    """Each image turned about its centre by U(-90, 90) degrees with a probability."""
    if probability == 0:
        return images
    angles = uniform((len(images),), -math.pi / 2, math.pi / 2, generator, images.device)
    acts = chance(len(images), probability, generator, "cpu").nonzero()[:, 0].to(images.device, non_blocking=True)
    return images.index_copy(0, acts, rotate(images.index_select(0, acts), angles.index_select(0, acts)))
