#!/usr/bin/env bash
# torch 2.13.0, CPU: in channels-last order `group_norm` is wrong where the values of a group lie close about a large mean.
#
# The error is that of taking the square of the mean from the mean of the squares in float32: a few per cent of a deviation with a mean of a
# hundred deviations, ten deviations with a mean of a thousand, and more on a larger frame. So it is in channels behind a flat part of an
# image. In contiguous order the same call on the same values is right to float32. Channels-last is the order that makes convolutions fast.
# Nothing warns. Seen with the vector instructions of AVX2 and with none.
#
# Output seen (largest error, where the deviation of what is right is 1):
#   mean 0, deviation 1, 256x256: contiguous at most 1e-3, channels-last at most 1e-3
#   mean 10, deviation 0.1, 64x64: contiguous at most 1e-3, channels-last more than 0.01
#   mean 10, deviation 0.1, 256x256: contiguous at most 1e-3, channels-last more than 0.1
#   mean 10, deviation 0.01, 64x64: contiguous at most 1e-3, channels-last more than 5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/norm.py" <<'PYTHON'
import numpy as np
import torch
from torch.nn import functional as F

torch.set_num_threads(1)
CHANNELS, GROUPS, EPS = 32, 8, 1e-5


def exact(values: np.ndarray) -> np.ndarray:
    groups = values.astype(np.float64).reshape(len(values), GROUPS, -1)
    centred = groups - groups.mean(2, keepdims=True)
    return (centred / np.sqrt(groups.var(2, keepdims=True) + EPS)).reshape(values.shape)


def error_of(values: np.ndarray, order: torch.memory_format) -> float:
    features = torch.from_numpy(values).to(memory_format=order)
    return float(np.abs(F.group_norm(features, GROUPS, eps=EPS).numpy() - exact(values)).max())


def told(error: float) -> str:
    return next((f"more than {bound:g}" for bound in (5, 0.1, 0.01, 1e-3) if error > bound), "at most 1e-3")


generator = np.random.default_rng(0)
for mean, deviation, side in ((0, 1, 256), (10, 0.1, 64), (10, 0.1, 256), (10, 0.01, 64)):
    noise = generator.standard_normal((2, CHANNELS, side, side))
    values = (mean + deviation * noise).astype(np.float32)
    errors = [error_of(values, order) for order in (torch.contiguous_format, torch.channels_last)]
    print(f"mean {mean}, deviation {deviation}, {side}x{side}: contiguous {told(errors[0])}, channels-last {told(errors[1])}")
PYTHON
for capability in default avx2; do
  ATEN_CPU_CAPABILITY=$capability "$folder/venv/bin/python" "$folder/norm.py" | tee "$folder/seen"
  diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
mean 0, deviation 1, 256x256: contiguous at most 1e-3, channels-last at most 1e-3
mean 10, deviation 0.1, 64x64: contiguous at most 1e-3, channels-last more than 0.01
mean 10, deviation 0.1, 256x256: contiguous at most 1e-3, channels-last more than 0.1
mean 10, deviation 0.01, 64x64: contiguous at most 1e-3, channels-last more than 5
SEEN
done
