"""The parts that DRAEM, JNLD and OmniAL are built of: units, blocks, attention, and the two encoder-decoders.

`b c h w` are batch, channels, height and width. A unit is conv - norm - ReLU, a block two units, a stage a block and
the attention that may follow it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from omnial_bench.models.instance_norm import InstanceNorm
from omnial_bench.models.options.reconstruction import Norm

FAR = 0.1
"""Weight of the dilated path of DCSA and of the separate paths of DiffNeck (OmniAL, sections 3.2 and 3.3)."""

QUIET = 0.1
"""Scale that the norms of the spatial attention start at. At 1 a map added to every channel drowns the features, and
reconstructions of textures stay grey; at 0 it could not grow, for the slope of a ReLU at 0 is 0."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a network's scales are built; the defaults are DRAEM's.

    Scale i has stride min(2^i, output_stride) and, where `dilated`, dilation 1, 1, 2, 4, 8, 16. Dilation is of the
    encoder alone; a decoder level upsamples only where the stride changes.
    """

    norm: Norm = "batch"
    output_stride: int = 32
    dilated: bool = False
    channel_attention: bool = False
    spatial_attention: bool = False

    def strides(self, scales: int) -> list[int]:
        return [min(2**scale, self.output_stride) for scale in range(scales)]

    def dilations(self, scales: int) -> list[int]:
        return [max(1, 2 ** (scale - 1)) if self.dilated else 1 for scale in range(scales)]


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """A norm with a learned scale and shift; instance norm keeps no running statistics."""
    return nn.BatchNorm2d(channels) if norm == "batch" else InstanceNorm(channels)


class Dilated(nn.Conv2d):
    """A dilated convolution whose gradient is right in bfloat16 on the CPU, too.

    There, in channels-last order, oneDNN leaves part of the weights' gradient unwritten where more than 16 input
    channels do not fill sixteens (torch 2.13): such a convolution is taken in float32.
    """

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if features.device.type != "cpu" or self.in_channels <= 16 or self.in_channels % 16 == 0:
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features.to(self.weight.dtype))


def unit(inputs: int, outputs: int, *, norm: Norm = "batch", dilation: int = 1) -> nn.Sequential:
    """3x3 convolution with bias, norm, ReLU; keeps the size."""
    kind = nn.Conv2d if dilation == 1 else Dilated
    convolution = kind(inputs, outputs, 3, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, normalisation(norm, outputs), nn.ReLU(inplace=True))


def block(inputs: int, middle: int, outputs: int, *, norm: Norm = "batch", dilation: int = 1) -> nn.Sequential:
    """The basic block: two units in one flat sequence."""
    first = unit(inputs, middle, norm=norm, dilation=dilation)
    return first.extend(unit(middle, outputs, norm=norm, dilation=dilation))


def stage(inputs: int, middle: int, outputs: int, style: Style, *, dilation: int = 1) -> nn.Sequential:
    """A block, and DCSA after it where the style has any attention."""
    parts: list[nn.Module] = [block(inputs, middle, outputs, norm=style.norm, dilation=dilation)]
    if style.channel_attention or style.spatial_attention:
        parts.append(DCSA(outputs, style, dilation=dilation))
    return nn.Sequential(*parts)


class DCSA(nn.Module):
    """Dilated channel and spatial attention, both added to the features (OmniAL, section 3.2 and Fig. 3).

    Channel: global mean, two 1x1 convolutions with a ReLU between, reduced 16 times (to 4 channels at least). Spatial:
    channel mean and maximum through a unit and, weighted 0.1, a dilated unit, into one map. Neither ends in a sigmoid.
    The spatial norms start at a scale of 0.1 (`initialise`).
    """

    def __init__(self, channels: int, style: Style, *, dilation: int = 1) -> None:
        super().__init__()
        hidden = max(4, channels // 16)
        self.channel: nn.Module | None = None
        self.near: nn.Module | None = None
        self.far: nn.Module | None = None
        if style.channel_attention:
            squeeze, excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
            self.channel = nn.Sequential(squeeze, nn.ReLU(inplace=True), excite)
        if style.spatial_attention:
            self.near = unit(2, 1, norm=style.norm)
            self.far = unit(2, 1, norm=style.norm, dilation=dilation)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.channel is not None:
            features = features + self.channel(features.mean((2, 3), keepdim=True))
        if self.near is not None and self.far is not None:
            maps = torch.cat((features.mean(1, keepdim=True), features.amax(1, keepdim=True)), 1)
            features = features + (self.near(maps) + FAR * self.far(maps))
        return features


class Part(nn.Module):
    """One scale of a network, whose inner features are kept for the backward pass or, with `recompute`, made again."""

    recompute = False

    def run(self, part: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """What `part`, made of this module's own parts, makes of the inputs."""
        if not (self.recompute and torch.is_grad_enabled()):
            return part(*inputs)
        outputs = checkpoint(
            part,
            *inputs,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), _statistics_kept(self)),
        )
        assert isinstance(outputs, Tensor)
        return outputs


def recompute_features(network: nn.Module, on: bool = True) -> None:
    """Have the scales of a network keep only their ends for the backward pass and make the rest again (or not).

    Much less memory for a third more work; gradients, weights and statistics are the same to the bit. Chen et al.,
    "Training deep nets with sublinear memory cost", 2016.
    """
    for part in network.modules():
        if isinstance(part, Part):
            part.recompute = on


@contextmanager
def _statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch norms of the network keep their running statistics: a batch counts once, however often it is run."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.get_buffer("num_batches_tracked").clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count


class Encoder(Part):
    """Stages with 2x2 max pooling wherever the stride grows; gives the features of every scale."""

    def __init__(self, inputs: int, widths: Sequence[int], style: Style) -> None:
        super().__init__()
        strides, dilations = style.strides(len(widths)), style.dilations(len(widths))
        sides = zip(pairwise([inputs, *widths]), dilations, strict=True)
        self.stages = nn.ModuleList(stage(m, n, n, style, dilation=dilation) for (m, n), dilation in sides)
        self.pools = [fine != coarse for fine, coarse in pairwise([1, *strides])]

    def forward(self, features: Float[Tensor, "b c h w"]) -> list[Tensor]:
        scales = []
        for pooled, part in zip(self.pools, self.stages, strict=True):
            features = self.run(part, F.max_pool2d(features, 2) if pooled else features)
            scales.append(features)
        return scales


class Level(Part):
    """One decoder level: bilinear doubling where the stride changes, a unit, the skip behind it, a stage."""

    def __init__(self, inputs: int, inner: int, outputs: int, style: Style, *, skip: int = 0, upsample: bool) -> None:
        super().__init__()
        self.upsample = upsample
        self.unit = unit(inputs, inner, norm=style.norm)
        # DRAEM narrows at once behind a skip, and in the block's second unit without one.
        self.stage = stage(inner + skip, outputs if skip else inner, outputs, style)

    def forward(self, features: Float[Tensor, "b c h w"], skip: Tensor | None = None) -> Tensor:
        return self.run(self._decoded, features, skip)

    def _decoded(self, features: Float[Tensor, "b c h w"], skip: Tensor | None) -> Tensor:
        if self.upsample:
            features = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=True)
        features = self.unit(features)
        return self.stage(features if skip is None else torch.cat((features, skip), 1))  # type: ignore[no-any-return]


class Mirrored(nn.Module):
    """An encoder, its decoder and a 3x3 head; `encoded` and `decoded` are channels of their scales over `width`."""

    skips: ClassVar[bool] = False

    def __init__(
        self, inputs: int, outputs: int, width: int, encoded: Sequence[int], decoded: Sequence[int], style: Style
    ) -> None:
        super().__init__()
        self.encoder = Encoder(inputs, [width * factor for factor in encoded], style)
        self.levels = nn.ModuleList()
        doubled = [coarse != fine for coarse, fine in pairwise(reversed(style.strides(len(encoded))))]
        for (coarse, fine), skip, upsample in zip(pairwise(decoded), reversed(encoded[:-1]), doubled, strict=True):
            m, n, k = width * coarse, width * fine, width * skip * self.skips
            self.levels.append(Level(m, n if self.skips else m, n, style, skip=k, upsample=upsample))
        self.out = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        *skips, features = self.encoder(images)
        if not self.skips:
            skips = [None] * len(skips)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            features = level(features, skip)
        return self.out(features)  # type: ignore[no-any-return]


class Reconstructor(Mirrored):
    """DRAEM's reconstruction network: five scales, no skips, a linear head. `b 3 h w` to `b outputs h w`."""

    def __init__(self, *, outputs: int, width: int, style: Style) -> None:
        super().__init__(3, outputs, width, (1, 2, 4, 8, 8), (8, 4, 2, 1, 1), style)


class Localiser(Mirrored):
    """DRAEM's discriminative network: six scales with skips. `b inputs h w` to logits `b classes h w`."""

    skips = True

    def __init__(self, *, inputs: int, classes: int, width: int, style: Style) -> None:
        super().__init__(inputs, classes, width, (1, 2, 4, 8, 8, 8), (8, 8, 4, 2, 1, 1), style)


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the weights as DRAEM does: convolutions N(0, 0.02), norm scales N(1, 0.02), norm shifts 0;
    the norms of spatial attention start at QUIET, for the paper names no initialisation.

    Convolution biases, which DRAEM leaves to torch, are U(-1/sqrt(fan in), 1/sqrt(fan in)) as there. All are
    drawn from `generator` (None: torch's global one) in float64: float32 drawn by kernels of different processors
    differs in its last digit. A network without storage has nothing to draw, which would take most of its making.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.weight = _drawn(part.weight, Tensor.normal_, 0.0, 0.02, generator)
            if part.bias is not None:
                bound = 1 / sqrt(part.weight[0].numel())
                part.bias = _drawn(part.bias, Tensor.uniform_, -bound, bound, generator)
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            part.weight = _drawn(part.weight, Tensor.normal_, 1.0, 0.02, generator)
            nn.init.zeros_(part.bias)
    for part in network.modules():
        if isinstance(part, DCSA) and part.near is not None and part.far is not None:
            for norm in (part.near[1], part.far[1]):  # type: ignore[index]
                nn.init.constant_(norm.weight, QUIET)


def _drawn(
    like: Tensor, law: Callable[..., Tensor], low: float, high: float, generator: torch.Generator | None
) -> nn.Parameter:
    values = law(torch.empty_like(like, dtype=torch.float64, requires_grad=False), low, high, generator=generator)
    return nn.Parameter(values.to(torch.get_default_dtype()))
