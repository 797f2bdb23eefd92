"""SimpleNet (Liu et al., CVPR 2023): a discriminator of adapted features against the same features with noise."""

from collections.abc import Sequence

import torch
from torch import nn

from omnial_bench.models.backbone import Backbone
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import resized, rows_of, smoothed
from omnial_bench.models.networks import draw
from omnial_bench.models.options.features import SimpleNetOptions as Options
from omnial_bench.models.patches import patches
from omnial_bench.types import RGB, Prediction

MARGIN, SLOPE = 0.5, 0.2
DECAY = 1e-5
DISCRIMINATOR_RATE = 2.0
"""Of the adaptor's rate."""


class SimpleNet(Learned):
    """The map is the discriminator's verdict on each patch of the finest level; the image score is the highest."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.noise, self.sigma, self.pooled = options.noise, options.sigma, options.pooled
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        width = self.pooled or sum(self.backbone.channels)
        self.adaptor = nn.Linear(width, width)
        self.discriminator = nn.Sequential(
            nn.Linear(width, options.hidden), nn.BatchNorm1d(options.hidden), nn.LeakyReLU(SLOPE),
            nn.Linear(options.hidden, 1, bias=False),
        )  # fmt: skip
        draw(self.adaptor, "xavier-normal")
        draw(self.discriminator, "xavier-normal")

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        discriminator = self.discriminator.parameters()
        return [
            torch.optim.AdamW(self.adaptor.parameters(), lr),
            torch.optim.Adam(discriminator, DISCRIMINATOR_RATE * lr, weight_decay=DECAY),
        ]

    def frozen(self, images: RGB) -> Features:
        return (patches(self.backbone(images), self.pooled),)

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        """Both hinges, on one batch of the batch norm."""
        normal = self.adaptor(rows_of(frozen[0]))
        noise = torch.randn(normal.shape, generator=generator).to(normal)
        verdicts = self.discriminator(torch.cat((normal, normal + self.noise * noise)))
        real, fake = verdicts.chunk(2)
        return {"normal": torch.relu(MARGIN - real).mean(), "noisy": torch.relu(MARGIN + fake).mean()}

    def forward(self, images: RGB) -> Prediction:
        (features,) = self.frozen(images)
        verdicts = self.discriminator(self.adaptor(rows_of(features)))
        places = -verdicts.view(len(images), 1, *features.shape[2:])
        maps = smoothed(resized(places, images.shape[2:]), self.sigma)
        return self.prediction(images, maps, places.flatten(1).amax(1))
