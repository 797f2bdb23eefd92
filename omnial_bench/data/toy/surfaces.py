"""Two textures of the embedded data set: plain-woven cloth in colour and brushed steel in grey levels."""

import numpy as np

from omnial_bench.data.toy.canvas import Canvas, Cover, Field, distance_to_line, dome, flat, jagged, paint, tint, turn

SPACING = 0.155
"""Distance between threads: 13 across the frame, five pixels of a 64-pixel image."""
HALF = 0.43
"""Half the width of a thread, in spacings."""


def weave(canvas: Canvas, rng: np.random.Generator, defect: str, flaw: np.random.Generator) -> Field:
    """Plain weave of pale warp and blue weft over a dark backing; defects: hole, pulled_thread, fibre."""
    angle, phase = rng.normal(0, 0.035), rng.uniform(0, SPACING, 2)
    shades = 1 + 0.07 * rng.standard_normal((2, 64))
    u, v = turn(canvas.x, canvas.y, angle)
    u = u + phase[0] + 0.010 * canvas.noise(rng, 6)
    v = v + phase[1] + 0.010 * canvas.noise(rng, 6)
    light = 1 + 0.05 * canvas.noise(rng, 3)
    twist = 0.05 * canvas.noise(rng, 96)

    i, j = np.floor(u / SPACING).astype(int), np.floor(v / SPACING).astype(int)
    a, b = (u / SPACING - i - 0.5).astype(np.float32), (v / SPACING - j - 0.5).astype(np.float32)
    warp, weft = np.abs(a) < HALF, np.abs(b) < HALF
    if defect == "hole":
        warp, weft = _hole(flaw, warp, weft, i, j, u, v)
    if defect == "pulled_thread":
        pulled, start, length = int(flaw.integers(-3, 4)), flaw.uniform(-0.35, 0.35), flaw.uniform(0.45, 0.6)
        warp = warp & ~((i == pulled) & (np.abs(v - start) < length))
    over = (i + j) % 2 == 0

    image = flat(canvas, (0.09, 0.08, 0.09))
    # In double precision, as of `objects.Double`.
    across, along = (np.cos((np.pi * place).astype(np.float64)).astype(np.float32) for place in (a, b))
    warp_light = _round(a) * (0.72 + 0.33 * along * np.where(over, 1, -0.3)) * shades[0][i % 64] + twist
    weft_light = _round(b) * (0.72 + 0.33 * across * np.where(over, -0.3, 1)) * shades[1][j % 64] + twist
    warp_colour, weft_colour = tint((0.88, 0.80, 0.64), warp_light), tint((0.22, 0.38, 0.66), weft_light)
    paint(image, weft, weft_colour)
    paint(image, warp & (over | ~weft), warp_colour)
    if defect == "pulled_thread":
        _pulled_thread(flaw, image, (pulled + 0.5) * SPACING, start, length, u, v)
    if defect == "fibre":
        _fibre(flaw, image, u, v)
    return np.asarray(image * light[..., None], np.float32)


def _round(across: Field) -> Field:
    """Light on a thread's round back, by the place across it in spacings."""
    return np.asarray(np.sqrt(np.clip(1 - (0.9 * across / HALF) ** 2, 0.05, None)), np.float32)


def _hole(
    flaw: np.random.Generator, warp: Cover, weft: Cover, i: Field, j: Field, u: Field, v: Field
) -> tuple[Cover, Cover]:
    """Threads torn inside an ellipse, each end at a length of its own."""
    cu, cv = flaw.uniform(-0.45, 0.45, 2)
    ru, rv = flaw.uniform(0.24, 0.38, 2)
    ends = flaw.uniform(-0.6, 0.5, (2, 2, 64)) * SPACING
    middle = ((i + 0.5) * SPACING - cu) / ru, ((j + 0.5) * SPACING - cv) / rv
    reach = [radius * np.sqrt(np.clip(1 - m**2, 0, None)) for radius, m in zip((rv, ru), middle, strict=True)]
    torn = []
    for thread, off, half, own in ((i, v - cv, reach[0], ends[0]), (j, u - cu, reach[1], ends[1])):
        torn.append((half > 0) & (off < half + own[0][thread % 64]) & (off > -half - own[1][thread % 64]))
    return warp & ~torn[0], weft & ~torn[1]


def _pulled_thread(
    flaw: np.random.Generator, image: Field, at: float, start: float, length: float, u: Field, v: Field
) -> None:
    """The missing piece of one warp thread, drawn out to the side as a loop that lies on the cloth."""
    out = float(flaw.uniform(0.30, 0.45) * flaw.choice([-1, 1]))
    steps = np.linspace(-1, 1, 17)
    line = [(at + out * (1 - s * s) ** 2, start + s * length) for s in steps]
    shadow, _ = distance_to_line(u - 0.035, v - 0.035, line)
    paint(image, 0.55 * (shadow < 0.075), (0.03, 0.03, 0.04))
    away, _ = distance_to_line(u, v, line)
    paint(image, away < 0.068, tint((0.93, 0.85, 0.69), _round(away / 0.068 * HALF)))


def _fibre(flaw: np.random.Generator, image: Field, u: Field, v: Field) -> None:
    """A foreign fibre, dark red, that fell across the cloth."""
    a = flaw.uniform(0, 2 * np.pi)
    ends = [(flaw.uniform(0.4, 0.75) * np.cos(t), flaw.uniform(0.4, 0.75) * np.sin(t)) for t in (a, a + np.pi)]
    # A quadratic Bezier curve.
    (x0, y0), (x2, y2), (x1, y1) = *ends, flaw.uniform(-0.9, 0.9, 2)
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t * t) for t in np.linspace(0, 1, 15)]
    line = [(float(p * x0 + q * x1 + r * x2), float(p * y0 + q * y1 + r * y2)) for p, q, r in weights]
    width = flaw.uniform(0.036, 0.050)
    shadow, _ = distance_to_line(u - 0.03, v - 0.03, line)
    paint(image, 0.5 * (shadow < width), (0.03, 0.03, 0.04))
    away, _ = distance_to_line(u, v, line)
    paint(image, away < width, tint((0.66, 0.10, 0.12), _round(away / width * HALF)))


def brushed(canvas: Canvas, rng: np.random.Generator, defect: str, flaw: np.random.Generator) -> Field:
    """Brushed steel sheet, grey levels; defects: dent, gouge, pitting."""
    sheen, tone = rng.uniform(-0.8, 0.8), rng.uniform(0.50, 0.58)
    x, y = turn(canvas.x, canvas.y, rng.normal(0, 0.02))
    coarse, fine = canvas.noise(rng, (64, 4)), canvas.noise(rng, (128, 12))
    bell = np.exp(-(((y - sheen) / 0.5).astype(np.float64) ** 2))
    image = tone + 0.035 * coarse + 0.035 * fine + 0.10 * bell + 0.03 * x
    if defect == "dent":
        centre, radius = tuple(flaw.uniform(-0.55, 0.55, 2)), flaw.uniform(0.24, 0.36)
        _, du, dv = dome(x, y, centre, (radius, radius * flaw.uniform(0.8, 1.0)), flaw.uniform(0, np.pi))
        image = image + radius * 0.16 * (0.5 * du + 0.9 * dv)
    if defect == "gouge":
        image = _gouge(flaw, image, x, y)
    if defect == "pitting":
        image = _pits(flaw, image, x, y)
    return np.asarray(np.clip(image, 0, 1), np.float32)


def _gouge(flaw: np.random.Generator, image: Field, x: Field, y: Field) -> Field:
    """A deep cut across the brushing: dark inside, with a bright burr along one lip."""
    a, half = flaw.uniform(0.35, np.pi - 0.35), flaw.uniform(0.5, 0.8)
    mx, my = flaw.uniform(-0.3, 0.3, 2)
    ends = [(mx + s * half * np.cos(a), my + s * half * np.sin(a)) for s in (-1, 1)]
    away, side = distance_to_line(x, y, jagged(flaw, ends[0], ends[1], 4, 0.025))
    width = flaw.uniform(0.032, 0.048)
    image = np.where((away < width + 0.04) & (side < 0), 0.93, image)
    return np.where(away < width, 0.16 + 0.12 * (side > 0), image).astype(np.float32)


def _pits(flaw: np.random.Generator, image: Field, x: Field, y: Field) -> Field:
    """A cluster of corrosion pits: dark craters whose far wall catches the light."""
    cx, cy = flaw.uniform(-0.5, 0.5, 2)
    for _ in range(flaw.integers(9, 16)):
        px, py = cx + flaw.normal(0, 0.19), cy + flaw.normal(0, 0.19)
        radius = flaw.uniform(0.035, 0.075)
        inside = (x - px) ** 2 + (y - py) ** 2 < radius**2
        far = inside & (x - px + 2 * (y - py) > 0.9 * radius)
        image = np.where(inside, np.where(far, 0.80, 0.17), image)
    return image.astype(np.float32)
