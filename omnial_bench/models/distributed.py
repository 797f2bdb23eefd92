"""One training over several processes, a device each, that computes what a single process does but for rounding.

Every process draws the whole batch from the same generator and takes its share, shares are of one size, and gradients
are averaged. What looks across the batch is here: batch norm, extremes, logged means. Alone, a process asks nobody.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from omnial_bench.errors import UserError
from omnial_bench.types import Synthetic


def ranks() -> int:
    """The processes that train together; 1 where this one is alone."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def check_share(batch: int, devices: int) -> None:
    """UserError where a batch cannot be dealt out in equal shares."""
    if batch % devices:
        fitting = ", ".join(str(count) for count in range(1, batch + 1) if batch % count == 0)
        raise UserError(
            f"expected a number of devices that divides the batch of {batch}, got {devices}; try one of {fitting}"
        )


def share(batch: Synthetic, rank: int, count: int) -> Synthetic:
    """The part of a batch that process `rank` of `count` learns from."""
    size = len(batch.images) // count
    own = slice(rank * size, (rank + 1) * size)
    return Synthetic(*(None if values is None else values[own] for values in batch))  # type: ignore[arg-type]


def mean_of(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars, each averaged over the processes."""
    if ranks() == 1:
        return terms
    values = torch.stack([term.detach() for term in terms.values()])
    distributed.all_reduce(values)
    return dict(zip(terms, values / ranks(), strict=True))


def extremes(values: Tensor) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The least and the greatest value in all processes; they carry a gradient in none but a single one."""
    low, high = torch.aminmax(values)
    if ranks() == 1:
        return low, high
    outermost = torch.stack((-low, high)).detach()
    distributed.all_reduce(outermost, distributed.ReduceOp.MAX)
    return -outermost[0], outermost[1]


class _Gathered(torch.autograd.Function):
    """The tensors of all processes, stacked by rank; a loss in any of them reaches each."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(ranks())]
        distributed.all_gather(parts, own.contiguous())
        return torch.stack(parts)

    @staticmethod
    @once_differentiable
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]


class SharedNorm(nn.BatchNorm2d):
    """Batch norm whose mean and variance are those of the whole batch, spread evenly over the processes.

    In float32 at least, also under autocast; outside training it is the norm that it was made from.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        # The same parameters, not copies: their layout and whether they learn stay as they are.
        for name, parameter in norm.named_parameters():
            self.register_parameter(name, parameter)
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.train(norm.training)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        # Each process's moments rather than sums of squares, whose difference would cancel.
        own = torch.stack(torch.var_mean(values, dim=(0, 2, 3), correction=0))
        variances, means = _Gathered.apply(own).unbind(1)  # type: ignore[no-untyped-call]
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        self._remember(mean.detach(), variance.detach(), ranks() * values.numel() // len(mean))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = (self.bias if self.affine else 0) - mean * scale
        normalised = torch.addcmul(shift[:, None, None], values, scale[:, None, None])
        return normalised.to(features.dtype)

    def _remember(self, mean: Float[Tensor, " c"], variance: Float[Tensor, " c"], count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), weight)


def share_norms(network: nn.Module) -> None:
    """Put a SharedNorm in place of every batch norm; parameters, buffers and their names stay.

    UserError for a batch norm of another kind, which would see a part of the batch.
    """
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if type(part) is nn.BatchNorm2d:
                setattr(parent, name, SharedNorm(part))
            elif isinstance(part, _BatchNorm):
                raise UserError(
                    f"expected batch norms of the type BatchNorm2d, got {type(part).__name__}, which several devices "
                    "cannot share; try one device"
                )
