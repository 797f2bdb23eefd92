"""Scores as whole numbers in the same order, and quick work on very many of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

BELOW = -(2**31)
"""Lower than the key of any score."""
BLOCK = 2**20
"""Numbers worked on at once: what is made of them on the way stays in the cache that all cores share."""
SMALL = 2**17


def keys_of(scores: Float[Tensor, " n"]) -> Int32[Tensor, " n"]:
    """float32 scores as int32 in the same order, both zeros alike, in new memory."""
    keys, bits = new_keys(len(scores), scores.device), scores.contiguous().view(torch.int32)
    for part in blocks(len(scores), scores.device):
        # Behind a set sign the bits grow as the number falls: they are its size, to be counted downwards.
        sign = bits[part] >> 31
        torch.bitwise_and(bits[part], 2**31 - 1, out=keys[part]).bitwise_xor_(sign).sub_(sign)
    return keys


def new_keys(n: int, device: torch.device) -> Int32[Tensor, " n"]:
    """Room for n keys. NumPy asks the system for large pages, which spares most of the cost of new memory."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(n, dtype=np.int32))
    return torch.empty(n, dtype=torch.int32, device=device)


def blocks(n: int, device: torch.device) -> Iterator[slice]:
    """The parts in which n numbers are worked on: a block at a time on the CPU, all at once elsewhere."""
    size = BLOCK if device.type == "cpu" else max(n, 1)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def sorted_runs(values: Tensor) -> list[Tensor]:
    """The numbers as runs in rising order; on the CPU in their own memory, a run a thread."""
    if values.is_cuda:
        return [values.sort().values]
    runs = list(values.tensor_split(torch.get_num_threads() if len(values) > SMALL else 1))
    with ThreadPoolExecutor(len(runs)) as pool:
        # NumPy sorts in place and several times as fast as torch, which carries the order along.
        list(pool.map(lambda run: run.numpy().sort(), runs))
    return runs
