"""The three losses of OmniAL's Eq. 3 as DRAEM defines them: squared error, structural similarity, focal.

All are means, differentiable, and computed in float32 under autocast too.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.metrics.quality import ssim_map
from omnial_bench.models.distributed import extremes

GAMMA = 2.0
SMOOTHING = 1e-5


def mse_loss(reconstruction: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean squared error."""
    return F.mse_loss(reconstruction.float(), target.float())


def ssim_loss(reconstruction: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """1 - mean SSIM: Gaussian window 11, sigma 1.5, zeros outside the frame, the range that of the reconstruction."""
    first, second = reconstruction.float(), target.float()
    span = value_range(first)
    # SSIM at a range is SSIM at range 1 of the images divided by it.
    return 1 - ssim_map(first / span, second / span, window=11, sigma=1.5, data_range=1.0, padding="zero").mean()


def value_range(values: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """DRAEM's guess of the range: upper end 255 if the maximum exceeds 128, else 1; lower end -1 below -0.5, else 0.

    It stays a tensor, so that nothing waits for the device. Where several processes share a batch, it is the range of
    all of it.
    """
    low, high = extremes(values)
    zero, one = torch.zeros_like(low), torch.ones_like(low)
    return torch.where(high > 128, 255 * one, one) - torch.where(low < -0.5, -one, zero)


def focal_loss(logits: Float[Tensor, "b k h w"], labels: Int64[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Focal loss over k >= 2 classes: gamma 2, no class weights, targets clamped to [s/(k-1), 1-s] with s = 1e-5.

    Probabilities sum to one, so the product of clamped target and probabilities follows from the true class alone.
    """
    with torch.autocast(logits.device.type, enabled=False):
        truth = logits.float().softmax(1).gather(1, labels[:, None])
        rest = SMOOTHING / (logits.shape[1] - 1)
        matched = (1 - SMOOTHING) * truth + rest * (1 - truth) + SMOOTHING
        return -((1 - matched) ** GAMMA * matched.log()).mean()
