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
from omnial_bench.data.readers.base import Sample, folders

KINDS = ("logical_anomalies", "structural_anomalies")


def _is_category(path: Path) -> bool:
    return any((path / part / kind).is_dir() for part in ("test", "ground_truth") for kind in KINDS)


def categories(root: Path) -> list[str]:
    return [path.name for path in folders(root) if _is_category(path) or (path / "defects_config.json").is_file()]


def matches(root: Path) -> bool:
    return any((root / name / "train/good").is_dir() and (root / name / "test").is_dir() for name in categories(root))


def read(root: Path) -> Iterator[Sample]:
    for name in categories(root):
        for sample in mvtec.read_category(root / name):
            if sample.label != "good":
                sample = replace(sample, masks=tuple(_masks(sample)), condition=sample.label)
            yield sample


def _masks(sample: Sample) -> list[Path]:
    folder = _folder_of(sample)
    return decode.image_files(folder) if folder.is_dir() else []


def _folder_of(sample: Sample) -> Path:
    return sample.image.parents[2] / "ground_truth" / sample.label / sample.image.stem


def hint(root: Path) -> str:
    if _is_category(root):
        return f"this is one category of MVTec LOCO, try its parent folder {root.resolve().parent}"
    for name in categories(root):
        lacks = [f"{name}/{part}" for part in ("train/good", "test") if not (root / name / part).is_dir()]
        return f"looks like MVTec LOCO: expected {' and '.join(lacks)}"
    return ""


READER = replace(
    mvtec.READER, matches=matches, read=read, hint=hint, categories=categories, left_alone=("*/validation/*",),
    mask_of=lambda sample: f"{_folder_of(sample) / '000.png'}",
    looked_for=f"<category>/train/good/* and <category>/test/{{good,{','.join(KINDS)}}}/*",
)  # fmt: skip
