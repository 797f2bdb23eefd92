"""Reverse distillation (Deng and Li, CVPR 2022): a decoder learns to give back the features of a frozen encoder from
one narrow embedding, which has room for normals alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.models.backbone import Backbone
from omnial_bench.models.initial import draw
from omnial_bench.models.learned import Features, Learned
from omnial_bench.models.levels import cosine_gap, flat_cosine_gap, resized, smoothed
from omnial_bench.models.options import RD4ADOptions as Options
from omnial_bench.models.residual import Bottleneck, Decoder
from omnial_bench.types import Prediction

BETAS = (0.5, 0.999)


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

    def frozen(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        return tuple(level.to(images.dtype) for level in self.backbone(images))

    def loss(
        self,
        images: Float[Tensor, "b 3 h w"],  # noqa: ARG002
        frozen: Features,
        generator: torch.Generator,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        pairs = zip(frozen, self.decoder(self.bottleneck(frozen)), strict=True)
        return {f"level_{place}": flat_cosine_gap(*pair) for place, pair in enumerate(pairs, start=1)}

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        levels = self.frozen(images)
        pairs = zip(levels, self.decoder(self.bottleneck(levels)), strict=True)
        gaps = [resized(cosine_gap(*pair), images.shape[2:], corners=True) for pair in pairs]
        return self.prediction(images, smoothed(torch.stack(gaps).sum(0), self.sigma))
