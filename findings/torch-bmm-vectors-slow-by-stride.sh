#!/usr/bin/env bash
# torch 2.13.0, CPU: the stride of a dimension of size 1 decides whether a batch of matrices times vectors is fast.
#
# `matrices @ vectors.unsqueeze(-1)`, a vector (e) for each of p matrices (m, e), gives the second factor the strides
# (e, 1, 1). The same memory under the strides (e, 1, e), which differ for a dimension that is never stepped along, takes a
# quarter to a sixth of the time: it is then read as a matrix in column order. `vectors.unsqueeze(1).mT` is a view with
# those strides, and `is_contiguous()` is true of both. With a few vectors a matrix, contiguous ones take two to four times
# as long as a transposed view; from 32 on both cost the same. `einsum` is as slow.
#
# Output seen (AMD EPYC, one thread; ratios of processor time):
#   {'256x92x63, 1': 5.5, '1024x56x86, 1': 6.1, '256x256x256, 1': 4.4, '256x256x256, 2': 4.9, '256x92x63, 128': 0.9}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/time.py" <<'PYTHON'
import sys
import time

import torch

torch.set_num_threads(1)


def least(work):
    times = []
    for _ in range(25):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


ratios = {}
for count, rows, columns, given in ((256, 92, 63, 1), (1024, 56, 86, 1), (256, 256, 256, 1), (256, 256, 256, 2), (256, 92, 63, 128)):
    matrices, turned = torch.randn(count, rows, columns), torch.randn(count, given, columns).mT
    plain = turned.clone(memory_format=torch.contiguous_format)
    if given == 1:
        plain = turned[..., 0].unsqueeze(-1)
        assert plain.data_ptr() == turned.data_ptr() and plain.is_contiguous() and turned.is_contiguous()
    assert torch.allclose(torch.bmm(matrices, plain), torch.bmm(matrices, turned), rtol=1e-3, atol=1e-3)
    slow, fast = least(lambda: torch.bmm(matrices, plain)), least(lambda: torch.bmm(matrices, turned))
    ratios[f"{count}x{rows}x{columns}, {given}"] = round(slow / fast, 1)
print(ratios)
*few, many = ratios.values()
if not (min(few) > 2 and many < 1.6):
    sys.exit("the behaviour has changed")
PYTHON
"$folder/venv/bin/python" "$folder/time.py"
