"""Initial weights of what learns on features, drawn in double precision so that every processor draws the same."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["kaiming", "xavier", "xavier-normal", "plain"]


def draw(network: nn.Module, rule: Rule) -> None:
    """Draw the weights of convolutions and linear layers from torch's global generator; their biases become 0.

    `kaiming` is He's normal by the outputs, as in torchvision's residual networks, `xavier` Glorot's uniform and
    `xavier-normal` his normal, `plain` torch's own, uniform by the inputs. Norms keep their scales of 1, and a
    backbone, whose weights are no parameters, its own. A network without storage has nothing to draw.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and "weight" in part._parameters:
            if part.weight.is_meta:
                continue
            part.weight = nn.Parameter(_drawn(part.weight, rule))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _drawn(weight: Tensor, rule: Rule) -> Tensor:
    area = weight[0, 0].numel()
    ins, outs = weight.shape[1] * area, weight.shape[0] * area
    drawn = torch.empty(weight.shape, dtype=torch.float64)
    if rule in ("xavier", "plain"):
        bound = math.sqrt(6 / (ins + outs) if rule == "xavier" else 1 / ins)
        drawn.uniform_(-bound, bound)
    else:
        drawn.normal_(0.0, math.sqrt(2 / (outs if rule == "kaiming" else ins + outs)))
    return drawn.to(weight.dtype)
