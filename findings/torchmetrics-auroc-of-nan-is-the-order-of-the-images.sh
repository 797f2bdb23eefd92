#!/usr/bin/env bash
# torchmetrics 1.9.0 (CPU): a detector that returns NaN for every image has an AUROC of 0 or of 1, by the order of the images.
#
# BinaryAUROC and BinaryAveragePrecision, which check their input by default, let NaN through. It sorts above every number,
# and no two of them are equal, so each becomes a threshold of its own, in the order that the sort leaves them in. With images in
# order of their folders a training that has diverged is a perfect detector or a perfectly wrong one; with 2000 scores it
# is the other way about than with 8. One NaN among the scores of a perfect detector costs AUROC where the image is normal,
# and nothing where it is a defect. With a number of thresholds given all of it is 0. No warning comes in any case, where
# scikit-learn 1.9.1 raises ValueError.
#
# Output seen (torchmetrics 1.9.0, torch 2.13.0+cpu, with and without AVX2):
#   8 scores of NaN, normal images first: AUROC 0.00, AP 0.37   defects first: AUROC 1.00, AP 1.00
#   2000 scores of NaN, normal images first: AUROC 1.00, AP 1.00   defects first: AUROC 0.00, AP 0.31
#   100 thresholds, either order: AUROC 0.00
#   perfect: AUROC 1.00   one normal image NaN: AUROC 0.75   one defect NaN: AUROC 1.00   scikit-learn: ValueError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchmetrics==1.9.0 scikit-learn==1.9.1
cat >"$folder/nan.py" <<'PYTHON'
import warnings

import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

# A warning would be an error here.
warnings.simplefilter("error")


def figure(metric: BinaryAUROC | BinaryAveragePrecision, scores: torch.Tensor, labels: torch.Tensor) -> str:
    metric.update(scores, labels)
    return f"{type(metric).__name__.removeprefix('Binary').replace('AveragePrecision', 'AP')} {metric.compute().item():.2f}"


def labels(each: int, *, defects_first: bool) -> torch.Tensor:
    return (torch.arange(2 * each) // each) ^ int(defects_first)


for each in (4, 1000):
    nothing = torch.full((2 * each,), torch.nan)
    for first in (False, True):
        seen = [figure(metric, nothing, labels(each, defects_first=first)) for metric in (BinaryAUROC(), BinaryAveragePrecision())]
        print(f"{2 * each} scores of NaN, {'defects' if first else 'normal images'} first: {', '.join(seen)}")
for first in (False, True):
    seen = figure(BinaryAUROC(thresholds=100), torch.full((8,), torch.nan), labels(4, defects_first=first))
    print(f"100 thresholds, {'defects' if first else 'normal images'} first: {seen}")
good, truth = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]), labels(4, defects_first=False)
for name, lost in (("perfect", []), ("one normal image NaN", [0]), ("one defect NaN", [7])):
    print(f"{name}: {figure(BinaryAUROC(), good.index_fill(0, torch.tensor(lost, dtype=torch.long), torch.nan), truth)}")
try:
    roc_auc_score(truth.numpy(), torch.full((8,), torch.nan).numpy())
except ValueError as error:
    print(f"scikit-learn: {type(error).__name__}")
PYTHON
"$folder/venv/bin/python" "$folder/nan.py" | tee "$folder/seen"
diff - "$folder/seen" <<'SEEN' || { echo "the behaviour has changed"; exit 1; }
8 scores of NaN, normal images first: AUROC 0.00, AP 0.37
8 scores of NaN, defects first: AUROC 1.00, AP 1.00
2000 scores of NaN, normal images first: AUROC 1.00, AP 1.00
2000 scores of NaN, defects first: AUROC 0.00, AP 0.31
100 thresholds, normal images first: AUROC 0.00
100 thresholds, defects first: AUROC 0.00
perfect: AUROC 1.00
one normal image NaN: AUROC 0.75
one defect NaN: AUROC 1.00
scikit-learn: ValueError
SEEN
