"""Perturbations in whole grey levels: what an 8-bit file keeps of an attack, and whether its bound still holds."""

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from omnial_bench.data.images import to_bytes, to_float
from omnial_bench.types import RGB, ThreatModel

SHRINK = 0.95


def quantise(attacked: RGB, originals: UInt8[Tensor, "b 3 h w"], threat: ThreatModel) -> UInt8[Tensor, "b 3 h w"]:
    """Attacked images as bytes, on the CPU, within the threat's bound around the bytes of `originals`.

    Rounded, then held to floor(255 eps) levels. An L2 change that rounding has lengthened is shrunk until it fits.
    """
    attacked, originals = attacked.detach().float().cpu(), originals.cpu()
    if threat.norm == "linf":
        change = to_bytes(attacked).int() - originals.int()
        most = int(255 * threat.eps)
        return (originals.int() + change.clamp(-most, most)).to(torch.uint8)
    clean = to_float(originals)
    delta = attacked - clean
    while True:
        saved = to_bytes(clean + delta)
        over = torch.tensor(
            [not keeps(threat, one, other) for one, other in zip(saved.numpy(), originals.numpy(), strict=True)]
        )
        if not over.any():
            return saved
        delta[over] *= SHRINK


def keeps(threat: ThreatModel, saved: NDArray[np.uint8], original: NDArray[np.uint8]) -> bool:
    """Whether one saved image lies within the bound, in exact arithmetic on the bytes."""
    change = saved.astype(np.int64) - original
    if threat.norm == "linf":
        return int(np.abs(change).max()) <= 255 * threat.eps
    return int(np.square(change).sum()) <= (255 * threat.eps) ** 2


def largest_change(saved: NDArray[np.uint8], original: NDArray[np.uint8]) -> int:
    """The largest change of a value, in grey levels."""
    return int(np.abs(saved.astype(np.int16) - original).max())
