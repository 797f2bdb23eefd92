"""PaDiM+SPD (Zou et al., ECCV 2022): PaDiM on features that were first taught, without labels, to tell a small
change of an image from weak changes of the whole."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.models.initial import draw
from omnial_bench.models.learned import Features, Learned
from omnial_bench.models.learned_options import PaDiMSPDOptions as Options
from omnial_bench.models.padim import PaDiM
from omnial_bench.synthesis.smoothblend import smooth_blend
from omnial_bench.synthesis.transform import jittered_crop
from omnial_bench.trust import drawing_from
from omnial_bench.types import Prediction

DECAY = 1e-4
HEADS_RATE = 10.0
"""Of the backbone's rate."""
LARGER, JITTER = (1.0, 1.05), (0.05, 0.05, 0.05, 0.05)
"""Of a weak view: by which factors it is resized before it is cropped, and how its colours change."""


class Heads(nn.Module):
    """SimSiam's projector and predictor (Chen and He, CVPR 2021), which the fit alone needs."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width, affine=False),
        )  # fmt: skip
        narrow = max(1, width // 4)
        self.predictor = nn.Sequential(
            nn.Linear(width, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU(), nn.Linear(narrow, width)
        )
        draw(self, "plain")


class PaDiMSPD(Learned):
    """What is taught is the backbone behind its last stride but one, from the weights that it has."""

    heads: Heads | None

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.padim = PaDiM(options)
        self.padim.backbone.loosen()
        self.heads = None

    def fit(self, normals: Iterable[Float[Tensor, "b 3 h w"]], generator: torch.Generator) -> None:
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

    def frozen(self, images: Float[Tensor, "b 3 h w"]) -> Features:  # noqa: ARG002
        """Nothing: each step looks at other views."""
        return ()

    def loss(
        self,
        images: Float[Tensor, "b 3 h w"],
        frozen: Features,  # noqa: ARG002
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """SimSiam on two weak views, and the likeness of a view to itself with a small change."""
        assert self.heads is not None
        one, other = (jittered_crop(images, generator, resize=LARGER, flip=0, jitter=JITTER) for _ in range(2))
        means = self.padim.backbone(torch.cat((one, other, smooth_blend(one, generator))))[-1].mean((2, 3))
        first, second, spoilt = (self.heads.projector(part) for part in means.chunk(3))
        views = _likeness(self.heads.predictor(first), second.detach())
        views = (views + _likeness(self.heads.predictor(second), first.detach())) / 2
        return {"views": 1 - views, "spot": self.options.weight * (1 + _likeness(first, spoilt))}

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        return self.prediction(images, self.padim(images).log_odds)


def _likeness(some: Float[Tensor, "b c"], others: Float[Tensor, "b c"]) -> Float[Tensor, ""]:
    return F.cosine_similarity(some, others).mean()
