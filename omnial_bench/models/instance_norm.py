"""Instance norm that is fast in channels-last order on the CPU."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class InstanceNorm(nn.GroupNorm):
    """Instance norm with a learned scale and shift and no running statistics: group norm with a group a channel.

    Torch's instance norm leaves channels-last order, and its group norm is slow there on the CPU, forwards and
    backwards (torch 2.13). Each image is normalised as a batch of one instead, which is the same function.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        last = features.is_contiguous(memory_format=torch.channels_last)
        if features.device.type != "cpu" or not last or not len(features):
            return super().forward(features)
        normalised: Tensor = _ByImage.apply(features, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return normalised


class _ByImage(torch.autograd.Function):
    """Batch norm in training mode, image by image."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        parts = [
            torch.native_batch_norm(image, weight, bias, None, None, True, 0.0, eps)
            for image in torch.split(features, 1)
        ]
        ctx.save_for_backward(features, weight, *(value for _, mean, scale in parts for value in (mean, scale)))
        ctx.eps = eps
        return torch.cat([normalised for normalised, _, _ in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        features, weight, *statistics = ctx.saved_tensors
        inner, scale, shift = ctx.needs_input_grad[:3]
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                part, image, weight, None, None, mean, rstd, True, ctx.eps, [inner, scale, shift]
            )
            for part, image, mean, rstd in zip(
                torch.split(slope, 1), torch.split(features, 1), statistics[::2], statistics[1::2], strict=True
            )
        ]
        slopes, scales, shifts = zip(*parts, strict=True)
        return (
            torch.cat(slopes) if inner else None,
            torch.stack(scales).sum(0) if scale else None,
            torch.stack(shifts).sum(0) if shift else None,
            None,
        )
