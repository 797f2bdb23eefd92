"""Panels: the part of an image that synthetic anomalies are confined to. OmniAL, section 3.1 and Fig. 4."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from omnial_bench.synthesis.draw import Device, choice

PANELS = ("left", "right", "top", "bottom", "all")
SHARES = (0.5, 0.8)


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
    edges = torch.stack(
        (
            torch.stack((start, end, zero, across)),
            torch.stack((start, end, 1 - across, one)),
            torch.stack((zero, across, start, end)),
            torch.stack((1 - across, one, start, end)),
            torch.stack((zero, one, zero, one)),
        )
    )
    chosen: Tensor = edges[kinds, :, torch.arange(len(kinds))].T.to(device)
    top, bottom, left, right = chosen[..., None].unbind()
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    rows = (y >= top) & (y < bottom)
    columns = (x >= left) & (x < right)
    return rows[:, :, None] & columns[:, None, :]
