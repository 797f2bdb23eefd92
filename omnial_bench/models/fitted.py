"""The base of detectors that are fitted to normal images, without a gradient: memories, Gaussians, projections."""

from abc import abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.models.outside.adapter import read
from omnial_bench.models.outside.calibration import to_log_odds
from omnial_bench.types import Detector, Prediction


class Fitted(Detector):
    """A detector that learns by one `fit` on normal images and is then given a scale on others, which were held out.

    All that it learns is parameters and buffers that the constructor registers, as `None` or of any shape where the fit
    decides it: a checkpoint brings them back as they were left, and nothing else.
    """

    odds_threshold: Tensor
    """Of the map and of the image score: the value that comes to lie at log-odds of 0."""
    odds_temperature: Tensor
    """Of the map and of the image score: what one unit of log-odds is worth."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("odds_threshold", torch.zeros(2))
        self.register_buffer("odds_temperature", torch.ones(2))

    @property
    def is_scaled(self) -> bool:
        """Whether it was fitted and given a scale."""
        return bool((self.odds_temperature != 1).any() or (self.odds_threshold != 0).any())

    @abstractmethod
    def fit(self, normals: Iterable[Float[Tensor, "b 3 h w"]], generator: torch.Generator) -> None:
        """Learn from normal images in [0, 1], which come in batches on the detector's device.

        They may be gone through as often as wanted, in the same order, and are never in memory as a whole. The caller
        has switched gradients off and evaluation mode on. Random numbers come from `generator`, on the CPU.
        """

    def prediction(
        self,
        images: Float[Tensor, "b 3 h w"],
        maps: Float[Tensor, "b *one mh mw"],
        score: Float[Tensor, " b"] | None = None,
    ) -> Prediction:
        """What `forward` returns: an anomaly map and perhaps an image score, both on any scale and higher where more
        anomalous, as log-odds.

        A map of another size than the images is resized (bilinear). Without a score the map's highest value is the
        image's. UserError for a map or a score of another shape.
        """
        found = read((maps, score), images)
        assert not isinstance(found, Prediction)
        return to_log_odds(*found, self.odds_threshold, self.odds_temperature)
