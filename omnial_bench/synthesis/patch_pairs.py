"""Pairs of patches for Patch SVDD: neighbours whose relation is to be told, and patches that almost coincide."""

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
    places, which = _places(images, side, generator), choice(len(images), len(DIRECTIONS), generator)
    away = 3 * side // 4 + torch.randint(max(1, side // 4), (len(images), 2), generator=generator)
    beside = _within(places + DIRECTIONS[which] * away, images, side)
    first, second = (_changed(crop(images, at, side), generator) for at in (places, beside))
    return first, second, which.to(images.device)


def coinciding(
    images: RGB, side: int, generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 3 s s"]]:
    """A patch of each image, and one moved by a pixel or few."""
    places, most = _places(images, side, generator), max(1, side // NEAR)
    moves = torch.randint(-most, most + 1, (len(images), 2), generator=generator)
    return crop(images, places, side), crop(images, _within(places + moves, images, side), side)


def crop(images: RGB, places: Int64[Tensor, "b 2"], side: int) -> Float[Tensor, "b 3 s s"]:
    """A square of each image, by its upper left corner."""
    corners = zip(images, places.tolist(), strict=True)
    return torch.stack([image[:, top : top + side, left : left + side] for image, (top, left) in corners])


def _places(images: Tensor, side: int, generator: torch.Generator) -> Int64[Tensor, "b 2"]:
    drawn = torch.rand((len(images), 2), generator=generator)
    room = torch.tensor([size - side + 1 for size in images.shape[2:]])
    return (drawn * room).long()


def _within(places: Int64[Tensor, "b 2"], images: Tensor, side: int) -> Int64[Tensor, "b 2"]:
    last = torch.tensor([size - side for size in images.shape[2:]])
    return torch.minimum(places.clamp_min(0), last)


def _changed(patches: Float[Tensor, "b 3 s s"], generator: torch.Generator) -> Float[Tensor, "b 3 s s"]:
    colours = SHIFT * torch.randn((len(patches), 3, 1, 1), generator=generator)
    noise = NOISE * torch.randn(patches.shape, generator=generator)
    return patches + (colours + noise).to(patches)
