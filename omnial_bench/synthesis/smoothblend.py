"""SmoothBlend (Zou et al., ECCV 2022): a small piece of an image blended in elsewhere, without an edge of its own."""

from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.synthesis.canny import gaussian_blur
from omnial_bench.synthesis.cutpaste import cut, rectangles

AREA = (0.005, 0.01)
"""Of the image."""
SOFT = 8 / 224
"""Deviation of the Gaussian that softens the rectangle, over the image's height."""


def smooth_blend(images: Float[Tensor, "b 3 h w"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
    """Each image with a small change in one place."""
    return blend(images, rectangles(images, AREA, generator), generator)


def blend(
    images: Float[Tensor, "b 3 h w"], sides: Float[Tensor, "b 2"], generator: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """(1 - a) image + a piece, where a is a rectangle of `sides` (height, width) pixels under a Gaussian."""
    inside, pieces = cut(images, sides, torch.zeros(len(images), device=images.device), generator)
    sigma = SOFT * images.shape[2]
    return torch.lerp(images, pieces, gaussian_blur(inside.float(), sigma=sigma, radius=ceil(4 * sigma)))
