"""Random numbers for synthesis: drawn on the CPU, so that every device sees the same ones, and moved once."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Device = torch.device | str


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator, device: Device) -> Tensor:
    """U(low, high) of a shape, float32."""
    return torch.rand(shape, generator=generator).mul_(high - low).add_(low).to(device, non_blocking=True)


def chance(n: int, probability: float, generator: torch.Generator, device: Device) -> Tensor:
    """n independent draws, True with a probability."""
    return (torch.rand(n, generator=generator) < probability).to(device, non_blocking=True)


def choice(n: int, kinds: int, generator: torch.Generator) -> Int64[Tensor, " n"]:
    """n independent uniform draws from 0..kinds-1, left on the CPU, where they decide what is run."""
    return torch.randint(kinds, (n,), generator=generator)


def subsets(n: int, kinds: int, size: int, generator: torch.Generator) -> Int64[Tensor, "n size"]:
    """n ordered draws of `size` out of `kinds` without replacement, left on the CPU."""
    keys: Float[Tensor, "n kinds"] = torch.rand((n, kinds), generator=generator)
    return keys.argsort(dim=1)[:, :size]
