"""DRAEM's augmentation of anomaly textures: three of ten operations, batched over the images that drew each.

Zavrtanik et al. (ICCV 2021) and the published data loader for the strengths.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.draw import chance, subsets, uniform
from omnial_bench.synthesis.transform import rotate, turn_hue

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def augment(
    textures: Float[Tensor, "b 3 h w"], generator: torch.Generator, *, drawn: int = 3
) -> Float[Tensor, "b 3 h w"]:
    """Each texture through `drawn` different operations out of AUGMENTATIONS; values stay in [0, 1]."""
    chosen = subsets(len(textures), len(AUGMENTATIONS), drawn, generator)
    textures = textures.clone()
    for step in range(drawn):
        for kind, operation in enumerate(AUGMENTATIONS.values()):
            members = (chosen[:, step] == kind).nonzero()[:, 0]
            if len(members):
                index = members.to(textures.device, non_blocking=True)
                textures[index] = operation(textures[index], generator)
    return textures


def gamma(x: Tensor, generator: torch.Generator) -> Tensor:
    return x ** uniform((len(x), 3, 1, 1), 0.5, 2.0, generator, x.device)


def brightness(x: Tensor, generator: torch.Generator) -> Tensor:
    factor = uniform((len(x), 1, 1, 1), 0.8, 1.2, generator, x.device)
    offset = uniform((len(x), 1, 1, 1), -30 / 255, 30 / 255, generator, x.device)
    # Brightness is HSV's value: scaling all channels alike keeps hue and saturation.
    value = x.amax(1, keepdim=True).clamp_min(1 / 255)
    return (x * ((value * factor + offset).clamp(0, 1) / value)).clamp(0, 1)


def sharpness(x: Tensor, generator: torch.Generator) -> Tensor:
    factor = uniform((len(x), 1, 1, 1), 0.0, 2.0, generator, x.device)
    kernel = torch.ones((3, 1, 3, 3), device=x.device)
    kernel[:, :, 1, 1] = 5
    smooth = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel / 13, groups=3)
    return torch.lerp(smooth, x, factor).clamp(0, 1)


def hue_and_saturation(x: Tensor, generator: torch.Generator) -> Tensor:
    shifts = uniform((len(x), 2, 1, 1), -50 / 255, 50 / 255, generator, x.device)
    return turn_hue(x, shifts[:, :1], saturation=shifts[:, 1:])


def solarise(x: Tensor, generator: torch.Generator) -> Tensor:
    threshold = uniform((len(x), 1, 1, 1), 32 / 255, 128 / 255, generator, x.device)
    acts = chance(len(x), 0.5, generator, x.device)[:, None, None, None]
    return torch.where(acts & (x >= threshold), 1 - x, x)


def posterise(x: Tensor, generator: torch.Generator) -> Tensor:
    step = 2.0 ** torch.randint(8, (len(x), 1, 1, 1), generator=generator).to(x.device, non_blocking=True)
    return (255 * x).div(step).floor().mul(step) / 255


def invert(x: Tensor, _: torch.Generator) -> Tensor:
    return 1 - x


def autocontrast(x: Tensor, generator: torch.Generator) -> Tensor:
    cutoff = uniform((len(x), 1, 1), 0.0, 0.2, generator, x.device)
    share = _histogram(x).cumsum(-1) / (x.shape[-2] * x.shape[-1])
    low = (share <= cutoff).sum(-1).clamp_max(255)
    high = (share < 1 - cutoff).sum(-1).clamp_max(255)
    low, high = (level[..., None, None] / 255 for level in (low, high))
    stretched = ((x - low) / (high - low).clamp_min(1 / 255)).clamp(0, 1)
    return torch.where(high > low, stretched, x)


def equalise(x: Tensor, _: torch.Generator) -> Tensor:
    counts = _histogram(x)
    below = counts.cumsum(-1) - counts
    total = counts.sum(-1, keepdim=True)
    last = counts.flip(-1).gt(0).int().argmax(-1, keepdim=True)
    step = torch.div(total - counts.gather(-1, 255 - last), 255, rounding_mode="floor")
    table = torch.div(below + step // 2, step.clamp_min(1), rounding_mode="floor").clamp_max(255) / 255
    levels = (255 * x).round().long().flatten(2)
    return torch.where(step[..., None] > 0, table.gather(-1, levels).view_as(x), x)


def turn(x: Tensor, generator: torch.Generator) -> Tensor:
    return rotate(x, uniform((len(x),), -math.pi / 4, math.pi / 4, generator, x.device))


def _histogram(x: Float[Tensor, "b c h w"]) -> Tensor:
    """Counts of the 256 grey levels by image and channel, (b, c, 256)."""
    b, c = x.shape[:2]
    levels = (255 * x).round().long().flatten(2)
    counts = torch.zeros((b, c, 256), dtype=torch.long, device=x.device)
    return counts.scatter_add_(-1, levels, torch.ones_like(levels))


AUGMENTATIONS: dict[str, Augmentation] = {
    "gamma": gamma,
    "brightness": brightness,
    "sharpness": sharpness,
    "hue and saturation": hue_and_saturation,
    "solarise": solarise,
    "posterise": posterise,
    "invert": invert,
    "autocontrast": autocontrast,
    "equalise": equalise,
    "rotation": turn,
}
