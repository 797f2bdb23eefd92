"""PaDiM: a Gaussian a place over features of a trained network (Defard et al. 2020)."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.errors import UserError
from omnial_bench.models.backbone import Backbone
from omnial_bench.models.chain import Moments, Rows, nest, squares, unnest
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.levels import in_full, roots, to_pixels
from omnial_bench.models.options.base import check_sides
from omnial_bench.models.options.features import PaDiMOptions as Options
from omnial_bench.types import RGB, Prediction

RIDGE = 0.01
"""Added to each variance, as published."""


class Level(nn.Module):
    """What is learnt of one stride: `d` of its channels, their means, and the rows that whiten them."""

    channels: Int64[Tensor, " d"]
    mean: Float[Tensor, "p d"]
    above: Float[Tensor, "p d e"]
    own: Float[Tensor, "p d d"]

    def __init__(self) -> None:
        super().__init__()
        for name in ("channels", "mean", "above", "own"):
            self.register_buffer(name, None)


class PaDiM(Fitted):
    """The Mahalanobis distance of each place's features to those of the normals there.

    Sizes are multiples of the coarsest stride. Of all channels `options.channels` are drawn once. Places lie
    `options.grid` pixels apart; features of a finer stride are averaged over each, those of a coarser one repeated.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = Backbone(options.backbone, options.strides, options.weights)
        total = sum(self.backbone.channels)
        if options.channels > total:
            raise UserError(
                f"expected at most the {total} channels that {options.backbone} has at strides {options.strides}, got "
                f"{options.channels}; ask for fewer, or for more strides"
            )
        strides = [max(stride, options.grid) for stride in reversed(self.backbone.strides)]
        self.coarsest = strides[0]
        self.ratios = [coarse // fine for coarse, fine in pairwise(strides)]
        self.levels = nn.ModuleList(Level() for _ in strides)

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """In one pass. UserError for fewer than two normals, and for Gaussians that do not fit into memory."""
        widths = self.backbone.channels[::-1]
        drawn = torch.randperm(sum(widths), generator=generator)[: self.options.channels].sort().values
        for place, (level, width) in enumerate(zip(self._levels(), widths, strict=True)):
            own = drawn - sum(widths[:place])
            level.channels = own[(own >= 0) & (own < width)].to(self.odds_threshold.device)
        moments = Moments()
        for images in normals:
            moments.add(self._nested(images))
        if moments.count < 2:
            raise UserError(f"expected at least 2 normal images to take covariances of, got {moments.count}; add some")
        for level, mean, rows in zip(self._levels(), moments.means(), moments.whitened(RIDGE), strict=True):
            level.mean, level.above, level.own = mean.float(), *rows

    def forward(self, images: RGB) -> Prediction:
        """UserError for a size that the coarsest stride does not divide."""
        nested = self._nested(images)
        with in_full(images):
            apart = [part - level.mean[:, None] for part, level in zip(nested, self._levels(), strict=True)]
            values = squares(apart, [Rows(level.above, level.own) for level in self._levels()])
            high, wide = images.shape[2:]
            maps = unnest(roots(values), (high // self.coarsest, wide // self.coarsest), self.ratios)
            # At the frame as in anomalib.
            return self.prediction(images, to_pixels(maps, (high, wide), self.options.sigma, "mirror"))

    def _nested(self, images: RGB) -> list[Float[Tensor, "p b d"]]:
        """The drawn channels, coarsest first, in the order of `models.chain`."""
        check_sides(images.shape[2:], self.coarsest)
        nested = []
        features = zip(reversed(self.backbone(images)), reversed(self.backbone.strides), self._levels(), strict=True)
        for place, (part, stride, level) in enumerate(features):
            part = part.to(images.dtype)
            if stride < self.options.grid:
                part = F.avg_pool2d(part, self.options.grid // stride)
            nested.append(nest(part, self.ratios[:place]).index_select(2, level.channels))
        return nested

    def _levels(self) -> list[Level]:
        return [level for level in self.levels if isinstance(level, Level)]
