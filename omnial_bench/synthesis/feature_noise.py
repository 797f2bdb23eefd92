"""Anomalies in the space of features: noise on what a network says of normal images."""

import torch
from jaxtyping import Float
from torch import Tensor


def add_noise(features: Float[Tensor, "*_n c"], deviation: float, generator: torch.Generator) -> Float[Tensor, "*_n c"]:
    """N(0, deviation) added to each value (SimpleNet, section 3.3)."""
    drawn = torch.randn(features.shape, generator=generator)
    return features + deviation * drawn.to(features)


def jitter(tokens: Float[Tensor, "*_n c"], scale: float, generator: torch.Generator) -> Float[Tensor, "*_n c"]:
    """Noise on each value in proportion to the length of its token: N(0, scale |token| / c) (UniAD, section 3.4)."""
    lengths = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True) / tokens.shape[-1]
    drawn = torch.randn(tokens.shape, generator=generator)
    return torch.addcmul(tokens, lengths, drawn.to(tokens), value=scale)
