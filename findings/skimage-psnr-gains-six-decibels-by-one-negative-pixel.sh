#!/usr/bin/env bash
# scikit-image 0.26.0: one pixel of -1e-9 in the true image raises the PSNR of float images by 6.02 decibels.
#
# Without `data_range`, `peak_signal_noise_ratio` takes 1 for a float image without negative values and 2 otherwise, by the
# smallest value of the first image alone. An image that was resized with a kernel that rings, sharpened, warped or brought
# back from normalised values has some pixels a rounding below 0: half of a data set is then measured on another scale than
# the other half, and nothing is said. The second image may hold any values; the order of the two so decides as well.
# The same module's `structural_similarity` refuses float images without `data_range`.
#
# Output seen:
#   both within [0, 1]: 26.20 dB
#   one pixel of the true image at -1e-9: 32.22 dB
#   one pixel of the other at -1e-9: 26.20 dB
#   the true image with data_range=1: 26.20 dB
#   structural_similarity without data_range: ValueError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-image==0.26.0 numpy==2.4.6
cat >"$folder/psnr.py" <<'PYTHON'
import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

generator = np.random.default_rng(0)
true = generator.random((64, 64))
other = np.clip(true + generator.normal(0, 0.05, true.shape), 0, 1)


def dipped(image: np.ndarray) -> np.ndarray:
    lower = image.copy()
    lower[0, 0] = -1e-9
    return lower


# The pixel that dips is made alike in both, so that the error itself does not move.
true[0, 0] = other[0, 0] = 0.0
print(f"both within [0, 1]: {peak_signal_noise_ratio(true, other):.2f} dB")
print(f"one pixel of the true image at -1e-9: {peak_signal_noise_ratio(dipped(true), other):.2f} dB")
print(f"one pixel of the other at -1e-9: {peak_signal_noise_ratio(true, dipped(other)):.2f} dB")
print(f"the true image with data_range=1: {peak_signal_noise_ratio(dipped(true), other, data_range=1):.2f} dB")
try:
    structural_similarity(true, other)
except ValueError as error:
    print(f"structural_similarity without data_range: {type(error).__name__}")
PYTHON
"$folder/venv/bin/python" "$folder/psnr.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
both within [0, 1]: 26.20 dB
one pixel of the true image at -1e-9: 32.22 dB
one pixel of the other at -1e-9: 26.20 dB
the true image with data_range=1: 26.20 dB
structural_similarity without data_range: ValueError
SEEN
