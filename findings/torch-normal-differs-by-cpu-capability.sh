#!/usr/bin/env bash
# torch 2.13.0 (CPU, x86-64): a seeded generator does not give the same float32 normal numbers on every processor.
#
# `normal_` of fewer than 16 float32 values takes a scalar path and is the same everywhere. From 16 values on it takes a
# vector path whose logarithm and cosine round otherwise with AVX2 than without, so that weights drawn by
# `torch.nn.init.normal_` from one seed differ in their last digits. `uniform_` over a range differs too, in float64 as
# well, for the scaling is fused into one rounding with AVX2. Normal numbers drawn in float64 gave the same bits, and so did
# uniform ones rounded from float64 to float32. ATEN_CPU_CAPABILITY stands for the processor here.
#
# Output seen (AMD EPYC with AVX-512, torch 2.13.0+cpu):
#   float32 normal, 15 values: same   float32 normal, 1000 values: differ   float32 uniform, 1000 values: differ
#   float64 normal, 1000 values: same   float64 uniform, 1000 values: differ   the latter as float32: same
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/draw.py" <<'PYTHON'
import hashlib

import torch

for name, kind, draw, count in (
    ("float32 normal, 15 values", torch.float32, "normal_", 15),
    ("float32 normal, 1000 values", torch.float32, "normal_", 1000),
    ("float32 uniform, 1000 values", torch.float32, "uniform_", 1000),
    ("float64 normal, 1000 values", torch.float64, "normal_", 1000),
    ("float64 uniform, 1000 values", torch.float64, "uniform_", 1000),
    ("float64 uniform, 1000 values, as float32", torch.float64, "uniform_", 1000),
):
    generator = torch.Generator().manual_seed(0)
    limits = {"normal_": (0.0, 0.02), "uniform_": (-0.3, 0.3)}[draw]
    numbers = getattr(torch.empty(count, dtype=kind), draw)(*limits, generator=generator)
    numbers = numbers.float() if name.endswith("as float32") else numbers
    print(name, hashlib.sha256(numbers.numpy().tobytes()).hexdigest()[:16], sep="\t")
PYTHON
for capability in default avx2; do
    ATEN_CPU_CAPABILITY=$capability "$folder/venv/bin/python" "$folder/draw.py" >"$folder/$capability"
done
paste "$folder/default" "$folder/avx2" | awk -F '\t' '{ print $1 ": " ($2 == $4 ? "same" : "differ") }' | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
float32 normal, 15 values: same
float32 normal, 1000 values: differ
float32 uniform, 1000 values: differ
float64 normal, 1000 values: same
float64 uniform, 1000 values: differ
float64 uniform, 1000 values, as float32: same
SEEN
