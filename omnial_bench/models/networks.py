"""The two families of networks whose trained weights are read here: EfficientNet-Lite and ResNet, without their heads.

Each is a Sequential of named stages. Weights and statistics come from files; untrained they are what torch draws.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    """A convolution of an odd side without bias, batch norm, and perhaps an activation: `b c h w` to `b d h/s w/s`.

    `same`: zeros around the image as TensorFlow adds them, the odd one behind, so that any size works at any stride.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, stride: int = 1, *, groups: int = 1, eps: float = 1e-5,
        activation: nn.Module | None = None, same: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pads = same and stride > 1
        padding = 0 if self.pads else side // 2
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=eps)
        self.activation = activation if activation is not None else nn.Identity()

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        if self.pads:
            side, stride = self.conv.kernel_size[0], self.conv.stride[0]
            lacking = [max((-(-size // stride) - 1) * stride + side - size, 0) for size in features.shape[:1:-1]]
            features = F.pad(features, [part for total in lacking for part in (total // 2, total - total // 2)])
        return self.activation(self.norm(self.conv(features)))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """A mobile inverted bottleneck: wider, depthwise, narrow again, and around it a skip where the shape is kept
    (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int, factor: int) -> None:
        super().__init__()
        wide = inputs * factor
        layer = partial(ConvNorm, eps=1e-3, same=True)
        self.expand = layer(inputs, wide, 1, activation=nn.ReLU6()) if factor > 1 else nn.Identity()
        self.depthwise = layer(wide, wide, side, stride, groups=wide, activation=nn.ReLU6())
        self.project = layer(wide, outputs, 1)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        narrow: Tensor = self.project(self.depthwise(self.expand(features)))
        return narrow + features if self.skips else narrow


STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Of EfficientNet-Lite0: blocks, side, stride, expansion, channels (Tan and Le 2019, Table 1, without excitation)."""


def lite(width: float = 1.0, depth: float = 1.0) -> nn.Sequential:
    """EfficientNet-Lite: `stem`, `block0`, `block1` and so on, of any size. The stem, and the number of blocks of the
    first and the last stage, are not scaled."""
    stages: dict[str, nn.Module] = {"stem": ConvNorm(3, 32, 3, 2, eps=1e-3, activation=nn.ReLU6(), same=True)}
    inputs = 32
    for place, (count, side, stride, factor, channels) in enumerate(STAGES):
        outputs = max(8, int(width * channels + 4) // 8 * 8)
        outputs += 8 if outputs < 0.9 * width * channels else 0
        inner = 0 < place < len(STAGES) - 1
        for index in range(ceil(depth * count) if inner else count):
            stages[f"block{len(stages) - 1}"] = Inverted(inputs, outputs, side, 1 if index else stride, factor)
            inputs = outputs
    return nn.Sequential(OrderedDict(stages))


class Residual(nn.Module):
    """A block of ResNet (He et al. 2016): convolutions 3x3 and 3x3, or 1x1, 3x3 and 1x1 with an inner width,
    `bottleneck`."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: int | None) -> None:
        super().__init__()
        self.activation = nn.ReLU()
        self.conv3: nn.Module = nn.Identity()
        if bottleneck is None:
            self.conv1 = ConvNorm(inputs, outputs, 3, stride, activation=self.activation)
            self.conv2 = ConvNorm(outputs, outputs, 3)
        else:
            self.conv1 = ConvNorm(inputs, bottleneck, 1, activation=self.activation)
            self.conv2 = ConvNorm(bottleneck, bottleneck, 3, stride, activation=self.activation)
            self.conv3 = ConvNorm(bottleneck, outputs, 1)
        changes = stride > 1 or inputs != outputs
        self.downsample = ConvNorm(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        changed: Tensor = self.conv3(self.conv2(self.conv1(features)))
        return self.activation(changed + self.downsample(features))  # type: ignore[no-any-return]


def resnet(blocks: Sequence[int], bottleneck: int | None = None) -> nn.Sequential:
    """ResNet: `stem`, `layer1` to `layer4`. `bottleneck` is the inner width of the first layer's bottlenecks, None has
    blocks of two convolutions: 64 is ResNet-50's, 128 that of its wide form (Zagoruyko and Komodakis 2016)."""
    stem = ConvNorm(3, 64, 7, 2, activation=nn.ReLU())
    stages: dict[str, nn.Module] = {"stem": stem, "pool": nn.MaxPool2d(3, 2, padding=1)}
    inputs = 64
    for place, count in enumerate(blocks):
        outputs = (64 if bottleneck is None else 256) << place
        inner = None if bottleneck is None else bottleneck << place
        strides = [2 if place else 1] + [1] * (count - 1)
        layer = [
            Residual(inputs if not index else outputs, outputs, stride, inner) for index, stride in enumerate(strides)
        ]
        stages[f"layer{place + 1}"], inputs = nn.Sequential(*layer), outputs
    return nn.Sequential(OrderedDict(stages))


def rename(name: str) -> str | None:
    """The name of a weight here for what public files call it, None for one that has no place here: a head, or a count
    of batches. Known are those of EfficientNet in PyTorch (`_blocks.3._bn1.bias`) and of ResNets in torchvision and
    timm (`layer1.0.bn1.bias`)."""
    *path, norm_or_conv, leaf = name.split(".")
    if (
        leaf == "num_batches_tracked"
        or norm_or_conv in ("fc", "_fc", "_conv_head")
        or (not path and norm_or_conv == "_bn1")
    ):
        return None
    kind = "norm" if "bn" in norm_or_conv or [*path[-1:], norm_or_conv] == ["downsample", "1"] else "conv"
    if norm_or_conv in ("0", "1"):
        return ".".join((*path, kind, leaf))
    if not path:
        return f"stem.{kind}.{leaf}"
    if path[0] == "_blocks":
        part = {"_bn0": "expand", "_bn1": "depthwise", "_bn2": "project"}.get(
            norm_or_conv, norm_or_conv[1:].split("_")[0]
        )
        return f"block{path[1]}.{part}.{kind}.{leaf}"
    return ".".join((*path, norm_or_conv.replace("bn", "conv"), kind, leaf))


def freeze(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network weights that nothing changes: buffers that no state_dict holds, each batch norm by its statistics
    folded into the convolution before it. `tensors` are named as the network's own state_dict."""
    for path, part in network.named_modules():
        if not isinstance(part, ConvNorm):
            continue
        weight, scale, shift, mean, variance = (
            tensors[f"{path}.{name}"].double()
            for name in ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
        )
        gain = scale / torch.sqrt(variance + part.norm.eps)  # type: ignore[operator]
        folded = {"weight": weight * gain[:, None, None, None], "bias": shift - mean * gain}
        part.norm = nn.Identity()
        for name, values in folded.items():
            delattr(part.conv, name)
            part.conv.register_buffer(name, values.float(), persistent=False)


NETWORKS: dict[str, Any] = {"lite": lite, "resnet": resnet}
