"""Where anomalies of a training batch lie: Perlin masks, confined to panels or left out of normal samples."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from omnial_bench.synthesis.draw import Device, chance, choice
from omnial_bench.synthesis.perlin import perlin_masks
from omnial_bench.types import RGB

REDRAWS = 20
PANELS = ("left", "right", "top", "bottom", "all")
"""Parts of an image that synthetic anomalies are confined to (OmniAL, section 3.1 and Fig. 4)."""
SHARES = (0.5, 0.8)


def training_masks(
    levels: int,
    images: RGB,
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
    return _draw(levels, n, size, generator, device, acts), allowed


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
    levels: int, n: int, size: tuple[int, int], generator: torch.Generator, device: Device, acts: Tensor | None = None
) -> Bool[Tensor, "levels n h w"]:
    """Masks of `levels` an image; empty, and not worked out, for those that `acts` (on the CPU) leaves out."""
    wanted = None if acts is None else acts.repeat(levels)
    return perlin_masks(levels * n, size, generator, device, wanted=wanted).view(levels, n, *size)


def draw_panels(
    n: int, size: tuple[int, int], generator: torch.Generator, device: Device, *, both_sides: bool = False
) -> tuple[Bool[Tensor, "n h w"], Int64[Tensor, " n"]]:
    """n panels, each of the five kinds equally likely, and their kinds as indices into PANELS.

    A side panel takes U(0.5, 0.8) of the image across its own direction; with `both_sides` also along it, placed at
    random.
    """
    kinds = choice(n, len(PANELS), generator)
    draws = torch.rand((n, 3), generator=generator)
    return panels_of(kinds, draws, size, device, both_sides=both_sides), kinds


def panels_of(
    kinds: Int64[Tensor, " n"], draws: Tensor, size: tuple[int, int], device: Device, *, both_sides: bool = False
) -> Bool[Tensor, "n h w"]:
    """The panels of given kinds; `draws` (n, 3) in [0, 1) are the share across, the share along and the place along."""
    height, width = size
    low, high = SHARES
    across, along, place = (low + (high - low) * draws[:, 0], low + (high - low) * draws[:, 1], draws[:, 2])
    if not both_sides:
        along = torch.ones_like(along)
    start, end = place * (1 - along), place * (1 - along) + along
    # Rows: kinds in the order of PANELS; columns: top, bottom, left, right edge as fractions of the frame.
    zero, one = torch.zeros_like(across), torch.ones_like(across)
    left, right = (start, end, zero, across), (start, end, 1 - across, one)
    top, bottom = (zero, across, start, end), (1 - across, one, start, end)
    edges = torch.stack([torch.stack(kind) for kind in (left, right, top, bottom, (zero, one, zero, one))])
    chosen: Tensor = edges[kinds, :, torch.arange(len(kinds))].T.to(device)
    upper, lower, near, far = chosen[..., None].unbind()
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    rows = (y >= upper) & (y < lower)
    columns = (x >= near) & (x < far)
    return rows[:, :, None] & columns[:, None, :]
