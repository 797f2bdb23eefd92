"""Upright boxes around regions, and rectangles that are placed in them at random."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


class Box(NamedTuple):
    """An upright rectangle for each image, in pixels."""

    top: Int64[Tensor, " b"]
    left: Int64[Tensor, " b"]
    height: Int64[Tensor, " b"]
    width: Int64[Tensor, " b"]


def box_of(region: Bool[Tensor, "b h w"]) -> Box:
    """The smallest box around each image's region, on its device; the whole frame for an empty region."""
    (top, height), (left, width) = (_span(region.any(2)), _span(region.any(1)))
    return Box(top, left, height, width)


def placed(
    box: Box,
    height: Int64[Tensor, " b"],
    width: Int64[Tensor, " b"],
    frame: torch.Size | tuple[int, int],
    generator: torch.Generator,
) -> Box:
    """A rectangle of each image at a uniform place in its box; where it is longer than the box, as near as it can lie.

    `height` and `width` are of one image each, and no longer than the frame.
    """
    drawn = torch.rand(2, len(box.top), generator=generator).to(box.top.device)
    top = _first(box.top, box.height, height, frame[0], drawn[0])
    left = _first(box.left, box.width, width, frame[1], drawn[1])
    return Box(top, left, height, width)


def filled(box: Box, frame: torch.Size | tuple[int, int]) -> Bool[Tensor, "b h w"]:
    """The pixels of each box in a frame (height, width)."""
    rows = _line(box.top, box.height, frame[0])
    columns = _line(box.left, box.width, frame[1])
    return rows[:, :, None] & columns[:, None, :]


def _first(
    start: Int64[Tensor, " b"], length: Int64[Tensor, " b"], side: Int64[Tensor, " b"], frame: int, share: Tensor
) -> Int64[Tensor, " b"]:
    room = (length - side).clamp_min(0)
    first = start + (share * (room + 1)).long().minimum(room)
    return first.clamp_min(0).minimum(frame - side)


def _line(first: Int64[Tensor, " b"], side: Int64[Tensor, " b"], frame: int) -> Bool[Tensor, "b n"]:
    at = torch.arange(frame, device=first.device)
    return (at >= first[:, None]) & (at < (first + side)[:, None])


def _span(line: Bool[Tensor, "b n"]) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"]]:
    """First True of each line, and how far to behind the last; a line without one counts as True all along."""
    # argmax of integers gives the first of equal values, also on a GPU.
    first, behind = (x.to(torch.uint8).argmax(1) for x in (line, line.flip(1)))
    return first, line.shape[1] - behind - first
