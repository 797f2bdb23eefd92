"""Detectors that mask their gradients on purpose, the honest one that they are made of, and images for them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.data.images import Images, to_bytes
from omnial_bench.types import Detector, Prediction

SIDE = 32


class Honest(Detector):
    """Rebuilds an image finely and coarsely; what is brighter in the fine one than in the coarse one is a defect."""

    def forward(self, images: Tensor) -> Prediction:
        return self.compare(images, images)

    def compare(self, seen: Tensor, background: Tensor) -> Prediction:
        """The map of what the two images show at two scales, and the coarse one as the reconstruction, both grey."""
        seen, background = seen.mean(1, keepdim=True), background.mean(1, keepdim=True)
        coarse = blur(background, 17)
        contrast = F.softplus(40 * (blur(seen, 3) - coarse) - 3) + F.softplus(40 * (blur(seen, 5) - coarse) - 3)
        odds = 4 * contrast - 2.4
        return Prediction(
            torch.cat((torch.zeros_like(odds), odds), 1), reconstruction=coarse.expand(-1, 3, -1, -1), pooling=5
        )


class Detached(Honest):
    """The fine image, in which alone a defect survives, is detached: a weak gradient is left, through the coarse one,
    and it points the wrong way."""

    def forward(self, images: Tensor) -> Prediction:
        return self.compare(images.detach(), images)


class Quantised(Honest):
    """Eight grey levels go in, and the gradient of rounding is zero."""

    def forward(self, images: Tensor) -> Prediction:
        rounded = (images * 7).round() / 7
        return self.compare(rounded, rounded)


class Cut(Honest):
    """The coarse image, the reconstruction, is detached: what is left of the gradient points the right way for fine
    changes, and attacks succeed."""

    def forward(self, images: Tensor) -> Prediction:
        return self.compare(images, images.detach())


def bent(honest: Prediction, bend: Callable[[Tensor], Tensor]) -> Prediction:
    odds = bend(honest.log_odds)
    return Prediction(torch.stack((torch.zeros_like(odds), odds), 1), honest.reconstruction, pooling=5)


class Saturated(Honest):
    """Probabilities so sure of themselves that they are clamped, and a clamp's gradient is zero."""

    def forward(self, images: Tensor) -> Prediction:
        return bent(super().forward(images), lambda odds: (1000 * odds).sigmoid().clamp(1e-6, 1 - 1e-6).logit())


class Floored(Honest):
    """Scores are cut off from below, so that most normal pixels have no gradient; all others have theirs, and whole."""

    def forward(self, images: Tensor) -> Prediction:
        return bent(super().forward(images), lambda odds: odds.clamp_min(-1.9))


class Capped(Honest):
    """The same from above: of a third of the anomalous pixels the score has rounded to its last value."""

    def forward(self, images: Tensor) -> Prediction:
        return bent(super().forward(images), lambda odds: odds.clamp_max(5.5))


class Rounded(Honest):
    """The left half of an image is rounded: its pixels have no gradient, and the others theirs."""

    def forward(self, images: Tensor) -> Prediction:
        left = images[..., : SIDE // 2]
        shown = torch.cat(((left * 50).round() / 50, images[..., SIDE // 2 :]), -1)
        return self.compare(shown, shown)


def blur(images: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(images, side, stride=1, padding=side // 2, count_include_pad=False)


def toy_images(n: int = 8, *, category: str = "noise", seed: int = 0) -> Images:
    """Grey noise, and on two of three images a brighter square."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.4 + 0.06 * torch.randn(n, 3, SIDE, SIDE, generator=generator)
    masks = torch.zeros(n, SIDE, SIDE, dtype=torch.bool)
    defects = tuple("good" if index % 3 == 0 else "square" for index in range(n))
    for mask, defect in zip(masks, defects, strict=True):
        top, left = torch.randint(3, SIDE - 11, (2,), generator=generator).tolist()
        mask[top : top + 8, left : left + 8] = defect != "good"
    images = images + 0.12 * masks[:, None]
    ids = tuple(f"{category}/test/{defect}/{index:03d}" for index, defect in enumerate(defects))
    return Images(to_bytes(images), masks, (category,) * n, defects, ids)
