"""Upright boxes around regions, and rectangles that are placed in them at random."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from omnial_bench.attacks.aim import Masks

Lengths = Int64[Tensor, " b"]
Frame = torch.Size | tuple[int, int]


class Box(NamedTuple):
    """An upright rectangle for each image, in pixels."""

    top: Lengths
    left: Lengths
    height: Lengths
    width: Lengths


def box_of(region: Masks) -> Box:
    """The smallest box around each image's region, on its device; the whole frame for an empty region."""
    (top, height), (left, width) = (_span(region.any(2)), _span(region.any(1)))
    return Box(top, left, height, width)


def placed(box: Box, height: Lengths, width: Lengths, frame: Frame, generator: torch.Generator) -> Box:
    """A rectangle of each image at a uniform place in its box; where it is longer than the box, as near as it can lie.

    `height` and `width` are of one image each, and no longer than the frame.
    """
    drawn = torch.rand(2, len(box.top), generator=generator).to(box.top.device)
    top = _first(box.top, box.height, height, frame[0], drawn[0])
    left = _first(box.left, box.width, width, frame[1], drawn[1])
    return Box(top, left, height, width)


def filled(box: Box, frame: Frame) -> Masks:
    """The pixels of each box in a frame (height, width)."""
    rows = _line(box.top, box.height, frame[0])
    columns = _line(box.left, box.width, frame[1])
    return rows[:, :, None] & columns[:, None, :]


def _first(start: Lengths, length: Lengths, side: Lengths, frame: int, share: Tensor) -> Lengths:
    room = (length - side).clamp_min(0)
    first = start + (share * (room + 1)).long().minimum(room)
    return first.clamp_min(0).minimum(frame - side)


def _line(first: Lengths, side: Lengths, frame: int) -> Bool[Tensor, "b n"]:
    at = torch.arange(frame, device=first.device)
    return (at >= first[:, None]) & (at < (first + side)[:, None])


def _span(line: Bool[Tensor, "b n"]) -> tuple[Lengths, Lengths]:
    """First True of each line, and how far to behind the last; a line without one counts as True all along."""
    # argmax of integers gives the first of equal values, also on a GPU.
    first, behind = (x.to(torch.uint8).argmax(1) for x in (line, line.flip(1)))
    return first, line.shape[1] - behind - first
