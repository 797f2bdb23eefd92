"""SimSiam (Chen and He, CVPR 2021) with SPD's term (Zou et al., ECCV 2022), by which a backbone is taught."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.models.networks import draw


class Heads(nn.Module):
    """A projector of three layers and a predictor of two, a quarter as wide inside."""

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

    def forward(
        self, one: Float[Tensor, "b c"], other: Float[Tensor, "b c"], spoilt: Float[Tensor, "b c"], weight: float
    ) -> dict[str, Tensor]:
        """`views`: 1 minus the likeness of what is predicted from one view to the other, which has no gradient, either
        way. `spot`: `weight` times 1 plus the likeness of one view to itself with a small change."""
        first, second, changed = (self.projector(part) for part in (one, other, spoilt))
        pairs = ((first, second), (second, first))
        views = torch.stack([_likeness(self.predictor(source), aim.detach()) for source, aim in pairs])
        return {"views": 1 - views.mean(), "spot": weight * (1 + _likeness(first, changed))}


def _likeness(some: Float[Tensor, "b d"], others: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    return F.cosine_similarity(some, others).mean()
