"""PaDiM+SPD (Zou et al., ECCV 2022): PaDiM on features that were first taught, without labels, to tell a small
change of an image from weak changes of the whole."""

from collections.abc import Iterable, Sequence

import torch

from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.options.features import PaDiMSPDOptions as Options
from omnial_bench.models.padim import PaDiM
from omnial_bench.models.siamese import Heads
from omnial_bench.synthesis.cutpaste import smooth_blend
from omnial_bench.synthesis.transform import jittered_crop
from omnial_bench.trust import drawing_from
from omnial_bench.types import RGB, Prediction

DECAY = 1e-4
HEADS_RATE = 10.0
"""Of the backbone's rate."""
LARGER, JITTER = (1.0, 1.05), (0.05, 0.05, 0.05, 0.05)
"""Of a weak view: by which factors it is resized before it is cropped, and how its colours change."""


class PaDiMSPD(Learned):
    """What is taught is the backbone behind its last stride but one, from the weights that it has."""

    heads: Heads | None

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.padim = PaDiM(options)
        self.padim.backbone.loosen()
        self.heads = None

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """SPD first, then PaDiM; errors as of both."""
        with drawing_from(generator):
            heads = Heads(self.padim.backbone.channels[-1], self.options.width)
        self.heads = heads.to(self.odds_threshold.device)
        super().fit(normals, generator)
        self.heads = None
        self.padim.fit(normals, generator)

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        """The heads, which start from nothing, learn faster than the backbone."""
        assert self.heads is not None
        return [
            torch.optim.AdamW(self.padim.backbone.parameters(), lr, weight_decay=DECAY),
            torch.optim.AdamW(self.heads.parameters(), HEADS_RATE * lr, weight_decay=DECAY),
        ]

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        """SimSiam on two weak views, and the likeness of a view to itself with a small change."""
        assert self.heads is not None
        one, other = (jittered_crop(images, generator, resize=LARGER, flip=0, jitter=JITTER) for _ in range(2))
        means = self.padim.backbone(torch.cat((one, other, smooth_blend(one, generator))))[-1].mean((2, 3))
        return self.heads(*means.chunk(3), weight=self.options.weight)  # type: ignore[no-any-return]

    def forward(self, images: RGB) -> Prediction:
        return self.prediction(images, self.padim(images).log_odds)
