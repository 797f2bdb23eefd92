"""Median smoothing (Chiang et al., Detection as Regression, NeurIPS 2020): the median of the scores under noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.defences.base import Defence
from omnial_bench.errors import UserError
from omnial_bench.types import Detector, Prediction

SEED = 0
"""Of the noise. An attacker knows it, as all of the detector."""


class Smoothing(Defence):
    """The median over `samples` of Gaussian noise of standard deviation `sigma`, in units of the images.

    Of the map it is the median of each pixel's score, of the image score and the reconstruction their own. For exact
    medians, no change of length eps in l2 moves a score beyond its quantiles at Phi(-eps / sigma) and Phi(eps / sigma);
    a few samples only estimate them, and certify nothing. The noise is the same for every image, so that a prediction
    does not depend on the batch; of an even number of samples the median is the lower of the two in the middle.
    """

    def __init__(self, detector: Detector, *, sigma: float = 0.25, samples: int = 16) -> None:
        super().__init__(detector)
        # A truth is an int.
        if type(sigma) not in (int, float) or not 0 <= sigma <= 1:
            raise UserError(f"sigma of smoothing: expected a number from 0 to 1, got {sigma!r}")
        if type(samples) is not int or samples < 1:
            raise UserError(f"samples of smoothing: expected a whole number above 0, got {samples!r}")
        self.sigma, self.samples = sigma, samples

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Prediction:
        """`samples` passes of the detector; the gradient of a median is that of the sample which it is."""
        generator = torch.Generator().manual_seed(SEED)
        predictions = []
        for _ in range(self.samples):
            noise = self.sigma * torch.randn(images.shape[1:], generator=generator)
            predictions.append(self.detector(images + noise.to(images)))
        odds = _median([prediction.score_map for prediction in predictions])
        shown = [each.reconstruction for each in predictions if each.reconstruction is not None]
        return Prediction(
            logits=torch.stack((torch.zeros_like(odds), odds), dim=1),
            reconstruction=_median(shown) if shown else None,
            score=_median([prediction.image_score for prediction in predictions]),
        )


def _median(samples: list[Tensor]) -> Tensor:
    return torch.stack(samples).median(0).values
