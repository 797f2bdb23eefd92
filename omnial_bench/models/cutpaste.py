"""CutPaste (Li et al., CVPR 2021): features that tell pasted pieces from normal images, and the density of those of
normals."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from omnial_bench.config.load import read_backbone
from omnial_bench.models.backbone import Backbone, untrained
from omnial_bench.models.learned import Features, Learned, Terms
from omnial_bench.models.levels import directions, resized, roots, rows_of, smoothed
from omnial_bench.models.networks import draw
from omnial_bench.models.options.features import CutPasteOptions as Options
from omnial_bench.synthesis.cutpaste import cut_paste, cut_paste_scar
from omnial_bench.types import RGB, Prediction

MOMENTUM, DECAY = 0.9, 3e-5
Rows = Float[Tensor, "n d"]
KINDS = 3
"""Normal, with a piece pasted, with a scar pasted."""


class CutPaste(Learned):
    """The image score is the Mahalanobis distance of the embedding of the whole image, the map that of the embeddings
    of windows, each by one Gaussian. Embeddings have length 1.

    With `scratch` the encoder is learnt, and embeddings are its pooled features; else it is a frozen backbone, the head
    alone learns, and they are what it makes of these. The published localisation has a network of its own for windows
    of 64 pixels; here those of one network are pooled apart.
    """

    colours: Float[Tensor, "3 1 1"]
    spread: Float[Tensor, "3 1 1"]

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        name, stride = options.backbone, (options.stride,)
        self.encoder = untrained(name, stride) if options.scratch else Backbone(name, stride, options.weights)
        if options.scratch:
            draw(self.encoder, "kaiming")
        record = read_backbone(name)
        for key, values in (("colours", record.mean), ("spread", record.std)):
            self.register_buffer(key, torch.tensor(values)[:, None, None], persistent=False)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((*self.encoder.channels, *options.hidden)):
            layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.head, self.classifier = nn.Sequential(*layers), nn.Linear(options.hidden[-1], KINDS)
        draw(self.head, "xavier")
        draw(self.classifier, "xavier")
        self.whole, self.windows = Density(), Density()

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        super().fit(normals, generator)
        self.whole.fit(normals, lambda images: self._embedded(self._features(images).mean((2, 3))))
        self.windows.fit(normals, lambda images: self._embedded(self._windows(self._features(images))))

    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.parameters(), lr, momentum=MOMENTUM, weight_decay=DECAY)]

    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:  # noqa: ARG002
        shown = torch.cat((images, cut_paste(images, generator), cut_paste_scar(images, generator)))
        kinds = torch.arange(KINDS, device=images.device).repeat_interleave(len(images))
        verdicts = self.classifier(self.head(self._features(shown).mean((2, 3))))
        return {"cross_entropy": F.cross_entropy(verdicts, kinds)}

    def forward(self, images: RGB) -> Prediction:
        features = self._features(images)
        score = roots(self.whole.squares(self._embedded(features.mean((2, 3)))))
        places = roots(self.windows.squares(self._embedded(self._windows(features))))
        maps = resized(places.view(len(images), 1, *features.shape[2:]), images.shape[2:])
        return self.prediction(images, smoothed(maps, self.options.sigma), score)

    def _features(self, images: RGB) -> Float[Tensor, "b c h w"]:
        shown = (images - self.colours) / self.spread if self.options.scratch else images
        (features,) = self.encoder(shown)
        return features.to(images.dtype)  # type: ignore[no-any-return]

    def _windows(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "n c"]:
        side = self.options.window
        pooled = F.avg_pool2d(features, side, stride=1, padding=side // 2, count_include_pad=False)
        return rows_of(pooled)

    def _embedded(self, features: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        return directions(features if self.options.scratch else self.head(features))


class Density(nn.Module):
    """Mean and Cholesky factor of the covariance of rows, which is shrunk towards a multiple of the identity as Ledoit
    and Wolf do ("A well-conditioned estimator for large-dimensional covariance matrices", 2004)."""

    mean: Float[Tensor, " d"]
    factor: Float[Tensor, "d d"]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", None)
        self.register_buffer("factor", None)

    def fit(self, normals: Iterable[Tensor], rows_of: Callable[[Tensor], Rows]) -> None:
        """In two passes over the normals, in double precision."""
        count, total = 0, torch.zeros(())
        for images in normals:
            rows = rows_of(images).double()
            count, total = count + len(rows), total.to(rows) + rows.sum(0)
        mean = total / count
        second, fourth = mean.new_zeros(len(mean), len(mean)), mean.new_zeros(())
        for images in normals:
            apart = rows_of(images).double() - mean
            second += apart.T @ apart
            fourth += apart.square().sum(1).square().sum()
        covariance = shrunk(second / count, fourth / count, count)
        self.mean, self.factor = mean.float(), torch.linalg.cholesky(covariance).float()

    def squares(self, rows: Rows) -> Float[Tensor, " n"]:
        """Squared Mahalanobis distances."""
        whitened: Tensor = torch.linalg.solve_triangular(self.factor, (rows - self.mean).T, upper=False)
        return whitened.square().sum(0)


def shrunk(covariance: Float[Tensor, "d d"], fourth: Float[Tensor, ""], count: int) -> Float[Tensor, "d d"]:
    """The covariance of `count` rows as of Ledoit and Wolf; `fourth` is the mean of their lengths to the fourth."""
    size = len(covariance)
    level = covariance.trace() / size
    target = level * torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    spread = (covariance - target).square().sum()
    noise = torch.minimum((fourth - covariance.square().sum()) / count, spread)
    share = noise / spread if spread > 0 else torch.ones_like(spread)
    # Embeddings that are all the same have no covariance at all.
    floor = 1e-6 * level.clamp_min(1e-6)
    return (1 - share) * covariance + share * target + floor * torch.eye(size).to(covariance)
