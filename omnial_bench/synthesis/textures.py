"""DRAEM's augmentation of anomaly textures: three of ten operations, batched over the images that drew each.

Zavrtanik et al. (ICCV 2021) and the published data loader for the strengths.
"""

import math
from collections.abc import Callable
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.draw import Draws, subsets
from omnial_bench.synthesis.transform import either, rotate, turn_hue
from omnial_bench.types import RGB

Augmentation = Callable[[Tensor, Draws], Tensor]


def augment(
    textures: RGB, generator: torch.Generator, *, drawn: int = 3, wanted: Bool[Tensor, " b"] | None = None
) -> RGB:
    """Each texture through `drawn` different operations out of AUGMENTATIONS; values stay in [0, 1].

    All numbers are drawn, but only textures that are `wanted` (on the CPU; None: all) are worked on.
    """
    chosen = subsets(len(textures), len(AUGMENTATIONS), drawn, generator)
    textures = textures.clone()
    for step in range(drawn):
        for kind, operation in enumerate(AUGMENTATIONS.values()):
            members = (chosen[:, step] == kind).nonzero()[:, 0]
            if not len(members):
                continue
            places = torch.arange(len(members)) if wanted is None else wanted[members].nonzero()[:, 0]
            index = members[places].to(textures.device, non_blocking=True)
            draws = Draws(generator, len(members), places, textures.device)
            # Whole images are copied by these, and number by number by an index in brackets.
            textures.index_copy_(0, index, operation(textures.index_select(0, index), draws))
    return textures


def gamma(x: Tensor, draws: Draws) -> Tensor:
    return x ** draws.uniform((3, 1, 1), 0.5, 2.0)


def brightness(x: Tensor, draws: Draws) -> Tensor:
    factor = draws.uniform((1, 1, 1), 0.8, 1.2)
    offset = draws.uniform((1, 1, 1), -30 / 255, 30 / 255)
    # Brightness is HSV's value: scaling all channels alike keeps hue and saturation.
    value = x.amax(1, keepdim=True).clamp_min(1 / 255)
    return (x * ((value * factor + offset).clamp(0, 1) / value)).clamp(0, 1)


def sharpness(x: Tensor, draws: Draws) -> Tensor:
    factor = draws.uniform((1, 1, 1), 0.0, 2.0)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    smooth = torch.zeros_like(x)
    # Nine sums are several times as quick as a convolution of each channel alone, and round alike.
    for down, right in product(range(3), range(3)):
        weight = 5 / 13 if (down, right) == (1, 1) else 1 / 13
        smooth.add_(padded[..., down : down + x.shape[-2], right : right + x.shape[-1]], alpha=weight)
    return torch.lerp(smooth, x, factor).clamp(0, 1)


def hue_and_saturation(x: Tensor, draws: Draws) -> Tensor:
    shifts = draws.uniform((2, 1, 1), -50 / 255, 50 / 255)
    return turn_hue(x, shifts[:, :1], saturation=shifts[:, 1:])


def solarise(x: Tensor, draws: Draws) -> Tensor:
    threshold = draws.uniform((1, 1, 1), 32 / 255, 128 / 255)
    acts = draws.chance(0.5)[:, None, None, None]
    return either(acts & (x >= threshold), 1 - x, x)


def posterise(x: Tensor, draws: Draws) -> Tensor:
    step = 2.0 ** draws.integer(8)[:, None, None, None]
    return (255 * x).div(step).floor().mul(step) / 255


def invert(x: Tensor, _: Draws) -> Tensor:
    return 1 - x


def autocontrast(x: Tensor, draws: Draws) -> Tensor:
    cutoff = draws.uniform((1, 1), 0.0, 0.2)
    share = _histogram(x).cumsum(-1) / (x.shape[-2] * x.shape[-1])
    low = (share <= cutoff).sum(-1).clamp_max(255)
    high = (share < 1 - cutoff).sum(-1).clamp_max(255)
    low, high = (level[..., None, None] / 255 for level in (low, high))
    stretched = ((x - low) / (high - low).clamp_min(1 / 255)).clamp(0, 1)
    return either(high > low, stretched, x)


def equalise(x: Tensor, _: Draws) -> Tensor:
    counts = _histogram(x)
    below = counts.cumsum(-1) - counts
    total = counts.sum(-1, keepdim=True)
    last = counts.flip(-1).gt(0).int().argmax(-1, keepdim=True)
    step = torch.div(total - counts.gather(-1, 255 - last), 255, rounding_mode="floor")
    table = torch.div(below + step // 2, step.clamp_min(1), rounding_mode="floor").clamp_max(255) / 255
    levels = (255 * x).round().long().flatten(2)
    return either(step[..., None] > 0, table.gather(-1, levels).view_as(x), x)


def turn(x: Tensor, draws: Draws) -> Tensor:
    return rotate(x, draws.uniform((), -math.pi / 4, math.pi / 4))


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
