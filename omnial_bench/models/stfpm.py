"""Student-teacher feature pyramid matching (Wang et al., BMVC 2021): a student that is shown normals alone agrees with
its frozen teacher on them, and not elsewhere."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.models.backbone import Backbone, untrained
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import directions, resized
from omnial_bench.models.networks import draw
from omnial_bench.models.options.features import STFPMOptions as Options
from omnial_bench.types import RGB, Prediction

MOMENTUM, DECAY = 0.9, 1e-4
LEAST = 1e-32
"""Of a product over levels, to each of which its share is added: neither it nor its reciprocal leaves float32."""
SHARED = 4
"""Levels among which that is shared, at the least: 1e-8 each."""


class STFPM(Learned):
    """The map is the logarithm of the product over levels of the squared differences of unit features.

    A product's slope along one level is multiplied by all others, and vanishes where any of them agrees; that of its
    logarithm does not, and ranks alike.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        self.student = untrained(options.backbone, options.strides)
        draw(self.student, "kaiming")

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.student.parameters(), lr, momentum=MOMENTUM, weight_decay=DECAY)]

    def frozen(self, images: RGB) -> Features:
        return tuple(directions(level.to(images.dtype)) for level in self.backbone(images))

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        gaps = self._gaps(images, frozen)
        return {f"level_{place}": gap.mean() for place, gap in enumerate(gaps, start=1)}

    def forward(self, images: RGB) -> Prediction:
        gaps = self._gaps(images, self.frozen(images))
        finest = gaps[0].shape[2:]
        least = LEAST ** (1 / max(SHARED, len(gaps)))
        product = torch.stack([(resized(gap, finest) + least).log() for gap in gaps]).sum(0).exp()
        return self.prediction(images, resized(product, images.shape[2:]).log())

    def _gaps(self, images: RGB, teacher: Features) -> list[Float[Tensor, "b 1 _h _w"]]:
        """The squared difference of unit features at each place of each level."""
        student = self.student((images - self.backbone.mean) / self.backbone.std)
        pairs = zip(teacher, student, strict=True)
        return [(theirs - directions(own.to(theirs.dtype))).square().sum(1, keepdim=True) for theirs, own in pairs]
