"""Where the anomalies of a training batch lie: Perlin masks, confined to panels or left out of normal samples."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.synthesis.draw import chance
from omnial_bench.synthesis.panels import draw_panels
from omnial_bench.synthesis.perlin import perlin_masks

REDRAWS = 20


def training_masks(
    levels: int,
    images: Float[Tensor, "b 3 h w"],
    generator: torch.Generator,
    *,
    anomalous: float = 0.5,
    panels: bool,
    both_sides: bool = False,
) -> tuple[Bool[Tensor, "levels b h w"], Bool[Tensor, "b h w"]]:
    """`levels` masks an image, drawn apart, and the region that they are confined to.

    With panels every image has an anomaly, inside its panel (OmniAL, section 3.1); without, a share of the images has
    one, anywhere.
    """
    n, size, device = len(images), (images.shape[2], images.shape[3]), images.device
    if panels:
        allowed, _ = draw_panels(n, size, generator, device, both_sides=both_sides)
        return masks_within(levels, allowed, generator), allowed
    acts = chance(n, anomalous, generator, "cpu")
    allowed = acts.to(device, non_blocking=True)[:, None, None].expand(n, *size)
    return _draw(levels, n, size, generator, device, acts=acts), allowed


def masks_within(
    levels: int, allowed: Bool[Tensor, "b h w"], generator: torch.Generator
) -> Bool[Tensor, "levels b h w"]:
    """`levels` Perlin masks an image inside `allowed`; images that got nothing draw again, up to 20 times."""
    n, height, width = allowed.shape
    masks = _draw(levels, n, (height, width), generator, allowed.device) & allowed
    for _ in range(REDRAWS):
        empty = (~masks.any(0).flatten(1).any(1)).nonzero()[:, 0]
        if not len(empty):
            break
        masks[:, empty] = _draw(levels, len(empty), (height, width), generator, allowed.device) & allowed[empty]
    return masks


def marked(masks: Bool[Tensor, "n h w"]) -> Bool[Tensor, " n"] | None:
    """Which masks hold anything, on the CPU; None where a look would have to wait for the device."""
    return masks.flatten(1).any(1) if masks.device.type == "cpu" else None


def _draw(
    levels: int,
    n: int,
    size: tuple[int, int],
    generator: torch.Generator,
    device: torch.device,
    *,
    acts: Bool[Tensor, " n"] | None = None,
) -> Bool[Tensor, "levels n h w"]:
    """Masks of `levels` an image; empty, and not worked out, for those that `acts` (on the CPU) leaves out."""
    wanted = None if acts is None else acts.repeat(levels)
    return perlin_masks(levels * n, size, generator, device, wanted=wanted).view(levels, n, *size)
