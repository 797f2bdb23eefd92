"""A Gaussian a place over fixed local filters: a baseline without a network, and the smallest example of a Fitted.

It is no PaDiM, whose Gaussians are over features of a trained network: here they are over colours and the strength of
edges, which are computed by hand. Its choices are this project's own.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.models.fitted import Fitted
from omnial_bench.models.levels import roots
from omnial_bench.models.options.base import check_sides
from omnial_bench.models.options.features import GaussianOptions as Options
from omnial_bench.types import RGB, Prediction

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps along which edges are looked for, down and to the right, in pixels."""
EDGE = 1e-2
"""Of a grey value's change: below it the strength of an edge is flat, so that it has a slope everywhere."""
RIDGE = 1e-6
"""Added to each variance, which is 0 where every normal image has one colour: a quarter of a grey level, squared."""


class FilterGaussian(Fitted):
    """The Mahalanobis distance of each place's colours and edges to those of the normals there.

    Sizes are multiples of `stride`. The covariance of a place is shrunk towards the mean over all places, as Friedman
    does with classes (Regularized discriminant analysis, 1989).
    """

    mean: Float[Tensor, "d gh gw"]
    factor: Float[Tensor, "gh gw d d"]
    """Lower Cholesky factor of the covariance."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("mean", None)
        self.register_buffer("factor", None)

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:  # noqa: ARG002
        """In one pass: sums around the mean of the first batch, so that no digits cancel."""
        count, centre = 0, None
        for images in normals:
            features = self._features(images)
            if centre is None:
                centre = features.mean(0)
                first, second = torch.zeros_like(centre), centre.new_zeros(*centre.shape[1:], *centre.shape[:1] * 2)
            apart = features - centre
            count += len(images)
            first += apart.sum(0)
            second += torch.einsum("bdhw,behw->hwde", apart, apart)
        assert centre is not None
        shift = first / count
        covariance = second / count - torch.einsum("dhw,ehw->hwde", shift, shift)
        share = self.options.shrinkage
        covariance = (1 - share) * covariance + share * covariance.mean((0, 1))
        ridge = RIDGE * torch.eye(len(centre), device=centre.device)
        self.mean, self.factor = centre + shift, torch.linalg.cholesky(covariance + ridge)

    def forward(self, images: RGB) -> Prediction:
        """UserError for a size that the stride does not divide."""
        apart = (self._features(images) - self.mean).permute(2, 3, 1, 0)
        whitened = torch.linalg.solve_triangular(self.factor, apart, upper=False)
        squares = whitened.square().mean(2).permute(2, 0, 1)
        return self.prediction(images, roots(squares))

    def _features(self, images: RGB) -> Float[Tensor, "b d gh gw"]:
        """Mean colours, and mean strengths of edges at each scale and direction, over three places by three."""
        stride = self.options.stride
        check_sides(images.shape[2:], stride)
        levels = [F.avg_pool2d(images, stride)]
        for scale in range(self.options.scales):
            side = min(2**scale, stride)
            grey = F.avg_pool2d(images.mean(1, keepdim=True), side)
            edges = torch.cat([_edges(grey, *direction) for direction in DIRECTIONS], 1)
            levels.append(F.avg_pool2d(edges, stride // side))
        return F.avg_pool2d(torch.cat(levels, 1), 3, stride=1, padding=1, count_include_pad=False)


def _edges(grey: Float[Tensor, "b 1 h w"], down: int, right: int) -> Float[Tensor, "b 1 h w"]:
    """How much a grey image changes across each pixel along a direction; beyond its frame it goes on as it ends."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    height, width = grey.shape[2:]
    ahead = padded[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
    behind = padded[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
    return ((ahead - behind).square() + EDGE**2).sqrt()
