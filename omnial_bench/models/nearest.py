"""Which of a memory's vectors is nearest: looked for by products of matrices, in bounded memory."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

AT_ONCE = 2**22
"""Distances that are held at once: 16 MiB."""


def nearest(vectors: Float[Tensor, "n d"], memory: Float[Tensor, "m d"]) -> Int64[Tensor, " n"]:
    """Where in the memory the nearest of each vector lies. It is a number of a place: no gradient goes through it, nor
    is lost; the distance is then to be taken as a difference, which a product would round."""
    halves = memory.square().sum(1) / 2
    parts = torch.split(vectors, max(1, AT_ONCE // len(memory)))
    return torch.cat([torch.addmm(halves, part, memory.mT, alpha=-1).min(1).indices for part in parts])
