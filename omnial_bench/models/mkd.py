"""Multiresolution knowledge distillation (Salehi et al., CVPR 2021): a narrow cloner learns the features of a frozen
network on normals."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from omnial_bench.models.backbone import Backbone
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import cosine_gap, resized, smoothed
from omnial_bench.models.networks import draw
from omnial_bench.models.options.features import MKDOptions as Options
from omnial_bench.types import RGB, Prediction


class Cloner(nn.Module):
    """Plain 3x3 convolutions of `width` channels, two or three between one pooling and the next, of which the last
    has the channels of the level that ends there. No biases; no batch norm before a pooling."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], *, width: int, linear: bool) -> None:
        super().__init__()
        levels = dict(zip(strides, channels, strict=True))
        self.stages, inputs, stride = nn.ModuleDict(), 3, 2
        while stride <= strides[-1]:
            outputs = levels.get(stride, width)
            parts: list[nn.Module] = []
            for _ in range(1 if stride <= 4 else 2):
                parts += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            parts.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
            parts += [] if linear and stride in levels else [nn.ReLU()]
            self.stages[str(stride)] = nn.Sequential(*parts, nn.MaxPool2d(2))
            inputs, stride = outputs, 2 * stride
        self.strides = [str(stride) for stride in strides]

    def forward(self, images: RGB) -> list[Float[Tensor, "b _c _h _w"]]:
        features, levels = images, []
        for stride, part in self.stages.items():
            features = part(features)
            levels += [features] if stride in self.strides else []
        return levels


class MKD(Learned):
    """The map is the gap between the two networks at each place, not its gradient to the image as in the paper, whose
    own gradient would be no attack on the map; the image score is the paper's, the loss of the image.

    Both leave the finest level out, as the published test does.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.weight, self.sigma = options.euclidean, options.sigma
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        if not options.normalised:
            self.backbone.mean.zero_()
            self.backbone.std.fill_(1)
        self.cloner = Cloner(
            self.backbone.channels, self.backbone.strides, width=options.width, linear=options.linear
        )  # fmt: skip
        draw(self.cloner, "xavier")

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.cloner.parameters(), lr)]

    def frozen(self, images: RGB) -> Features:
        return tuple(level.to(images.dtype) for level in self.backbone(images))

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        pairs = zip(frozen, self.cloner(images), strict=True)
        return {f"level_{place}": self._apart(*pair).mean() for place, pair in enumerate(pairs, start=1)}

    def forward(self, images: RGB) -> Prediction:
        pairs = list(zip(self.frozen(images), self.cloner(images), strict=True))[1:]
        gaps = [
            cosine_gap(theirs, own) + self.weight * (theirs - own).square().mean(1, keepdim=True)
            for theirs, own in pairs
        ]
        maps = torch.stack([resized(gap, images.shape[2:]) for gap in gaps]).sum(0)
        score = torch.stack([self._apart(*pair) for pair in pairs]).sum(0)
        return self.prediction(images, smoothed(maps, self.sigma), score)

    def _apart(self, theirs: Float[Tensor, "b c h w"], own: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """1 minus the cosine of whole levels, and their mean squared difference, for each image."""
        theirs, own = theirs.flatten(1), own.flatten(1)
        return 1 - torch.cosine_similarity(theirs, own) + self.weight * (theirs - own).square().mean(1)
