"""MVTec AD 2: MVTec AD's training images, and a public test whose masks lie inside it.

`<category>/train/good`, `<category>/test_public/{good,bad}`, `<category>/test_public/ground_truth/bad/<stem>_mask`
(Heckler-Kram et al., "The MVTec AD 2 dataset", arXiv 2503.21622, 2025). Stems end in the light: `regular`,
`overexposed`, `underexposed` or `shift_<n>`, which is a label of its own, `bad_shift_1`, and a condition, in which the
normal images of that light stand against it. Of the private tests nothing is known, and validation images are left
alone.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers import mvtec
from omnial_bench.data.readers.base import Sample, by_category, folders, samples_of

LIGHT = re.compile(r"_(regular|overexposed|underexposed|shift_\d+)$")
PARTS = ("train/good", "test_public/good", "test_public/bad", "test_public/ground_truth/bad")


def _is_category(path: Path) -> bool:
    return any(folder.name.startswith(("test_public", "test_private")) for folder in folders(path))


def _read_category(path: Path) -> Iterator[Sample]:
    train, good, bad, truth = (path / part for part in PARTS)
    yield from samples_of(decode.image_files(train), path.name, "train", "good")
    tests = [*samples_of(decode.image_files(good), path.name, "test", "good")]
    tests += samples_of(decode.image_files(bad), path.name, "test", "bad", mvtec.find_masks(truth))
    for sample in tests:
        light = LIGHT.search(sample.image.stem)
        label = f"bad{light[0]}" if light and sample.label == "bad" else sample.label
        yield replace(sample, label=label, condition=light[1] if light else "")


READER = replace(
    by_category("MVTec AD 2", _read_category, _is_category, needed=("train/good", "test_public"), parts=PARTS),
    looked_for="<category>/train/good/* and <category>/test_public/{good,bad}/*",
    mask_of=lambda sample: f"{sample.image.parents[1] / 'ground_truth/bad' / sample.image.stem}_mask.png",
    left_alone=("*/validation/*", "*/test_private*"), normals="{category}/{split}*/good",
)  # fmt: skip
