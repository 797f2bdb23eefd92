"""Pairs of patches for Patch SVDD: neighbours whose relation is to be told, and patches that almost coincide."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from omnial_bench.synthesis.draw import choice
from omnial_bench.types import RGB

DIRECTIONS = torch.tensor([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])
"""Of a patch's neighbours, down and to the right; a direction's place is its class."""
SHIFT, NOISE = 0.02, 0.02
"""Deviations of what is added to the colours of a patch, and to each of its values."""
NEAR = 32
"""A patch almost coincides with one that is moved by up to a part in so many of its side."""


def neighbours(
    images: RGB, side: int, generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"], Int64[Tensor, " b"]]:
    """A patch of each image, one of its eight neighbours, and which; a little of both is changed, so that the relation
    cannot be told by colours or edges that go on. Neighbours overlap by up to a quarter; they are moved into the frame.
    """
    places, beside, which = neighbouring_places(len(images), images.shape[2:], side, generator)
    first, second = (changed(crop(images, at, side), generator) for at in (places, beside))
    return first, second, which.to(images.device)


def neighbouring_places(
    count: int, frame: Sequence[int], side: int, generator: torch.Generator
) -> tuple[Int64[Tensor, "n 2"], Int64[Tensor, "n 2"], Int64[Tensor, " n"]]:
    """Upper left corners of `count` patches in a frame (h, w) and of a neighbour of each, and which that is."""
    places, which = _places(count, frame, side, generator), choice(count, len(DIRECTIONS), generator)
    away = 3 * side // 4 + torch.randint(max(1, side // 4), (count, 2), generator=generator)
    return places, _within(places + DIRECTIONS[which] * away, frame, side), which


def changed(patches: RGB, generator: torch.Generator) -> RGB:
    """With colours moved and noise added, of each by itself."""
    colours = SHIFT * torch.randn((len(patches), 3, 1, 1), generator=generator)
    noise = NOISE * torch.randn(patches.shape, generator=generator)
    return patches + (colours + noise).to(patches)


def coinciding(
    images: RGB, side: int, generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"]]:
    """A patch of each image, and one moved by a pixel or few."""
    frame, most = images.shape[2:], max(1, side // NEAR)
    places = _places(len(images), frame, side, generator)
    moves = torch.randint(-most, most + 1, (len(images), 2), generator=generator)
    return crop(images, places, side), crop(images, _within(places + moves, frame, side), side)


def crop(images: RGB, places: Int64[Tensor, "b 2"], side: int) -> Float[Tensor, "b 3 s s"]:
    """A square of each image, by its upper left corner."""
    corners = zip(images, places.tolist(), strict=True)
    return torch.stack([image[:, top : top + side, left : left + side] for image, (top, left) in corners])


def _places(count: int, frame: Sequence[int], side: int, generator: torch.Generator) -> Int64[Tensor, "n 2"]:
    drawn = torch.rand((count, 2), generator=generator)
    room = torch.tensor([size - side + 1 for size in frame])
    return (drawn * room).long()


def _within(places: Int64[Tensor, "n 2"], frame: Sequence[int], side: int) -> Int64[Tensor, "n 2"]:
    return torch.minimum(places.clamp_min(0), torch.tensor([size - side for size in frame]))
