"""Residual networks that learn beside a frozen one: a bottleneck and its mirrored decoder.

He et al., "Deep residual learning for image recognition", 2016.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omnial_bench.models.networks import ConvNorm

Grid = Float[Tensor, "b c h w"]


def doubling(inputs: int, outputs: int) -> nn.Sequential:
    """A transposed 2x2 convolution without bias, and its batch norm: twice the height and width."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or with `inner` channels a 3x3 one between two of 1x1.

    `stride` 2 halves the size, `up` doubles it, both in the first 3x3 convolution and in the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, *, inner: int = 0, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        ins, outs = (inner, inner) if inner else (inputs, outputs)
        moved = doubling(ins, outs) if up else ConvNorm(ins, outs, 3, stride)
        if inner:
            parts = [ConvNorm(inputs, inner, 1), moved, ConvNorm(inner, outputs, 1)]
        else:
            parts = [moved, ConvNorm(outputs, outputs, 3)]
        first, *later = parts
        self.path = nn.Sequential(first, *(nn.Sequential(nn.ReLU(), part) for part in later))
        self.shortcut: nn.Module = nn.Identity()
        if up or stride > 1 or inputs != outputs:
            self.shortcut = doubling(inputs, outputs) if up else ConvNorm(inputs, outputs, 1, stride)

    def forward(self, features: Grid) -> Grid:
        return torch.relu(self.path(features) + self.shortcut(features))


def stage(
    inputs: int, outputs: int, blocks: int, *, inner: int = 0, stride: int = 1, up: bool = False
) -> nn.Sequential:
    """Residual blocks of which the first changes channels and size."""
    first = Block(inputs, outputs, inner=inner, stride=stride, up=up)
    return nn.Sequential(first, *(Block(outputs, outputs, inner=inner) for _ in range(blocks - 1)))


def heads(channels: Sequence[int], linear: bool) -> nn.ModuleList:
    """What ends each level: nothing, or a 1x1 convolution, for features that may be negative."""
    return nn.ModuleList(nn.Conv2d(width, width, 1) if linear else nn.Identity() for width in channels)


class Bottleneck(nn.Module):
    """Levels, the finest first and each of twice the stride of the one before, to one embedding of twice the stride of
    the last: finer ones are halved by 3x3 convolutions, all meet at the coarsest, and a residual stage narrows them.
    """

    def __init__(self, channels: Sequence[int], outputs: int, *, blocks: int = 3, inner: int = 0) -> None:
        super().__init__()
        self.halvings = nn.ModuleList(
            nn.Sequential(*(
                ConvNorm(m, n, 3, 2, activation=nn.ReLU()) for m, n in pairwise(channels[at:])
            ))
            for at in range(len(channels))
        )  # fmt: skip
        self.stage = stage(len(channels) * channels[-1], outputs, blocks, inner=inner, stride=2)

    def forward(self, levels: Sequence[Grid]) -> Grid:
        met = [halve(level) for halve, level in zip(self.halvings, levels, strict=True)]
        return self.stage(torch.cat(met, 1))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The mirrored pyramid: from the embedding of a Bottleneck back to the levels, the finest first."""

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        *,
        blocks: Sequence[int],
        inners: Sequence[int],
        linear: bool = False,
    ) -> None:
        super().__init__()
        sides = zip(pairwise([inputs, *reversed(channels)]), blocks, inners, strict=True)
        self.stages = nn.ModuleList(stage(m, n, count, inner=inner, up=True) for (m, n), count, inner in sides)
        self.heads = heads(list(reversed(channels)), linear)

    def forward(self, features: Grid) -> list[Grid]:
        levels = []
        for part, head in zip(self.stages, self.heads, strict=True):
            features = part(features)
            levels.append(head(features))
        return levels[::-1]
