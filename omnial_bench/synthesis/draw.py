"""Random numbers for synthesis: drawn on the CPU, so that every device sees the same ones, and moved once."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
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


class Draws(NamedTuple):
    """Draws for `n` images of which only some are worked on: what those get depends on no choice of theirs."""

    generator: torch.Generator
    n: int
    chosen: Int64[Tensor, " k"]
    """Which of them, on the CPU."""
    device: Device

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Float[Tensor, "k ..."]:
        """U(low, high) of a shape an image."""
        drawn = uniform((self.n, *shape), low, high, self.generator, "cpu")
        return drawn[self.chosen].to(self.device, non_blocking=True)

    def chance(self, probability: float) -> Bool[Tensor, " k"]:
        """True with a probability for each image."""
        return chance(self.n, probability, self.generator, "cpu")[self.chosen].to(self.device, non_blocking=True)

    def integer(self, kinds: int) -> Int64[Tensor, " k"]:
        """One of 0..kinds-1 for each image."""
        return choice(self.n, kinds, self.generator)[self.chosen].to(self.device, non_blocking=True)
