"""JNLD's training samples: DRAEM's masks and textures, fused at several just noticeable degrees (Zhao, ICME 2022)."""

import torch

from omnial_bench.synthesis.jnd import free_energy_map, jnd_map
from omnial_bench.synthesis.masks import marked, training_masks
from omnial_bench.synthesis.omnial import fuse, refine_labels
from omnial_bench.synthesis.textures import augment
from omnial_bench.types import RGB, Synthetic


def synthesize(
    images: RGB,
    textures: RGB,
    generator: torch.Generator,
    *,
    anomalous: float = 0.5,
    panels: bool = False,
    levels: int = 3,
    free_energy: bool = False,
) -> Synthetic:
    """A batch with labels 0..3 (0 and 1 when `levels` is 1) and the JND map of the clean images.

    Masks and normal samples as in DRAEM, textures only from the texture source, labels corrected by SSIM.
    """
    masks, allowed = training_masks(3, images, generator, anomalous=anomalous, panels=panels)
    jnd = free_energy_map(images) if free_energy else jnd_map(images)
    sources = augment(textures, generator, wanted=marked(masks.any(0)))
    augmented, alphas = fuse(images, sources, masks, allowed, jnd=jnd)
    labels = refine_labels(images, augmented, alphas.amax(0) > 0)
    return Synthetic(augmented, images, labels.clamp_max(levels), jnd)
