#!/usr/bin/env bash
# efficientnet-pytorch 0.7.1: of an image of 224 or 256 pixels, B4's strides 8 and 16 are those of the image moved by four pixels,
# its strides 2 and 4 are not.
#
# `from_name` and `from_pretrained` count the zeros around every convolution once, for the size that the model was made for
# (380 pixels for B4, 260 for B2), and images of any size pass without a word. Where that size leaves an odd number of places,
# as B4's 95 at stride 4, two zeros go before and two behind a convolution of side 5; where the image's size leaves an even one,
# as 256 pixels do, TensorFlow, whose weights these are, has one before and two behind. At strides 8 and 16 B4 then gives,
# inside, the features of the image moved four pixels down and to the right, while strides 2 and 4 stay: levels that a
# detector joins, as UniAD does at 224 pixels, are of two places. B0, whose 224 pixels leave 112, 56, 28, 14 and 7 places, is as it
# should be at 256, and so is whoever passes `image_size=None`.
#
# Output seen (white noise, drawn weights; the difference in relation to the features' length, for what was moved within the inner half):
#   b0 at 256 of 224: stride 4 right; stride 8 right; stride 16 right
#   b2 at 256 of 260: stride 4 right; stride 8 off by more than half, that of the moved image; stride 16 off by more than half
#   b4 at 256 of 380: stride 4 right; stride 8 off by more than half, that of the moved image; stride 16 off by more than half, that of the moved image
#   b4 at 380 of 380: stride 4 right; stride 8 right; stride 16 right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 efficientnet-pytorch==0.7.1
cat >"$folder/moved.py" <<'PYTHON'
import torch
from efficientnet_pytorch import EfficientNet

torch.set_grad_enabled(False)


def apart(some: torch.Tensor, others: torch.Tensor) -> float:
    return float((some - others).norm() / others.norm())


def inner(features: torch.Tensor) -> torch.Tensor:
    frame = features.shape[2] // 4
    return features[..., frame:-frame, frame:-frame]


for name, side in (("b0", 256), ("b2", 256), ("b4", 256), ("b4", 380)):
    torch.manual_seed(0)
    network = EfficientNet.from_name(f"efficientnet-{name}").eval()
    counting = EfficientNet.from_name(f"efficientnet-{name}", image_size=None).eval()
    counting.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, side, side)
    seen, right = network.extract_endpoints(image), counting.extract_endpoints(image)
    moved = counting.extract_endpoints(image.roll((4, 4), (2, 3)))
    words = []
    for level in (2, 3, 4):
        key = f"reduction_{level}"
        off = apart(seen[key], right[key])
        moves = apart(inner(seen[key]), inner(moved[key])) < 0.01
        what = "right" if off < 1e-4 else f"off by more than half{', that of the moved image' if moves else ''}"
        assert off < 1e-4 or off > 0.5
        words.append(f"stride {2**level} {what}")
    print(f"{name} at {side} of {network._global_params.image_size}: {'; '.join(words)}")
PYTHON
"$folder/venv/bin/python" "$folder/moved.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
b0 at 256 of 224: stride 4 right; stride 8 right; stride 16 right
b2 at 256 of 260: stride 4 right; stride 8 off by more than half, that of the moved image; stride 16 off by more than half
b4 at 256 of 380: stride 4 right; stride 8 off by more than half, that of the moved image; stride 16 off by more than half, that of the moved image
b4 at 380 of 380: stride 4 right; stride 8 right; stride 16 right
SEEN
