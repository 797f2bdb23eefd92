#!/usr/bin/env bash
# scikit-image 0.26.0: by the SSIM of Wang et al. (2004) a defect at the frame of an image costs ten to two hundred times less than inside.
#
# The value is the mean over what lies further from the frame than the radius of the Gaussian window, five pixels; what is out there is
# felt only by the tails of windows further in. The map that `full=True` returns holds it at its whole size, so that the mean of the map
# is not the value returned beside it. A network that reconstructs the margin of every image badly, as convolutions padded by zeros may,
# has nearly the SSIM of one that does not. PSNR weighs all pixels alike.
#
# Output seen (scikit-image 0.26.0, scipy 1.17.1, numpy 2.4.6), a texture of 256x256, a patch of 4x4 or a row of 156x1 turned black:
#   patch in the middle: SSIM falls by 6.5e-04, the mean of its map by 6.0e-04, PSNR 44.9 dB
#   patch at the side: SSIM falls by 6.4e-05, the mean of its map by 6.4e-04, PSNR 44.9 dB
#   patch in the corner: SSIM falls by 1.3e-05, the mean of its map by 3.7e-04, PSNR 44.9 dB
#   row in the middle: SSIM falls by 1.4e-02, the mean of its map by 1.3e-02, PSNR 31.5 dB
#   row at the top: SSIM falls by 6.5e-05, the mean of its map by 7.3e-03, PSNR 31.5 dB
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6
cat >"$folder/frame.py" <<'PYTHON'
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

SIDE = 256
WANG = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
texture = gaussian_filter(np.random.default_rng(0).random((SIDE, SIDE)), 2)
texture = (texture - texture.min()) / (texture.max() - texture.min())


def tell(where: str, rows: slice, columns: slice) -> None:
    # What turns black is the same everywhere but for its place.
    image = texture.copy()
    height, width = image[rows, columns].shape
    image[rows, columns] = texture[100 : 100 + height, 100 : 100 + width]
    changed = image.copy()
    changed[rows, columns] = 0
    value, each = structural_similarity(image, changed, full=True, **WANG)
    ratio = peak_signal_noise_ratio(image, changed, data_range=1)
    print(f"{where}: SSIM falls by {1 - value:.1e}, the mean of its map by {1 - each.mean():.1e}, PSNR {ratio:.1f} dB")


tell("patch in the middle", slice(100, 104), slice(100, 104))
tell("patch at the side", slice(100, 104), slice(0, 4))
tell("patch in the corner", slice(0, 4), slice(0, 4))
tell("row in the middle", slice(100, 101), slice(0, SIDE - 100))
tell("row at the top", slice(0, 1), slice(0, SIDE - 100))
PYTHON
"$folder/venv/bin/python" "$folder/frame.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
patch in the middle: SSIM falls by 6.5e-04, the mean of its map by 6.0e-04, PSNR 44.9 dB
patch at the side: SSIM falls by 6.4e-05, the mean of its map by 6.4e-04, PSNR 44.9 dB
patch in the corner: SSIM falls by 1.3e-05, the mean of its map by 3.7e-04, PSNR 44.9 dB
row in the middle: SSIM falls by 1.4e-02, the mean of its map by 1.3e-02, PSNR 31.5 dB
row at the top: SSIM falls by 6.5e-05, the mean of its map by 7.3e-03, PSNR 31.5 dB
SEEN
