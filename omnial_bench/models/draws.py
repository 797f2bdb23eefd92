"""Which normals each training batch is made of, and which are held out."""

import torch
from jaxtyping import Int64
from torch import Tensor


def at_random(count: int, batch: int, generator: torch.Generator) -> Int64[Tensor, " batch"]:
    """Indices drawn with replacement: of `count` draws a share of 1 - 1/e, about 63 %, are different ones."""
    return torch.randint(count, (batch,), generator=generator)


def by_epoch(count: int, batch: int, step: int, seed: int) -> Int64[Tensor, " batch"]:
    """Indices of the step's batch where every pass over the `count` normals takes each once, in an order of its own.

    Passes follow each other without a gap, so a batch may hold the end of one and the start of the next. The step and
    the seed alone decide it: a training that goes on from a saved step needs nothing more.
    """
    first, last = step * batch // count, ((step + 1) * batch - 1) // count
    orders = [
        torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)) for epoch in range(first, last + 1)
    ]
    return torch.cat(orders)[step * batch - first * count :][:batch]


def split_normals(n: int, share: float, generator: torch.Generator) -> tuple[Tensor, list[int]]:
    """Indices to train on and indices held out; at least one of each unless nothing is to be held out."""
    order = torch.randperm(n, generator=generator)
    held = min(max(1, round(n * share)), n - 1) if share > 0 else 0
    return order[held:].sort().values, order[:held].tolist()
