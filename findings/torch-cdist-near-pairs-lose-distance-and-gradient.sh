#!/usr/bin/env bash
# torch 2.13.0 (CPU): from 26 rows on, torch.cdist gives near neighbours a distance of 0 and no gradient.
#
# With at most 25 rows on either side it takes differences. With more, by its default `compute_mode`, it expands
# |a|^2 + |b|^2 - 2ab in float32, where two vectors that lie close together and far from the origin, as features of a network
# do, cancel. Here a memory holds vectors of 512 values between 4 and 6, and each query is one of them moved by a
# thousandth of their range. What is lost: the distance (more than half become exactly 0, others come out four times too
# long), and with it the gradient, which is 0 for these and turned for the rest. So a nearest-neighbour score of one
# image is right when it is computed alone and wrong in a batch, and a gradient attack on it finds nothing to climb.
# `compute_mode="donot_use_mm_for_euclid_dist"` is exact. The same call on the same first 25 rows is right.
#
# Output seen (AMD EPYC, torch 2.13.0+cpu):
#   25 rows: distances right   26 rows: distances wrong
#   1000 rows: more than half are 0, whose gradient is 0   1000 rows, no matrix product: distances right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/near.py" <<'PYTHON'
import torch

generator = torch.Generator().manual_seed(0)
memory = 4 + 2 * torch.rand(1000, 512, generator=generator)
queries = memory + 1e-3 * torch.randn(memory.shape, generator=generator)
exact = (queries.double() - memory.double()).norm(dim=1)


def verdict(distances):
    worst = (distances / exact[: len(distances)] - 1).abs().max().item()
    return "right" if worst < 1e-3 else "wrong"


for rows in (25, 26):
    print(f"{rows} rows: distances {verdict(torch.cdist(queries[:rows], memory[:rows]).diagonal())}")
moved = queries.clone().requires_grad_()
nearest = torch.cdist(moved, memory).amin(1)
(gradient,) = torch.autograd.grad(nearest.sum(), moved)
none = nearest == 0
share, still = none.float().mean().item(), not gradient[none].any()
print(f"1000 rows: {'more than half are 0' if share > 0.5 else share}, whose gradient is {'0' if still else 'not 0'}")
plain = torch.cdist(queries, memory, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
print(f"1000 rows, no matrix product: distances {verdict(plain)}")
PYTHON
"$folder/venv/bin/python" "$folder/near.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
25 rows: distances right
26 rows: distances wrong
1000 rows: more than half are 0, whose gradient is 0
1000 rows, no matrix product: distances right
SEEN
