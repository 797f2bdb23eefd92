"""DRAEM's published synthesis an image at a time, written anew from the paper's description with NumPy and Pillow.

Zavrtanik et al., ICCV 2021, section 3.2: Perlin noise turned and cut at 1/2, a texture through three of ten operations,
blended in with a transparency. The public data loader works an image at a time like this, with an augmentation
library that is no longer kept; none of its code is here.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

Pixels = npt.NDArray[np.float32]
Random = np.random.Generator


def perlin(side: int, random: Random) -> npt.NDArray[np.bool_]:
    """A mask: gradient noise of 1 to 32 cells a side, turned by up to 90 degrees, over 1/2."""
    rows, columns = 2 ** random.integers(0, 6, 2)
    angles = random.uniform(0, 2 * math.pi, (rows + 1, columns + 1))
    across, along = np.cos(angles), np.sin(angles)
    y, x = np.meshgrid(np.arange(side) * rows / side, np.arange(side) * columns / side, indexing="ij")
    row, column = y.astype(int), x.astype(int)
    y, x = y - row, x - column

    def dot(down: int, right: int) -> npt.NDArray[np.float64]:
        at = (row + down, column + right)
        found: npt.NDArray[np.float64] = across[at] * (y - down) + along[at] * (x - right)
        return found

    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (y, x))
    top = dot(0, 0) + fade_x * (dot(0, 1) - dot(0, 0))
    bottom = dot(1, 0) + fade_x * (dot(1, 1) - dot(1, 0))
    noise = math.sqrt(2) * (top + fade_y * (bottom - top))
    turned = Image.fromarray(noise.astype(np.float32)).rotate(random.uniform(-90, 90), Image.Resampling.BILINEAR)
    mask: npt.NDArray[np.bool_] = np.asarray(turned) > 0.5
    return mask


def gamma(image: Image.Image, random: Random) -> Image.Image:
    values = np.asarray(image, dtype=np.float32) / 255
    return _image(values ** random.uniform(0.5, 2.0, 3))


def brightness(image: Image.Image, random: Random) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    factor, offset = random.uniform(0.8, 1.2), random.uniform(-30, 30)
    changed = np.clip(np.asarray(value, dtype=np.float32) * factor + offset, 0, 255).astype(np.uint8)
    return Image.merge("HSV", (hue, saturation, Image.fromarray(changed))).convert("RGB")


def sharpness(image: Image.Image, random: Random) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(random.uniform(0, 2))


def hue_and_saturation(image: Image.Image, random: Random) -> Image.Image:
    hue, saturation, value = (np.asarray(channel, dtype=np.int16) for channel in image.convert("HSV").split())
    shifts = random.uniform(-50, 50, 2).astype(np.int16)
    turned, changed = (hue + shifts[0]) % 256, np.clip(saturation + shifts[1], 0, 255)
    channels = [Image.fromarray(channel.astype(np.uint8)) for channel in (turned, changed, value)]
    return Image.merge("HSV", channels).convert("RGB")


def solarise(image: Image.Image, random: Random) -> Image.Image:
    return ImageOps.solarize(image, int(random.uniform(32, 128))) if random.random() < 0.5 else image


def posterise(image: Image.Image, random: Random) -> Image.Image:
    return ImageOps.posterize(image, int(random.integers(1, 9)))


def invert(image: Image.Image, _: Random) -> Image.Image:
    return ImageOps.invert(image)


def autocontrast(image: Image.Image, random: Random) -> Image.Image:
    return ImageOps.autocontrast(image, random.uniform(0, 20))


def equalise(image: Image.Image, _: Random) -> Image.Image:
    return ImageOps.equalize(image)


def turn(image: Image.Image, random: Random) -> Image.Image:
    return image.rotate(random.uniform(-45, 45), Image.Resampling.BILINEAR)


OPERATIONS = (
    gamma, brightness, sharpness, hue_and_saturation, solarise, posterise, invert, autocontrast, equalise, turn,
)  # fmt: skip


def synthesize(
    image: npt.NDArray[np.uint8], texture: npt.NDArray[np.uint8], random: Random
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """One training sample, h w 3 in [0, 1], and its mask; half of them stay as they are, found out at the end."""
    source = Image.fromarray(texture)
    for kind in random.choice(len(OPERATIONS), 3, replace=False):
        source = OPERATIONS[kind](source, random)
    mask = perlin(len(image), random)
    clean, anomaly = (np.divide(each, 255, dtype=np.float32) for each in (image, np.asarray(source)))
    beta = random.uniform(0, 0.8)
    blended = np.where(mask[..., None], (1 - beta) * anomaly + beta * clean, clean).astype(np.float32)
    if random.random() < 0.5:
        return clean, np.zeros_like(mask)
    return blended, mask


def _image(values: npt.NDArray[np.floating]) -> Image.Image:
    return Image.fromarray((255 * values).round().astype(np.uint8))
