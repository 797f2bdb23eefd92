"""Reverse distillation (Deng and Li, CVPR 2022): a decoder learns to give back the features of a frozen encoder from
one narrow embedding, which has room for normals alone."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omnial_bench.models.backbone import Backbone
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import cosine_gap, flat_cosine_gap, resized, smoothed
from omnial_bench.models.networks import ConvNorm, draw
from omnial_bench.models.options.features import RD4ADOptions as Options
from omnial_bench.types import RGB, Prediction

Grid = Float[Tensor, "b c h w"]
BETAS = (0.5, 0.999)


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


def stage(inputs: int, outputs: int, blocks: int, *, inner: int, stride: int = 1, up: bool = False) -> nn.Sequential:
    """Residual blocks of which the first changes channels and size."""
    first = Block(inputs, outputs, inner=inner, stride=stride, up=up)
    return nn.Sequential(first, *(Block(outputs, outputs, inner=inner) for _ in range(blocks - 1)))


class Bottleneck(nn.Module):
    """Levels, the finest first and each of twice the stride of the one before, to one embedding of twice the stride of
    the last: finer ones are halved by 3x3 convolutions, all meet at the coarsest, and a residual stage narrows them.
    """

    def __init__(self, channels: Sequence[int], outputs: int, *, inner: int) -> None:
        super().__init__()
        paths = (
            [ConvNorm(m, n, 3, 2, activation=nn.ReLU()) for m, n in pairwise(channels[at:])]
            for at in range(len(channels))
        )
        self.halvings = nn.ModuleList(nn.Sequential(*path) for path in paths)
        self.stage = stage(len(channels) * channels[-1], outputs, 3, inner=inner, stride=2)

    def forward(self, levels: Sequence[Grid]) -> Grid:
        met = [halve(level) for halve, level in zip(self.halvings, levels, strict=True)]
        return self.stage(torch.cat(met, 1))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The mirrored pyramid: from the embedding of a Bottleneck back to the levels, the finest first."""

    def __init__(
        self, inputs: int, channels: Sequence[int], *, blocks: Sequence[int], inners: Sequence[int], linear: bool
    ) -> None:
        super().__init__()
        sides = zip(pairwise([inputs, *reversed(channels)]), blocks, inners, strict=True)
        self.stages = nn.ModuleList(stage(m, n, count, inner=inner, up=True) for (m, n), count, inner in sides)
        # For features that may be negative a 1x1 convolution ends each level.
        ends = (nn.Conv2d(width, width, 1) if linear else nn.Identity() for width in reversed(channels))
        self.heads = nn.ModuleList(ends)

    def forward(self, features: Grid) -> list[Grid]:
        levels = []
        for part, head in zip(self.stages, self.heads, strict=True):
            features = part(features)
            levels.append(head(features))
        return levels[::-1]


class RD4AD(Learned):
    """The map is the sum over levels of 1 minus the cosine, smoothed; sizes are multiples of twice the last stride."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.sigma = options.sigma
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        channels, wide = self.backbone.channels, options.wide
        embedding = 2 * channels[-1]
        inners = [width // 2 if wide else 0 for width in reversed(channels)]
        self.bottleneck = Bottleneck(channels, embedding, inner=embedding // 2 if wide else 0)
        self.decoder = Decoder(embedding, channels, blocks=options.blocks, inners=inners, linear=options.linear)
        draw(self.bottleneck, "kaiming")
        draw(self.decoder, "kaiming")

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        weights = [*self.bottleneck.parameters(), *self.decoder.parameters()]
        return [torch.optim.Adam(weights, lr, betas=BETAS)]

    def frozen(self, images: RGB) -> Features:
        return tuple(level.to(images.dtype) for level in self.backbone(images))

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        pairs = zip(frozen, self.decoder(self.bottleneck(frozen)), strict=True)
        return {f"level_{place}": flat_cosine_gap(*pair) for place, pair in enumerate(pairs, start=1)}

    def forward(self, images: RGB) -> Prediction:
        levels = self.frozen(images)
        pairs = zip(levels, self.decoder(self.bottleneck(levels)), strict=True)
        gaps = [resized(cosine_gap(*pair), images.shape[2:], corners=True) for pair in pairs]
        return self.prediction(images, smoothed(torch.stack(gaps).sum(0), self.sigma))
