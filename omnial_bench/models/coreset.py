"""Memories of vectors, by products of matrices in bounded memory: a few of many, none of all far from them (greedy
k-centres, Gonzalez 1985), and which is nearest."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

CANDIDATES = 256
"""Farthest vectors, of which centres are picked before all distances are looked at again."""
ROWS = 4096
"""Vectors whose distances to new centres are held at once: they stay in a processor's cache."""
DIMENSIONS = 128
"""Of the random projection that distances are taken in, as published."""
AT_ONCE = 2**22
"""Distances that are held at once: 16 MiB."""
TILE = 512
"""Vectors, and rows of a memory, whose distances stay in a processor's cache while the least is looked for."""


def k_centres(vectors: Float[Tensor, "n d"], count: int, generator: torch.Generator) -> Int64[Tensor, " k"]:
    """Places of `count` of `vectors`, in the order in which they are picked, the first by chance; fewer where all
    others are equal to one of these.

    The one picked is always the farthest from all picked so far. One at a time that reads all vectors once for each;
    here the farthest are taken out first, and picked among themselves while none of the others can be farther.
    """
    squares = vectors.square().sum(1)
    # What rounding makes of the distance of equal vectors.
    nothing = 16 * torch.finfo(vectors.dtype).eps * float(squares.max())
    place = int(torch.randint(len(vectors), (), generator=generator))
    picked = torch.tensor([place], device=vectors.device)
    chosen, nearest = [picked], torch.full_like(squares, torch.inf)
    while True:
        _approach(nearest, vectors, squares, picked)
        left = count - sum(map(len, chosen))
        distances, far = nearest.topk(min(CANDIDATES, len(vectors)))
        if left <= 0 or not distances[0] > nothing:
            return torch.cat(chosen)
        picked = far[_among(vectors[far], distances, left, nothing)]
        chosen.append(picked)


def project(vectors: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n e"]:
    """By a random linear map to 128 dimensions, where there are more."""
    if vectors.shape[1] <= DIMENSIONS:
        return vectors
    directions = torch.randn(vectors.shape[1], DIMENSIONS, generator=generator, dtype=torch.float64)
    projected: Tensor = vectors @ (directions / DIMENSIONS**0.5).to(vectors)
    return projected


def _approach(nearest: Tensor, vectors: Tensor, squares: Tensor, picked: Tensor) -> None:
    """Have `nearest` hold squared distances to the picked ones too."""
    centres, own = vectors[picked], squares[picked]
    for start in range(0, len(vectors), ROWS):
        part = slice(start, start + ROWS)
        # The vectors' own squares come last: they do not change which is nearest.
        least = torch.addmm(own, vectors[part], centres.mT, alpha=-2).amin(1) + squares[part]
        torch.minimum(nearest[part], least.clamp_min_(0), out=nearest[part])
    nearest[picked] = 0


def _among(vectors: Tensor, distances: Tensor, most: int, nothing: float) -> Tensor:
    """Which of the farthest vectors, farthest first, are picked: while the farthest left is as far as the last of them
    was at first, for all others are nearer than that."""
    squares = vectors.square().sum(1)
    between = (squares[:, None] + squares - 2 * vectors @ vectors.mT).clamp_min_(0).fill_diagonal_(0).cpu()
    now, picked = distances.cpu().clone(), []
    bound = max(float(now[-1]), nothing)
    for _ in range(most):
        place = int(now.max(0).indices)
        if float(now[place]) < bound:
            break
        picked.append(place)
        torch.minimum(now, between[place], out=now)
    return torch.tensor(picked, device=vectors.device)


def nearest(
    vectors: Float[Tensor, "n d"], memory: Float[Tensor, "m d"], squares: Float[Tensor, " m"] | None = None
) -> Int64[Tensor, " n"]:
    """Where in the memory the nearest of each vector lies; `squares` are the memory's squared lengths, where they are
    known. It is a number of a place: no gradient goes through it, nor is lost; the distance is then to be taken as a
    difference, which a product would round."""
    vectors, memory = vectors.detach(), memory.detach()
    halves = (memory.square().sum(1) if squares is None else squares.detach()) / 2
    if memory.device.type == "cpu" and len(memory) > TILE:
        return _by_tiles(vectors, memory, halves)
    parts = torch.split(vectors, max(1, AT_ONCE // len(memory)))
    return torch.cat([torch.addmm(halves, part, memory.mT, alpha=-1).min(1).indices for part in parts])


def _by_tiles(vectors: Tensor, memory: Tensor, halves: Tensor) -> Tensor:
    """First the least of each tile alone, for its place takes longer than the product; then the place in the tile that
    has the least of all. A column more, of ones, adds the halves of the squares within the product."""
    tiles = [tile.mT for tile in torch.split(torch.cat([-memory, halves[:, None]], 1), TILE)]
    extended = torch.cat([vectors, vectors.new_ones(len(vectors), 1)], 1)
    parts = torch.split(extended, TILE)
    which = torch.cat([torch.stack([(part @ tile).amin(1) for tile in tiles], 1).min(1).indices for part in parts])
    places = torch.empty_like(which)
    for number, tile in enumerate(tiles):
        rows = (which == number).nonzero()[:, 0]
        if len(rows):
            places[rows] = number * TILE + (extended[rows] @ tile).min(1).indices
    return places
