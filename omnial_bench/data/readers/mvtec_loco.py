"""MVTec LOCO AD: MVTec AD's layout with several masks an image, a file each, of which any marks a pixel.

`<category>/train/good`, `<category>/test/{good,logical_anomalies,structural_anomalies}`, and masks
`<category>/ground_truth/<kind>/<stem>/<n>` (Bergmann et al., "Beyond dents and scratches", IJCV 130, 2022). The kinds
are labels of their own, and conditions that share the normal images, as the paper has it. Validation images are left
alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Sample, by_category

KINDS = ("logical_anomalies", "structural_anomalies")
PARTS = ("train/good", "test")


def _is_category(path: Path) -> bool:
    return any((path / part / kind).is_dir() for part in ("test", "ground_truth") for kind in KINDS)


def _read_category(path: Path) -> Iterator[Sample]:
    for sample in mvtec.read_category(path):
        if sample.label != "good":
            sample = replace(sample, masks=tuple(decode.image_files(_masks_of(sample))), condition=sample.label)
        yield sample


def _masks_of(sample: Sample) -> Path:
    return sample.image.parents[2] / "ground_truth" / sample.label / sample.image.stem


READER = replace(
    by_category(
        "MVTec LOCO", _read_category, _is_category, needed=PARTS, parts=PARTS, sign="defects_config.json"
    ),
    looked_for=f"<category>/train/good/* and <category>/test/{{good,{','.join(KINDS)}}}/*",
    mask_of=lambda sample: f"{_masks_of(sample) / '000.png'}", left_alone=("*/validation/*",),
    normals="{category}/{split}/good",
)  # fmt: skip
