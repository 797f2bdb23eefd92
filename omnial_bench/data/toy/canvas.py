"""What the embedded data set is drawn with: a supersampled square from -1 to 1 and shapes on it. Numpy only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float32]
"""One number a point, `s s`."""
Cover = npt.NDArray[np.bool_]
Colour = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Canvas:
    """A grid of `size * factor` points a side; x grows to the right and y downwards, both from -1 to 1."""

    size: int
    factor: int

    @property
    def side(self) -> int:
        return self.size * self.factor

    @cached_property
    def x(self) -> Field:
        line = (np.arange(self.side, dtype=np.float32) + 0.5) * (2 / self.side) - 1
        return np.broadcast_to(line, (self.side, self.side))

    @cached_property
    def y(self) -> Field:
        return self.x.T

    def reduce(self, image: Field) -> Field:
        """Means over `factor` by `factor` points: the anti-aliased image."""
        parts = image.reshape(self.size, self.factor, self.size, self.factor, *image.shape[2:])
        return np.asarray(parts.mean(axis=(1, 3)), np.float32)

    def noise(self, rng: np.random.Generator, cells: int | tuple[int, int]) -> Field:
        """Smooth unevenness: standard normal values on `cells` (rows, columns) of a coarse grid, interpolated."""
        rows, columns = (cells, cells) if isinstance(cells, int) else cells
        coarse = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
        return np.asarray(coarse.resize((self.side, self.side), Image.Resampling.BICUBIC))


Draw = Callable[[Canvas, np.random.Generator, str, np.random.Generator], Field]
"""Draws one image in [0, 1], `s s` or `s s 3`: the first generator decides everything but the defect."""


def flat(canvas: Canvas, colour: Colour) -> Field:
    return np.broadcast_to(np.asarray(colour, np.float32), (canvas.side, canvas.side, 3)).copy()


def paint(image: Field, cover: Cover | Field, colour: Colour | Field) -> None:
    """Lay `colour` over the image where `cover` (an opacity in [0, 1]) is."""
    if cover.dtype == np.bool_ and not isinstance(colour, np.ndarray):
        image[cover] = colour
        return
    opacity = cover.astype(np.float32)[..., None] if image.ndim == 3 else cover.astype(np.float32)
    image += opacity * (np.asarray(colour, np.float32) - image)


def tint(colour: Colour, strength: Field) -> Field:
    """A colour under a light of `strength`."""
    lit: Field = strength[..., None] * np.asarray(colour, np.float32)
    return lit


def turn(x: Field, y: Field, angle: float, centre: Point = (0.0, 0.0), scale: float = 1.0) -> tuple[Field, Field]:
    """Coordinates in a frame at `centre`, turned by `angle` (radians) and magnified by `scale`."""
    cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    u, v = x - np.float32(centre[0]), y - np.float32(centre[1])
    return cos * u + sin * v, cos * v - sin * u


def distance_to_line(x: Field, y: Field, points: Sequence[Point]) -> tuple[Field, Field]:
    """Distance to a chain of straight pieces, and the signed side of the nearest piece (positive on one side)."""
    best = np.full(x.shape, np.inf, np.float32)
    side = np.zeros(x.shape, np.float32)
    for (ax, ay), (bx, by) in pairwise(points):
        dx, dy = bx - ax, by - ay
        length = max(dx * dx + dy * dy, 1e-12)
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / length, 0, 1)
        ox, oy = x - ax - along * dx, y - ay - along * dy
        squared = (ox * ox + oy * oy).astype(np.float32)
        nearer = squared < best
        best = np.where(nearer, squared, best)
        side = np.where(nearer, ((x - ax) * dy - (y - ay) * dx) / length**0.5, side).astype(np.float32)
    return np.sqrt(best), side


def jagged(rng: np.random.Generator, start: Point, end: Point, pieces: int, roughness: float) -> list[Point]:
    """A broken line from start to end whose inner corners stray sideways by about `roughness` of its length."""
    ahead = np.asarray(end) - np.asarray(start)
    across = np.asarray((-ahead[1], ahead[0]))
    stray = rng.normal(0, roughness, pieces + 1)
    stray[[0, -1]] = 0
    steps = np.linspace(0, 1, pieces + 1)
    return [(float(p[0]), float(p[1])) for p in np.asarray(start) + steps[:, None] * ahead + stray[:, None] * across]


def dome(x: Field, y: Field, centre: Point, radii: Point, angle: float = 0.0) -> tuple[Field, Field, Field]:
    """A smooth bump (1 - q^2)^2, exactly zero outside an ellipse: its height in [0, 1] and its slope along x and y."""
    u, v = turn(x, y, angle, centre)
    inside = np.clip(1 - (u / radii[0]) ** 2 - (v / radii[1]) ** 2, 0, None)
    du, dv = -4 * inside * u / radii[0] ** 2, -4 * inside * v / radii[1] ** 2
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return inside**2, cos * du - sin * dv, sin * du + cos * dv
