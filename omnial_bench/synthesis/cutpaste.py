"""CutPaste (Li et al., CVPR 2021) and SmoothBlend (Zou et al., ECCV 2022): a piece of an image, its colours changed a
little, pasted elsewhere in it or blended in without an edge of its own."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.synthesis.canny import gaussian_blur
from omnial_bench.synthesis.draw import chance, uniform
from omnial_bench.synthesis.transform import colour_jitter
from omnial_bench.types import RGB

AREA = (0.02, 0.15)
"""Of the image."""
ASPECT = 0.3
"""Narrowest side over the other, and its inverse, log-uniform between."""
JITTER = (0.1, 0.1, 0.1, 0.1)
SCAR_WIDTH, SCAR_LENGTH = (2 / 256, 16 / 256), (10 / 256, 25 / 256)
"""Of the image's height: 2 to 16 and 10 to 25 pixels of 256."""
TURN = math.pi / 4
SMOOTH_AREA, SOFT = (0.005, 0.01), 8 / 224
"""Of SmoothBlend: of the image, and the deviation over its height of the Gaussian that softens the rectangle."""


def cut_paste(images: RGB, generator: torch.Generator) -> RGB:
    """A rectangle of each image pasted elsewhere in it."""
    sides = rectangles(images, AREA, generator)
    return paste(images, sides, torch.zeros(len(images), device=images.device), generator)


def rectangles(images: RGB, area: tuple[float, float], generator: torch.Generator) -> Float[Tensor, "b 2"]:
    """Heights and widths in pixels, of a share of the image uniform in `area`."""
    n, (height, width), device = len(images), images.shape[2:], images.device
    pixels = uniform((n,), *area, generator, device) * height * width
    aspect = torch.exp(uniform((n,), math.log(ASPECT), -math.log(ASPECT), generator, device))
    return torch.stack(((pixels * aspect).sqrt().clamp_max(height), (pixels / aspect).sqrt().clamp_max(width)), 1)


def cut_paste_scar(images: RGB, generator: torch.Generator) -> RGB:
    """A thin piece of each image pasted elsewhere in it, turned by up to 45 degrees."""
    n, height, device = len(images), images.shape[2], images.device
    sides = torch.stack([height * uniform((n,), *side, generator, device) for side in (SCAR_LENGTH, SCAR_WIDTH)], 1)
    lying = chance(n, 0.5, generator, device)[:, None]
    sides = torch.where(lying, sides.flip(1), sides)
    return paste(images, sides, uniform((n,), -TURN, TURN, generator, device), generator)


def paste(images: RGB, sides: Float[Tensor, "b 2"], angles: Float[Tensor, " b"], generator: torch.Generator) -> RGB:
    """A rectangle of each image, `sides` (height, width) pixels large, put elsewhere, turned by an angle in radians."""
    inside, pieces = cut(images, sides, angles, generator)
    return torch.where(inside, pieces, images)


def cut(
    images: RGB, sides: Float[Tensor, "b 2"], angles: Float[Tensor, " b"], generator: torch.Generator
) -> tuple[Bool[Tensor, "b 1 h w"], RGB]:
    """Where the rectangle of `paste` comes to lie, and the image that it is cut of, its colours changed, moved there.

    Where it is cut and where its centre comes to lie is uniform over the places where it fits without the turn.
    """
    n, (height, width), device = len(images), images.shape[2:], images.device
    frame = torch.tensor([height, width], dtype=torch.float32, device=device)
    # Whole pixels, so that an unturned piece is copied as it is.
    cut, put = ((uniform((n, 2), 0.0, 1.0, generator, device) * (frame - sides) + sides / 2).round() for _ in range(2))
    rows = torch.arange(height, device=device)[:, None] + 0.5
    columns = torch.arange(width, device=device)[None] + 0.5
    down, right = rows - put[:, 0, None, None], columns - put[:, 1, None, None]
    cosine, sine = torch.cos(angles)[:, None, None], torch.sin(angles)[:, None, None]
    own_down, own_right = cosine * down - sine * right, sine * down + cosine * right
    half = sides[:, :, None, None] / 2
    inside = (own_down.abs() <= half[:, 0]) & (own_right.abs() <= half[:, 1])
    places = ((own_right + cut[:, 1, None, None]) / width, (own_down + cut[:, 0, None, None]) / height)
    grid = 2 * torch.stack(places, -1) - 1
    changed = colour_jitter(images, generator, JITTER)
    return inside[:, None], F.grid_sample(changed, grid, mode="bilinear", padding_mode="border", align_corners=False)


def smooth_blend(images: RGB, generator: torch.Generator) -> RGB:
    """Each image with a small change in one place."""
    return blend(images, rectangles(images, SMOOTH_AREA, generator), generator)


def blend(images: RGB, sides: Float[Tensor, "b 2"], generator: torch.Generator) -> RGB:
    """(1 - a) image + a piece, where a is a rectangle of `sides` (height, width) pixels under a Gaussian."""
    inside, pieces = cut(images, sides, torch.zeros(len(images), device=images.device), generator)
    sigma = SOFT * images.shape[2]
    return torch.lerp(images, pieces, gaussian_blur(inside.float(), sigma=sigma, radius=math.ceil(4 * sigma)))
