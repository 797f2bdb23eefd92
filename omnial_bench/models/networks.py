"""The families of networks whose trained weights are read here, without their heads: EfficientNet, EfficientNet-Lite,
ResNet and VGG.

Each is a Sequential of named stages. Weights and statistics come from files; untrained they are what torch draws.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil, sqrt
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Rule = Literal["kaiming", "xavier", "xavier-normal", "plain"]


class ConvNorm(nn.Module):
    """A convolution of an odd side without bias, batch norm, and perhaps an activation: `b c h w` to `b d h/s w/s`.

    `same`: zeros around the image as TensorFlow adds them, the odd one behind, so that any size works at any stride;
    those that a side of `padded` wants, whatever the image's, where it is given.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, stride: int = 1, *, groups: int = 1, eps: float = 1e-5,
        activation: nn.Module | None = None, same: bool = False, padded: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pads, self.padded = same and stride > 1, padded
        padding = 0 if self.pads else side // 2
        self.conv = nn.Conv2d(inputs, outputs, side, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=eps)
        self.activation = activation if activation is not None else nn.Identity()

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        if self.pads:
            side, stride = self.conv.kernel_size[0], self.conv.stride[0]
            sizes = features.shape[:1:-1] if self.padded is None else (self.padded, self.padded)
            lacking = [max((-(-size // stride) - 1) * stride + side - size, 0) for size in sizes]
            features = F.pad(features, [part for total in lacking for part in (total // 2, total - total // 2)])
        return self.activation(self.norm(self.conv(features)))  # type: ignore[no-any-return]


class Excitation(nn.Module):
    """Channels weighed by what their means over the image say (Hu et al. 2018)."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        means = features.mean((2, 3), keepdim=True)
        return features * torch.sigmoid(self.expand(F.silu(self.reduce(means))))


class Inverted(nn.Module):
    """A mobile inverted bottleneck: wider, depthwise, narrow again, and around it a skip where the shape is kept
    (Sandler et al. 2018). `lite` has no excitation, and cuts activations at 6."""

    def __init__(
        self, inputs: int, outputs: int, side: int, stride: int, factor: int, *, lite: bool, padded: int | None = None
    ) -> None:
        super().__init__()
        wide, activation = inputs * factor, nn.ReLU6 if lite else nn.SiLU
        layer = partial(ConvNorm, eps=1e-3, same=True, padded=padded)
        self.expand = layer(inputs, wide, 1, activation=activation()) if factor > 1 else nn.Identity()
        self.depthwise = layer(wide, wide, side, stride, groups=wide, activation=activation())
        self.excite = nn.Identity() if lite else Excitation(wide, inputs // 4)
        self.project = layer(wide, outputs, 1)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        narrow: Tensor = self.project(self.excite(self.depthwise(self.expand(features))))
        return narrow + features if self.skips else narrow


STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Of EfficientNet-B0: blocks, side, stride, expansion, channels (Tan and Le 2019, Table 1)."""


def efficientnet(
    width: float = 1.0, depth: float = 1.0, *, lite: bool = False, padded: int | None = None
) -> nn.Sequential:
    """EfficientNet: `stem`, `block0`, `block1` and so on, of any size. Of a `lite` one the stem, and the number of
    blocks of the first and the last stage, are not scaled. `padded` is the side in pixels of the images that the zeros
    around every layer are counted for; None counts them for the images that come."""
    inputs, activation = (32, nn.ReLU6()) if lite else (_scaled(32, width), nn.SiLU())
    stem = ConvNorm(3, inputs, 3, 2, eps=1e-3, activation=activation, same=True, padded=padded)
    stages: dict[str, nn.Module] = {"stem": stem}
    padded = padded and ceil(padded / 2)
    for place, (count, side, stride, factor, channels) in enumerate(STAGES):
        outputs, inner = _scaled(channels, width), 0 < place < len(STAGES) - 1
        for index in range(ceil(depth * count) if inner or not lite else count):
            first = 1 if index else stride
            block = Inverted(inputs, outputs, side, first, factor, lite=lite, padded=padded)
            stages[f"block{len(stages) - 1}"] = block
            inputs, padded = outputs, padded and ceil(padded / first)
    return nn.Sequential(OrderedDict(stages))


def _scaled(channels: int, width: float) -> int:
    """To a multiple of 8 that is not a tenth less."""
    nearest = max(8, int(width * channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width * channels else nearest


def vgg(blocks: Sequence[int]) -> nn.Sequential:
    """VGG without batch norm (Simonyan and Zisserman 2015): layers by their numbers, `blocks` convolutions of 3x3
    before each pooling, which halves a size and rounds up."""
    layers: list[nn.Module] = []
    inputs = 3
    for place, count in enumerate(blocks):
        for _ in range(count):
            outputs = min(64 << place, 512)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers)


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
        first = Residual(inputs, outputs, 2 if place else 1, inner)
        layer = nn.Sequential(first, *(Residual(outputs, outputs, 1, inner) for _ in range(count - 1)))
        stages[f"layer{place + 1}"], inputs = layer, outputs
    return nn.Sequential(OrderedDict(stages))


def freeze(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network weights that nothing changes: buffers that no state_dict holds, each batch norm by its statistics
    folded into the convolution before it. `tensors` are named as the network's own state_dict."""
    normed = {}
    for path, part in network.named_modules():
        if isinstance(part, ConvNorm):
            normed[f"{path}.conv"] = path, part
        elif isinstance(part, nn.Conv2d):
            values = {leaf: tensors[f"{path}.{leaf}"] for leaf in ("weight", "bias") if path not in normed}
            for leaf, value in (values or _folded(tensors, *normed[path])).items():
                delattr(part, leaf)
                part.register_buffer(leaf, value.float(), persistent=False)


def _folded(tensors: Mapping[str, Tensor], path: str, part: ConvNorm) -> dict[str, Tensor]:
    weight, scale, shift, mean, variance = (
        tensors[f"{path}.{name}"].double()
        for name in ("conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
    )
    gain = scale / torch.sqrt(variance + part.norm.eps)  # type: ignore[operator]
    part.norm = nn.Identity()
    return {"weight": weight * gain[:, None, None, None], "bias": shift - mean * gain}


NETWORKS: dict[str, Any] = {
    "efficientnet": efficientnet, "lite": partial(efficientnet, lite=True), "resnet": resnet, "vgg": vgg,
}  # fmt: skip


def draw(network: nn.Module, rule: Rule) -> None:
    """Draw the weights of convolutions and linear layers from torch's global generator; their biases become 0.

    `kaiming` is He's normal by the outputs, as in torchvision's residual networks, `xavier` Glorot's uniform and
    `xavier-normal` his normal, `plain` torch's own, uniform by the inputs. Norms keep their scales of 1, and a
    backbone, whose weights are no parameters, its own. A network without storage has nothing to draw. In double
    precision, so that every processor draws the same.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and "weight" in part._parameters:
            if part.weight.is_meta:
                continue
            part.weight = nn.Parameter(_drawn(part.weight, rule))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _drawn(weight: Tensor, rule: Rule) -> Tensor:
    area = weight[0, 0].numel()
    ins, outs = weight.shape[1] * area, weight.shape[0] * area
    drawn = torch.empty(weight.shape, dtype=torch.float64)
    if rule in ("xavier", "plain"):
        bound = sqrt(6 / (ins + outs) if rule == "xavier" else 1 / ins)
        drawn.uniform_(-bound, bound)
    else:
        drawn.normal_(0.0, sqrt(2 / (outs if rule == "kaiming" else ins + outs)))
    return drawn.to(weight.dtype)
