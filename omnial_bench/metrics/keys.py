"""Scores as whole numbers in the same order, and quick work on very many of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

BELOW = -(2**31)
"""Lower than the key of any score."""
BLOCK = 2**15
"""Numbers worked on at once: they stay in a core's cache, and torch starts no threads of its own for them."""
SMALL = 4 * BLOCK

Made = TypeVar("Made")


def keys_of(scores: Float[Tensor, " n"]) -> Int32[Tensor, " n"]:
    """float32 scores as int32 in the same order, both zeros alike, in new memory."""
    keys = new_keys(len(scores), scores.device)

    def convert(part: slice) -> None:
        # Behind a set sign the bits grow as the number falls. Adding zero takes the sign from zero.
        bits = torch.add(scores[part], 0.0).view(torch.int32)
        torch.bitwise_xor(bits, (bits >> 31).bitwise_and_(2**31 - 1), out=keys[part])

    in_blocks(convert, len(scores), scores.device)
    return keys


def new_keys(n: int, device: torch.device) -> Int32[Tensor, " n"]:
    """Room for n keys. NumPy asks the system for large pages, which spares most of the cost of new memory."""
    if device.type == "cpu":
        return torch.from_numpy(np.empty(n, dtype=np.int32))
    return torch.empty(n, dtype=torch.int32, device=device)


def places_of(values: Int32[Tensor, " n"] | Bool[Tensor, " n"], bound: int = 1) -> Int64[Tensor, " k"]:
    """The places of the values that are not below `bound`, rising."""
    if values.is_cuda:
        return (values >= bound).nonzero().flatten()
    array = values.numpy()
    found = in_blocks(lambda part: np.flatnonzero(array[part] >= bound) + part.start, len(values), values.device)
    return torch.from_numpy(np.concatenate(found))


def in_blocks(work: Callable[[slice], Made], n: int, device: torch.device) -> list[Made]:
    """What `work` makes of each part of n numbers: a block at a time and threads on the CPU, all at once elsewhere."""
    if device.type != "cpu" or n <= BLOCK:
        return [work(slice(0, n))]
    threads = torch.get_num_threads() if n > SMALL else 1
    starts = range(0, n, BLOCK)
    share = -(-len(starts) // threads)

    mode = torch.is_inference_mode_enabled()

    def blocks(thread: int) -> list[Made]:
        # The mode is a thread's own, and numbers made in it may not be written to outside of it.
        with torch.inference_mode(mode):
            mine = starts[thread * share : (thread + 1) * share]
            return [work(slice(start, min(start + BLOCK, n))) for start in mine]

    with ThreadPoolExecutor(threads) as pool:
        return [made for part in pool.map(blocks, range(threads)) for made in part]


def sorted_runs(values: Tensor) -> list[Tensor]:
    """The numbers as runs in rising order; on the CPU in their own memory, a run a thread."""
    if values.is_cuda:
        return [values.sort().values]
    runs = list(values.tensor_split(torch.get_num_threads() if len(values) > SMALL else 1))
    with ThreadPoolExecutor(len(runs)) as pool:
        # NumPy sorts in place and several times as fast as torch, which carries the order along.
        list(pool.map(lambda run: run.numpy().sort(), runs))
    return runs
