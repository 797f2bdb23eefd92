"""Perlin noise masks, batched: DRAEM (Zavrtanik, ICCV 2021), section 3.2 and its published constants."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.synthesis.draw import Device, choice, uniform

MAX_EXPONENT = 5
THRESHOLD = 0.5
GRID = 2**MAX_EXPONENT + 1
"""Lattice points a side, enough for the finest noise."""


def perlin_masks(
    n: int, size: tuple[int, int], generator: torch.Generator, device: Device, wanted: Tensor | None = None
) -> Bool[Tensor, "n h w"]:
    """Masks of DRAEM's rule: 1 to 32 cells a side, x and y apart, rotated by U(-90, 90) degrees, noise over 0.5.

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
