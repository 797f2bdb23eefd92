"""VisA's official one-class layout: MVTec AD's with one defect folder, `bad`, and masks of the image's own name.

Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and Segmentation", ECCV 2022.
"""

from dataclasses import replace
from pathlib import Path

from omnial_bench.data.readers import mvtec


def matches(root: Path) -> bool:
    bad = False
    for sample in mvtec.read(root):
        if sample.label not in ("good", "bad") or any(mask.stem.endswith("_mask") for mask in sample.masks):
            return False
        bad = bad or sample.label == "bad"
    return bad


# What almost matches is in MVTec AD's layout.
READER = replace(mvtec.READER, matches=matches, hint=lambda root: "")  # noqa: ARG005
