"""A single Gaussian of embeddings, wherever in an image they come from."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Rows = Float[Tensor, "n d"]


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
