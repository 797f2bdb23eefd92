"""OmniAL's training samples: three levels of anomaly weighted by the JND map, labelled by SSIM (Zhao, CVPR 2023)."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.metrics.quality import ssim_map
from omnial_bench.synthesis.canny import gaussian_blur
from omnial_bench.synthesis.draw import chance
from omnial_bench.synthesis.jnd import free_energy_map, jnd_map
from omnial_bench.synthesis.masks import marked, training_masks
from omnial_bench.synthesis.transform import jittered_crop
from omnial_bench.types import RGB, Synthetic

HARD = 3
BETAS = (0.6, 0.3, 0.1)
"""Bias of Eq. 2 for easy, medium, hard."""
KERNELS = (3, 7, 11)
"""Sides of the Gaussian that softens the mask of each level; sigma = side / 6."""
SSIM_CUTS = (0.5, 0.8, 0.95)
"""Upper bounds of local SSIM for easy, medium, hard; above the last a pixel is normal."""


def synthesize(
    images: RGB,
    textures: RGB,
    generator: torch.Generator,
    *,
    panels: bool = True,
    anomalous: float = 0.5,
    both_sides: bool = False,
    additive: bool = False,
    self_source: float = 0.5,
    free_energy: bool = False,
) -> Synthetic:
    """A batch with labels 0 normal, 1 easy, 2 medium, 3 hard and the JND map of the clean images.

    The anomaly texture is a jittered crop of the image itself with probability `self_source`, else of a texture.
    Without `panels` a sample stays normal with probability 1 - `anomalous`. `both_sides` and `additive` are the other
    readings of the panel's size and of Eq. 1, `free_energy` the other JND model.
    """
    masks, allowed = training_masks(3, images, generator, anomalous=anomalous, panels=panels, both_sides=both_sides)
    own = chance(len(images), self_source, generator, images.device)[:, None, None, None]
    sources = jittered_crop(torch.where(own, images, textures), generator)
    jnd = free_energy_map(images) if free_energy else jnd_map(images)
    augmented, alphas = fuse(images, sources, masks, allowed, jnd=jnd, additive=additive)
    return Synthetic(augmented, images, refine_labels(images, augmented, alphas.amax(0) > 0), jnd)


def fuse(
    images: RGB,
    textures: RGB,
    masks: Bool[Tensor, "3 b h w"],
    allowed: Bool[Tensor, "b h w"],
    *,
    jnd: Float[Tensor, "b 1 h w"],
    additive: bool = False,
) -> tuple[RGB, Float[Tensor, "3 b h w"]]:
    """The anomalous images and the softened masks, levels in the order easy, medium, hard (Eq. 1 and 2).

    The soft edges of the masks end where `allowed` does. The levels are blended one after the other, so images stay in
    [0, 1]; where a single level has weight this is Eq. 1 as printed. `additive` sums the weights instead, clipped at 1.
    """
    pairs = zip(masks[:, :, None].float(), KERNELS, strict=True)
    softened = [gaussian_blur(mask, sigma=side / 6, radius=side // 2) for mask, side in pairs]
    alphas = torch.cat(softened, dim=1) * allowed[:, None]
    betas = torch.tensor(BETAS, device=images.device).view(1, 3, 1, 1)
    weights = (alphas * (jnd + betas)).clamp(0, 1)
    rest = (1 - weights.sum(1, keepdim=True)).clamp_min(0) if additive else (1 - weights).prod(1, keepdim=True)
    return torch.lerp(textures, images, rest), alphas.transpose(0, 1)


def refine_labels(clean: RGB, augmented: RGB, union: Bool[Tensor, "b h w"]) -> Int64[Tensor, "b h w"]:
    """Levels by how visible the change is: local SSIM inside `union`, cut at 0.95, 0.80 and 0.50; 0 outside."""
    changed = marked(union)
    if changed is not None and not changed.all():
        labels = torch.zeros(union.shape, dtype=torch.int64)
        if changed.any():
            labels[changed] = refine_labels(clean[changed], augmented[changed], union[changed])
        return labels
    similarity = ssim_map(clean, augmented, padding="zero").mean(1)
    easy, medium, hard = (similarity < cut for cut in SSIM_CUTS)
    return ((union & hard) * (HARD - medium.byte() - easy.byte())).long()
