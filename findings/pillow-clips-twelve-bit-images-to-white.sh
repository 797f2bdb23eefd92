#!/usr/bin/env bash
# Pillow 13.0.0: a 16-bit grey PNG, as cameras of 10 to 16 bits write, comes out of `convert("L")` and `convert("RGB")` white.
#
# Both clip at 255 where one expects the values to be scaled: of a 12-bit image whose values run to 4095 all but the darkest
# sixteenth becomes 255, and the picture is flat. `convert("F")` keeps the values as they are, and so does NumPy. No warning
# comes; `open` tells it by its mode alone, `I;16`. A loader that opens with `convert("RGB")`, as most do, trains and scores
# on white images.
#
# Output seen, of values 0, 200, 400, 2000, 4095:
#   mode I;16
#   convert L: 0 200 255 255 255
#   convert RGB: 0 200 255 255 255
#   convert F: 0 200 400 2000 4095
#   numpy: 0 200 400 2000 4095
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cat >"$folder/deep.py" <<'PYTHON'
import io

import numpy as np
from PIL import Image

file = io.BytesIO()
Image.fromarray(np.array([[0, 200, 400, 2000, 4095]], dtype=np.uint16)).save(file, "png")
image = Image.open(file)
print(f"mode {image.mode}")
for mode in ("L", "RGB", "F"):
    values = np.asarray(image.convert(mode)).reshape(5, -1)[:, 0]
    print(f"convert {mode}:", *(int(value) for value in values))
print("numpy:", *(int(value) for value in np.asarray(image).ravel()))
PYTHON
"$folder/venv/bin/python" "$folder/deep.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
mode I;16
convert L: 0 200 255 255 255
convert RGB: 0 200 255 255 255
convert F: 0 200 400 2000 4095
numpy: 0 200 400 2000 4095
SEEN
