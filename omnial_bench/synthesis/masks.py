"""Where anomalies of a training batch lie: Perlin masks, confined to panels or left out of normal samples."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.synthesis.draw import Device, chance, choice, uniform
from omnial_bench.types import RGB

REDRAWS = 20
PANELS = ("left", "right", "top", "bottom", "all")
"""Parts of an image that synthetic anomalies are confined to (OmniAL, section 3.1 and Fig. 4)."""
SHARES = (0.5, 0.8)
MAX_EXPONENT = 5
THRESHOLD = 0.5
GRID = 2**MAX_EXPONENT + 1
"""Lattice points a side, enough for the finest noise."""


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


def perlin_masks(
    n: int, size: tuple[int, int], generator: torch.Generator, device: Device, wanted: Tensor | None = None
) -> Bool[Tensor, "n h w"]:
    """Masks of DRAEM's rule (Zavrtanik, ICCV 2021): 1 to 32 cells a side, x and y apart, rotated by U(-90, 90) degrees,
    noise over 0.5.

    About 5 % of the frame on average; some are empty. All numbers are drawn, but only the masks that are `wanted` (on
    the CPU; None: all) are worked out; the others are empty.
    """
    cells = torch.stack([2 ** choice(n, MAX_EXPONENT + 1, generator) for _ in range(2)], dim=1)
    angles = uniform((n,), -math.pi / 2, math.pi / 2, generator, device)
    if wanted is None:
        return perlin_noise(size, cells, angles, generator) > THRESHOLD
    gradients = _gradients(n, generator, device)
    chosen = wanted.nonzero().flatten()
    place = chosen.to(device, non_blocking=True)
    masks = torch.zeros((n, *size), dtype=torch.bool, device=device)
    masks[place] = _noise(size, cells[chosen], angles[place], gradients.index_select(0, place)) > THRESHOLD
    return masks


def perlin_noise(
    size: tuple[int, int], cells: Int64[Tensor, "n 2"], angles: Float[Tensor, " n"], generator: torch.Generator
) -> Float[Tensor, "n h w"]:
    """Gradient noise with a quintic fade and factor sqrt 2, turned by `angles` (radians) about the centre, 0 outside.

    `cells` counts the lattice cells along height and width. The noise is evaluated at the turned coordinates
    themselves, which spares the resampling of a turned image and its blur.
    """
    return _noise(size, cells, angles, _gradients(len(angles), generator, angles.device))


def _gradients(n: int, generator: torch.Generator, device: Device) -> Float[Tensor, "n 2 points"]:
    """Unit vectors at the lattice points, down and right."""
    theta = uniform((n, GRID, GRID), 0.0, 2 * math.pi, generator, device)
    return torch.stack((torch.cos(theta), torch.sin(theta)), dim=1).flatten(2)


def _noise(
    size: tuple[int, int], cells: Int64[Tensor, "n 2"], angles: Float[Tensor, " n"], gradients: Tensor
) -> Float[Tensor, "n h w"]:
    (height, width), device, n = size, angles.device, len(angles)
    rows = torch.arange(height, device=device, dtype=torch.float32)[:, None] - (height - 1) / 2
    columns = torch.arange(width, device=device, dtype=torch.float32)[None, :] - (width - 1) / 2
    cosine, sine = torch.cos(angles)[:, None, None], torch.sin(angles)[:, None, None]
    y, x = cosine * rows - sine * columns, sine * rows + cosine * columns
    half_y, half_x = (height - 1) / 2, (width - 1) / 2
    inside = torch.maximum(y.abs() - half_y, x.abs() - half_x) <= 0
    y, x = y + half_y, x + half_x

    counts = cells.to(device, non_blocking=True)
    y = (y / height).clamp_(0, (height - 1) / height) * counts[:, 0, None, None]
    x = (x / width).clamp_(0, (width - 1) / width) * counts[:, 1, None, None]
    row, column = y.floor(), x.floor()
    y, x = y - row, x - column
    corner = (row * GRID + column).long().flatten(1)

    def dot(down: int, right: int) -> Tensor:
        at = corner + (down * GRID + right)
        along_y, along_x = (gradients[:, axis].gather(1, at).view(n, height, width) for axis in (0, 1))
        return (along_y * (y - down)).addcmul_(along_x, x - right)

    fade_y, fade_x = _fade(y), _fade(x)
    top = torch.lerp(dot(0, 0), dot(0, 1), fade_x)
    bottom = torch.lerp(dot(1, 0), dot(1, 1), fade_x)
    return math.sqrt(2) * torch.lerp(top, bottom, fade_y) * inside.to(y.dtype)


def _fade(t: Tensor) -> Tensor:
    return t * t * t * (t * (t * 6 - 15) + 10)
