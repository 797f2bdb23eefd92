"""Two objects of the embedded data set: a steel gear on dark felt and a printed bottle cap on a pale bench."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from omnial_bench.data.toy.canvas import Canvas, Cover, Field, distance_to_line, dome, flat, jagged, paint, tint, turn

Double = npt.NDArray[np.float64]
"""As a field. Angles and what is made of them are of this kind: NumPy's arctan2, power and exp have other last digits
with AVX-512 than without, and its sine and cosine without FMA. In single precision that moved a grey level in one
image of 200; rounded from double precision it cannot, but for one value in 2^29."""
TEETH, FLUTES = 14, 21
BORE, HUB, WEB, ROOT, TIP = 0.17, 0.31, 0.54, 0.70, 0.86


def gear(canvas: Canvas, rng: np.random.Generator, defect: str, flaw: np.random.Generator) -> Field:
    """A turned spur gear in a fixture; defects: broken_tooth, crack, rust."""
    angle, light = rng.normal(0.3, 0.05), rng.normal(-2.2, 0.15)
    centre, scale = tuple(rng.uniform(-0.02, 0.02, 2)), rng.uniform(0.98, 1.02)
    brightness, grooves = rng.uniform(0.92, 1.08), rng.standard_normal(96)
    image = flat(canvas, (0.10, 0.12, 0.15))
    image *= (1 + 0.10 * canvas.noise(rng, 48) + 0.12 * (-canvas.x - canvas.y))[..., None]

    u, v = turn(canvas.x, canvas.y, angle, centre, scale)
    r, theta = _polar(u, v)
    body = _gear_outline(u, v, r, theta)
    edge = np.zeros(r.shape, bool)
    if defect == "broken_tooth":
        body, edge = _break_teeth(flaw, body, r, theta)

    image *= (1 - 0.6 * _shadow(canvas, body, 0.045, 0.03))[..., None]

    # Turned steel mirrors the light in two opposite fans; chamfers catch it on the side that faces it.
    toward = np.cos(theta + angle - light)
    spun = np.interp(r, np.linspace(0, 1, grooves.size), grooves).astype(np.float32)
    fan = np.asarray(0.56 + 0.16 * np.square(np.square(toward)) + 0.04 * spun, np.float32)
    fan *= np.where((r > HUB) & (r < WEB), 0.80, 1.0)
    for radius, sign in ((BORE + 0.02, -1), (HUB, 1), (WEB, -1), (ROOT - 0.04, 1)):
        fan += sign * 0.20 * toward * np.clip(1 - np.abs(r - radius) / 0.035, 0, None)
    fan *= brightness * (1 + 0.03 * canvas.noise(rng, 24))
    steel = tint((0.96, 0.98, 1.02), fan)
    if defect == "broken_tooth":
        rough = np.clip(canvas.noise(flaw, 40), -1, 1)
        paint(steel, edge, tint((1.0, 0.98, 0.94), 0.50 + 0.42 * rough))
    if defect == "rust":
        _rust(canvas, flaw, steel, u, v)
    if defect == "crack":
        _crack(flaw, steel, u, v)
    paint(image, body, steel)
    return image


def _polar(u: Field, v: Field) -> tuple[Field, Double]:
    """Distance from the centre and angle in radians."""
    return np.hypot(u, v), np.arctan2(v.astype(np.float64), u.astype(np.float64))


def _shadow(canvas: Canvas, body: Cover, offset: float, blur: float) -> Field:
    """Of a body, moved down and to the right; in shares of the frame."""
    shift = round(offset * canvas.side)
    moved = np.roll(body, (shift, shift // 2), (0, 1)).astype(np.float32)
    return np.asarray(uniform_filter(moved, max(1, round(blur * canvas.side))))


def _gear_outline(u: Field, v: Field, r: Field, theta: Double) -> Cover:
    within = np.abs((theta * TEETH / (2 * np.pi)) % 1 - 0.5)
    flank = np.clip((0.31 - within) / 0.12, 0, 1)
    body = (r < ROOT + (TIP - ROOT) * flank) & (r > BORE)
    body &= ~((np.abs(v) < 0.055) & (u > 0) & (u < BORE + 0.07))
    for hole in range(6):
        a = (hole + 0.5) * np.pi / 3
        body &= (u - 0.425 * np.cos(a)) ** 2 + (v - 0.425 * np.sin(a)) ** 2 > 0.066**2
    return np.asarray(body)


def _break_teeth(flaw: np.random.Generator, body: Cover, r: Field, theta: Double) -> tuple[Cover, Cover]:
    """Two or three teeth broken off with a piece of the rim; the rough face of the break is left bright."""
    at, half = flaw.uniform(0, 2 * np.pi), flaw.uniform(0.36, 0.62)
    away = np.abs((theta - at + np.pi) % (2 * np.pi) - np.pi)
    corners = np.linspace(-1, 1, 9)
    depth = ROOT - 0.16 * (1 - corners**2) + flaw.uniform(-0.035, 0.035, corners.size)
    signed = ((theta - at + np.pi) % (2 * np.pi) - np.pi) / half
    limit = np.interp(signed, corners, depth)
    gone = (away < half) & (r > limit)
    face = (away < half) & (r > limit - 0.06)
    return body & ~gone, face & body & ~gone


def _rust(canvas: Canvas, flaw: np.random.Generator, steel: Field, u: Field, v: Field) -> None:
    at, reach = flaw.uniform(0, 2 * np.pi), flaw.uniform(0.5, 0.68)
    patch = _blob(flaw, u, v, (reach * np.cos(at), reach * np.sin(at)), flaw.uniform(0.24, 0.34))
    grain = canvas.noise(flaw, 44)
    paint(steel, patch & (grain > -1.1), tint((0.62, 0.30, 0.12), 0.85 + 0.22 * np.clip(grain, -1, 1)))
    paint(steel, patch & (grain > 0.9), (0.26, 0.12, 0.06))


def _blob(rng: np.random.Generator, x: Field, y: Field, centre: tuple[float, float], radius: float) -> Cover:
    """An irregular patch: discs that touch around `centre`, about `radius` in all."""
    cover = np.zeros(x.shape, bool)
    for _ in range(14):
        angle, reach, size = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.65), rng.uniform(0.25, 0.55)
        cx, cy = centre[0] + radius * reach * np.cos(angle), centre[1] + radius * reach * np.sin(angle)
        cover |= (x - cx) ** 2 + (y - cy) ** 2 < (radius * size) ** 2
    return cover


def _crack(flaw: np.random.Generator, steel: Field, u: Field, v: Field) -> None:
    a = flaw.uniform(0, 2 * np.pi)
    b = a + flaw.uniform(-0.35, 0.35)
    start, end = (0.14 * np.cos(a), 0.14 * np.sin(a)), (0.88 * np.cos(b), 0.88 * np.sin(b))
    away, side = distance_to_line(u, v, jagged(flaw, start, end, 8, 0.06))
    width = flaw.uniform(0.030, 0.042) * (0.55 + 0.6 * np.hypot(u, v))
    paint(steel, (away < width + 0.028) & (side > 0), (0.92, 0.94, 0.96))
    paint(steel, away < width, (0.05, 0.05, 0.06))


def cap(canvas: Canvas, rng: np.random.Generator, defect: str, flaw: np.random.Generator) -> Field:
    """A crown cap with a printed star, in a fixture, seen from above; defects: dent, misprint, scratch."""
    angle, light = rng.normal(0.3, 0.05), rng.normal(-2.2, 0.15)
    centre, scale = tuple(rng.uniform(-0.02, 0.02, 2)), rng.uniform(0.98, 1.02)
    red = (rng.uniform(0.56, 0.62), rng.uniform(0.07, 0.10), rng.uniform(0.09, 0.12))
    image = flat(canvas, (0.83, 0.81, 0.77))
    image *= (1 + 0.012 * canvas.noise(rng, 40) - 0.05 * (canvas.x + canvas.y))[..., None]

    u, v = turn(canvas.x, canvas.y, angle, centre, scale)
    slope_u, slope_v = np.zeros_like(u), np.zeros_like(u)
    if defect == "dent":
        u, v, slope_u, slope_v = _dent(flaw, u, v)
    r, theta = _polar(u, v)
    flute = np.cos(FLUTES * theta)
    body = r < 0.84 * (1 + 0.035 * flute)

    image *= (1 - 0.45 * _shadow(canvas, body, 0.05, 0.04))[..., None]

    # A low dome: the light falls off across the top, and the fluted skirt turns away from it.
    lu, lv = np.cos(light - angle), np.sin(light - angle)
    toward = u * lu + v * lv + 0.9 * (slope_u * lu + slope_v * lv)
    skirt = np.clip((r - 0.68) / 0.06, 0, 1)
    lit = 0.90 + 0.22 * toward + skirt * (0.10 * flute + 0.25 * toward - 0.16)
    lit += 0.25 * np.clip(1 - np.abs(r - 0.68) / 0.03, 0, None) * np.clip(toward + 0.3, 0, None)
    colour = tint(red, lit)
    print_cover = _star(u, v)
    if defect == "misprint":
        print_cover = _misprint(flaw, print_cover, u, v)
    paint(colour, print_cover, tint((0.94, 0.88, 0.70), 0.92 + 0.16 * toward))
    gloss = np.clip(1 - ((u - 0.34 * lu - 0.3 * slope_u) ** 2 + (v - 0.34 * lv - 0.3 * slope_v) ** 2) / 0.09, 0, None)
    paint(colour, 0.38 * gloss**2 * (1 - skirt), (1.0, 0.98, 0.95))
    if defect == "scratch":
        _bare_scratch(flaw, colour, u, v)
    paint(image, body, colour)
    return image


def _star(u: Field, v: Field) -> Cover:
    """A five-pointed star inside a ring."""
    r, theta = _polar(u, v)
    sector = np.abs((theta * 5 / (2 * np.pi)) % 1 - 0.5) * (2 * np.pi / 5)
    # The edge from the tip (angle 0) to the notch ( angle 36 degrees), in polar form.
    tip, notch, wide = 0.42, 0.18, np.pi / 5
    edge = tip * notch * np.sin(wide) / (tip * np.sin(sector) + notch * np.sin(wide - sector))
    return np.asarray((r < edge) | (np.abs(r - 0.55) < 0.045))


def _misprint(flaw: np.random.Generator, cover: Cover, u: Field, v: Field) -> Cover:
    """Ink missing on one side of a ragged line, or the print struck twice."""
    angle = flaw.uniform(0, 2 * np.pi)
    if flaw.uniform() < 0.5:
        along, across = turn(u, v, angle)
        corners = np.linspace(-0.7, 0.7, 12)
        return cover & (across < np.interp(along, corners, 0.02 + flaw.uniform(-0.06, 0.06, corners.size)))
    step = flaw.uniform(0.12, 0.18)
    again: Cover = cover | _star(u - step * np.cos(angle), v - step * np.sin(angle))
    return again


def _dent(flaw: np.random.Generator, u: Field, v: Field) -> tuple[Field, Field, Field, Field]:
    """A blow on the cap: the sheet is pushed in, which bends the print and turns the surface to and from the light."""
    at, reach = flaw.uniform(0, 2 * np.pi), flaw.uniform(0.25, 0.62)
    radii = (flaw.uniform(0.34, 0.46), flaw.uniform(0.24, 0.32))
    _, du, dv = dome(u, v, (reach * np.cos(at), reach * np.sin(at)), radii, flaw.uniform(0, np.pi))
    depth = flaw.uniform(0.17, 0.24)
    return u + 0.16 * depth * du, v + 0.16 * depth * dv, depth * du, depth * dv


def _bare_scratch(flaw: np.random.Generator, colour: Field, u: Field, v: Field) -> None:
    """Paint scraped off to the metal by one or two strokes, with the ridge's shadow along one side."""
    a, half = flaw.uniform(0, 2 * np.pi), flaw.uniform(0.4, 0.6)
    middle = flaw.uniform(-0.25, 0.25, 2)
    for stroke in range(flaw.integers(1, 3)):
        shift = middle + 0.13 * stroke * np.asarray((-np.sin(a), np.cos(a)))
        ends = [tuple(float(c) for c in shift + s * half * np.asarray((np.cos(a), np.sin(a)))) for s in (-1, 1)]
        line = jagged(flaw, (ends[0][0], ends[0][1]), (ends[1][0], ends[1][1]), 5, 0.03)
        away, side = distance_to_line(u, v, line)
        width = flaw.uniform(0.030, 0.045)
        paint(colour, (away < width + 0.03) & (side > 0), (0.16, 0.03, 0.04))
        paint(colour, away < width, tint((0.80, 0.81, 0.83), 1 + side / (4 * width)))
