"""How much each corruption does at each of five severities. No torch here.

Chosen for a line with a camera that is fixed: what lamps, lenses, belts and cables do within a shift, not what a
photographer does. docs/protocol.md says what each means at a plant.
"""

from typing import NamedTuple


class Severities(NamedTuple):
    """The sizes of severities 1 to 5, and their unit. Pixels per 256 are of the image's shorter side, so that they say
    the same at any size of a network."""

    unit: str
    sizes: tuple[float, float, float, float, float]
    moves: bool = False
    """Whether the image moves in its frame, and its truth with it."""


CORRUPTIONS: dict[str, Severities] = {
    "gaussian_noise": Severities(
        "standard deviation, as a share of the range of values", (0.02, 0.04, 0.06, 0.10, 0.15)
    ),
    "blur": Severities("standard deviation, in pixels at the network's size", (0.5, 1.0, 1.5, 2.5, 4.0)),
    "brightness": Severities("added to every value, as a share of the range of values", (0.05, 0.10, 0.15, 0.20, 0.30)),
    "contrast": Severities("what is left of the distance to the channel's mean", (0.80, 0.65, 0.50, 0.35, 0.20)),
    "jpeg": Severities("quality by the scale of libjpeg, chroma at half resolution", (80, 60, 40, 20, 10)),
    "light_gradient": Severities("stops of light across the frame", (0.25, 0.5, 1.0, 1.5, 2.0)),
    "white_balance": Severities("stops of light between red and blue", (0.1, 0.2, 0.4, 0.6, 1.0)),
    "glare": Severities("share of the way to white in the middle of the streak", (0.15, 0.3, 0.5, 0.7, 0.9)),
    "defocus": Severities("radius of the disc, in pixels per 256", (1.0, 1.5, 2.5, 4.0, 6.0)),
    "motion_blur": Severities("length of the way, in pixels per 256", (2.0, 4.0, 7.0, 11.0, 16.0)),
    "rotation": Severities("degrees", (0.5, 1.0, 2.0, 3.5, 5.0), moves=True),
    "shift": Severities("pixels per 256", (1.0, 2.0, 4.0, 8.0, 16.0), moves=True),
}
