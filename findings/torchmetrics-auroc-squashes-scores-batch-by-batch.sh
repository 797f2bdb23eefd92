#!/usr/bin/env bash
# torchmetrics 1.9.0: AUROC and average precision of anomaly scores depend on how the scores were split into batches.
#
# BinaryAUROC and BinaryAveragePrecision take scores for logits, and pass them through a sigmoid, wherever one lies outside
# [0, 1]. They decide so in every `update` anew. Distances of a detector are often below 1 in a batch of normal images and
# above it where there is a defect: the first batch is kept as it is, the second is squashed below 1, and the two are ranked
# against each other. A detector that separates all images perfectly scores 1.0 in one batch and less in two. The
# sigmoid is taken in float32, so that scores above 17 all become 1.0: a perfect detector whose distances lie there is at 0.5.
# No warning is given in either case.
#
# Output seen (torchmetrics 1.9.0, torch 2.13.0+cpu):
#   one batch: AUROC 1.00, AP 1.00   normal images first, then defects: AUROC 0.75, AP 0.77   all above 17: AUROC 0.50, AP 0.50
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0
cat >"$folder/batches.py" <<'PYTHON'
import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

NORMAL, DEFECT = torch.tensor([0.10, 0.30, 0.80, 0.95]), torch.tensor([1.2, 1.5, 2.0, 3.0])


def figures(*batches):
    found = []
    for metric in (BinaryAUROC(), BinaryAveragePrecision()):
        for scores, label in batches:
            metric.update(scores, label)
        found.append(metric.compute().item())
    return "AUROC {:.2f}, AP {:.2f}".format(*found)


zeros, ones = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
both, labels = torch.cat((NORMAL, DEFECT)), torch.cat((zeros, ones))
assert NORMAL.max() < DEFECT.min()
print("one batch:", figures((both, labels)))
print("normal images first, then defects:", figures((NORMAL, zeros), (DEFECT, ones)))
print("all above 17:", figures((20 + 10 * both, labels)))
PYTHON
"$folder/venv/bin/python" "$folder/batches.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
one batch: AUROC 1.00, AP 1.00
normal images first, then defects: AUROC 0.75, AP 0.77
all above 17: AUROC 0.50, AP 0.50
SEEN
