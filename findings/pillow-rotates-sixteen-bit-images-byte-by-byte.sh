#!/usr/bin/env bash
# Pillow 13.0.0: `rotate` and `transform` of a 16-bit grey image with BILINEAR or BICUBIC take each of its bytes for a pixel.
#
# `resize` interpolates mode `I;16` well, and `rotate` with NEAREST, its default, moves the values as they are. With a smoother
# filter both `rotate` and `transform` read every row as one of 8-bit pixels: a transform that moves nothing gives the low and
# the high bytes of the left half in turn, a flat grey of 2000 (0x07D0) rotated by ten degrees values between 7 and 208, and
# nothing is ever above 255. Mode and size are as they should be, and no warning comes. Images of a 12-bit camera
# or a depth sensor that are rotated or warped so, as an augmentation or as a corruption to be robust against, are noise.
# The same values as `I` or `F` are interpolated well, and filters such as GaussianBlur refuse the mode.
#
# Output seen, of a flat 2000, in the middle of the image:
#   I;16 rotate NEAREST: 2000 to 2000   I;16 resize BILINEAR: 2000 to 2000
#   I;16 rotate BILINEAR: 7 to 207   I;16 transform BILINEAR: 107 to 107
#   I rotate BILINEAR: 2000 to 2000   F rotate BILINEAR: 2000 to 2000
#   and of a row 1000, 1001, 1002, 1003 that nothing moves: 232 3 233 3
#   I;16 GaussianBlur: ValueError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cat >"$folder/turn.py" <<'PYTHON'
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

SIZE = (64, 64)
Filter = Image.Resampling
# Half a pixel to the left.
HALF = Image.Transform.AFFINE, (1, 0, 0.5, 0, 1, 0)


def middle(image: Image.Image) -> str:
    seen = np.asarray(image)[16:32, 16:32]
    return f"{int(seen.min())} to {int(seen.max())}"


def flat(kind: type[np.generic]) -> Image.Image:
    return Image.fromarray(np.full(SIZE, 2000, dtype=kind))


ways: dict[str, Callable[[Image.Image], Image.Image]] = {
    "rotate NEAREST": lambda image: image.rotate(10),
    "rotate BILINEAR": lambda image: image.rotate(10, Filter.BILINEAR),
    "transform BILINEAR": lambda image: image.transform(SIZE, *HALF, Filter.BILINEAR),
    "resize BILINEAR": lambda image: image.resize((48, 48), Filter.BILINEAR),
}
for name, way in ways.items():
    print(f"{flat(np.uint16).mode} {name}: {middle(way(flat(np.uint16)))}")
for kind in (np.int32, np.float32):
    print(f"{flat(kind).mode} rotate BILINEAR: {middle(ways['rotate BILINEAR'](flat(kind)))}")
row = Image.fromarray(np.arange(1000, 1004, dtype=np.uint16).reshape(1, 4))
same = row.transform(row.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, 0), Filter.BILINEAR)
print("a row 1000, 1001, 1002, 1003 that nothing moves:", *(int(value) for value in np.asarray(same).ravel()))
try:
    flat(np.uint16).filter(ImageFilter.GaussianBlur(1))
except ValueError as error:
    print(f"I;16 GaussianBlur: {type(error).__name__}")
PYTHON
"$folder/venv/bin/python" "$folder/turn.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
I;16 rotate NEAREST: 2000 to 2000
I;16 rotate BILINEAR: 7 to 207
I;16 transform BILINEAR: 107 to 107
I;16 resize BILINEAR: 2000 to 2000
I rotate BILINEAR: 2000 to 2000
F rotate BILINEAR: 2000 to 2000
a row 1000, 1001, 1002, 1003 that nothing moves: 232 3 233 3
I;16 GaussianBlur: ValueError
SEEN
