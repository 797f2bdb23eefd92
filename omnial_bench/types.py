"""The nouns that every part of the benchmark speaks: Batch, Synthetic, Prediction, Detector, ThreatModel.

`b` is the batch, `k` the classes of a head, `h` and `w` the network's height and width. Images are RGB float in [0, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

Goal = Literal["any", "hide", "fabricate", "target"]
Where = Literal["frame", "foreground"]
Norm = Literal["linf", "l2"]
RGB = Float[Tensor, "b 3 h w"]
"""Images, float in [0, 1]."""


@dataclass(frozen=True)
class Batch:
    """Images with what is known of them. A mask that is all False may still belong to a defect: `defects` decides."""

    images: Float[Tensor, "b 3 h w"]
    masks: Bool[Tensor, "b h w"]
    categories: tuple[str, ...]
    defects: tuple[str, ...]
    ids: tuple[str, ...]
    references: Float[Tensor, "b 3 h w"] | None = None
    """The clean normal image that each image was made from, where there is one."""

    @property
    def anomalous(self) -> Bool[Tensor, " b"]:
        """Image labels, from the folder's name and never from the mask."""
        return torch.tensor([defect != "good" for defect in self.defects])


def located(masks: Bool[Tensor, "b h w"], anomalous: Bool[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """The images that pixel figures are made of: all but the anomalous ones of whose pixels none is marked, since
    what is normal in them is not known. On the device of the masks."""
    return masks.flatten(1).any(1) | ~anomalous.to(masks.device)


class Synthetic(NamedTuple):
    """A training batch with synthetic anomalies.

    Labels: 0 normal, 1 easy, 2 medium, 3 hard; 1 alone where a head has two classes.
    """

    images: Float[Tensor, "b 3 h w"]
    clean: Float[Tensor, "b 3 h w"]
    labels: Int64[Tensor, "b h w"]
    jnd: Float[Tensor, "b 1 h w"] | None = None


@dataclass(frozen=True)
class Prediction:
    """What a detector says of a batch; class 0 of `logits` is normal. All else is derived here, once for all detectors.

    `smoothing` is the side of the mean filter on the anomaly map, `pooling` that of the mean filter whose maximum is
    the image score; both are odd, and 1 filters nothing. Outside the frame a filter sees zeros, as in DRAEM's test.
    """

    logits: Float[Tensor, "b k h w"]
    reconstruction: Float[Tensor, "b 3 h w"] | None = None
    smoothing: int = 1
    pooling: int = 21
    score: Float[Tensor, " b"] | None = None
    """An image score that the detector gives itself; None: derived from the map."""

    @property
    def log_odds(self) -> Float[Tensor, "b h w"]:
        """Log-odds of anomalous against normal, unsmoothed; what attacks differentiate that do not go for ranks."""
        anomalous = self.logits[:, 1] if self.logits.shape[1] == 2 else torch.logsumexp(self.logits[:, 1:], dim=1)
        return anomalous - self.logits[:, 0]

    @property
    def anomaly_map(self) -> Float[Tensor, "b h w"]:
        """Probability of an anomaly, smoothed, in [0, 1]."""
        return mean_filter(torch.sigmoid(self.log_odds), self.smoothing)

    @property
    def score_map(self) -> Float[Tensor, "b h w"]:
        """Log-odds of `anomaly_map`: ranks pixels as it does, also where probabilities saturate."""
        return smoothed_log_odds(self.log_odds, self.smoothing)

    @property
    def image_score(self) -> Float[Tensor, " b"]:
        """Log-odds of the largest mean-filtered anomaly probability: ranks images as DRAEM's image score does."""
        if self.score is not None:
            return self.score
        return smoothed_log_odds(self.log_odds, self.pooling).flatten(1).amax(1)


def smoothed_log_odds(odds: Float[Tensor, "b h w"], side: int) -> Float[Tensor, "b h w"]:
    """Log-odds of the mean-filtered probability; `sigmoid(-odds)` is summed apart so that nothing cancels near 1."""
    if side == 1:
        return odds
    tiny = torch.finfo(torch.float32).tiny
    anomalous = mean_filter(torch.sigmoid(odds), side)
    outside = 1 - mean_filter(torch.ones_like(odds[:1]), side)
    normal = mean_filter(torch.sigmoid(-odds), side) + outside
    return torch.log(anomalous.clamp_min(tiny)) - torch.log(normal.clamp_min(tiny))


def mean_filter(maps: Float[Tensor, "b h w"], side: int) -> Float[Tensor, "b h w"]:
    """Box mean of an odd `side`, stride 1, zeros outside the frame counted."""
    if side == 1:
        return maps
    half = side // 2
    padded = F.pad(maps, (half, half, half, half))
    return window_sums(window_sums(padded, side, axis=-2), side, axis=-1) / side**2


def window_sums(values: Tensor, side: int, *, axis: int) -> Tensor:
    """Sums of all windows of `side` neighbours along an axis, in about log2(side) additions of whole tensors.

    Windows double, and those of the binary digits of `side` are put end to end: 21 is 1 + 4 + 16.
    """
    count, width, start, parts = values.shape[axis] - side + 1, 1, 0, []
    while True:
        if side & width:
            parts.append(values.narrow(axis, start, count))
            start += width
        if 2 * width > side:
            return reduce(torch.add, parts)
        shorter = values.shape[axis] - width
        values = values.narrow(axis, 0, shorter) + values.narrow(axis, width, shorter)
        width *= 2


class Detector(nn.Module, ABC):
    """An anomaly localiser: differentiable from images to Prediction, normalisation inside.

    It learns in one of two ways, by the class that it derives from: `GradientTrained`, or `Fitted` of models/fitted.py.
    """

    normal_scores: Mapping[str, tuple[float, ...]] = MappingProxyType({})
    """Its image scores of normal images that it learned nothing from, by category, or under `""` for all: what a
    decision threshold is set from."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Localise anomalies; the gradient reaches `images` through every branch."""


class GradientTrained(Detector):
    """A detector that is trained by gradient on synthetic anomalies: it says what a step learns from, and its loss."""

    @abstractmethod
    def synthesize(
        self, images: Float[Tensor, "b 3 h w"], textures: Float[Tensor, "b 3 h w"], generator: torch.Generator
    ) -> Synthetic:
        """Turn normal `images` into a training batch where they are; `generator` lives on the CPU."""

    @abstractmethod
    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        """Named scalar terms; training minimises their sum."""


class Untrained(Detector):
    """A module of someone else's behind a detector's face: scored and attacked as it is."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def known_as(self) -> str:
        """What messages call it: the class that its maker wrote."""
        return type(self.module).__name__


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """What a perturbation may do, in pixel units, and to what end.

    `any` raises the loss against the truth; `hide` makes anomalous images look normal; `fabricate` makes normal
    images look anomalous; `target` does both, each image towards a map of its own. `where` bounds the pixels that
    may change.
    """

    eps: Fraction
    norm: Norm = "linf"
    goal: Goal = "any"
    where: Where = "frame"

    def __str__(self) -> str:
        levels = 255 * self.eps
        size = f"{levels.numerator}/255" if levels.denominator == 1 else f"{float(self.eps):g}"
        text = f"{self.norm} {size}" + {"any": "", "target": " targeted"}.get(self.goal, f" {self.goal}")
        return text if self.where == "frame" else f"{text} {self.where}"

    def project(self, images: Float[Tensor, "b 3 h w"], clean: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The nearest images inside the ball around `clean` and inside [0, 1]; always in float32."""
        eps, delta = float(self.eps), images.float() - clean
        if self.norm == "linf":
            delta = delta.clamp(-eps, eps)
        else:
            length = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
            delta = delta * (eps / length).clamp_max(1.0)[:, None, None, None]
        return (clean + delta).clamp(0.0, 1.0)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
        """A random change within the ball, on the CPU: uniform (L-infinity), or of uniform direction and radius."""
        eps = float(self.eps)
        if self.norm == "linf":
            return (2 * torch.rand(shape, generator=generator) - 1) * eps
        direction = torch.randn(shape, generator=generator)
        length = direction.flatten(1).norm(dim=1)
        scale: Tensor = torch.rand(shape[0], generator=generator) * eps / length
        return direction * scale[:, None, None, None]

    def distance(self, images: Float[Tensor, "b 3 h w"], clean: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Size of the change of each image in this norm."""
        delta = (images - clean).flatten(1)
        return delta.abs().amax(1) if self.norm == "linf" else delta.norm(dim=1)
