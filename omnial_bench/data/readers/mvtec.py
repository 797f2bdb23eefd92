"""MVTec AD's layout and those that are made like it: of MPDD, BTAD, VisA with one class, MVTec LOCO AD and MVTec AD 2.

MVTec AD, and MPDD: `<category>/train/good`, `<category>/test/<good or defect>`, and masks
`<category>/ground_truth/<defect>/<stem>_mask` (Bergmann et al., "MVTec AD", CVPR 2019). A mask may bear its image's own
name as well.

BTAD has `ok` for `good`, `ko` for the one kind of defect, and masks of any extension (Mishra et al., "VT-ADL", ISIE
2021). VisA has one defect folder, `bad`, and masks of the image's own name (Zou et al., "SPot-the-Difference
Self-Supervised Pre-training for Anomaly Detection and Segmentation", ECCV 2022).

MVTec LOCO AD has several masks an image, `<category>/ground_truth/<kind>/<stem>/<n>`, of which any marks a pixel
(Bergmann et al., "Beyond dents and scratches", IJCV 130, 2022). The kinds, `logical_anomalies` and
`structural_anomalies`, are labels of their own, and conditions that share the normal images, as the paper has it.

MVTec AD 2 has a public test whose masks lie inside it: `<category>/test_public/{good,bad}` and
`<category>/test_public/ground_truth/bad/<stem>_mask` (Heckler-Kram et al., "The MVTec AD 2 dataset", arXiv 2503.21622,
2025). Stems end in the light: `regular`, `overexposed`, `underexposed` or `shift_<n>`, which is a label of its own,
`bad_shift_1`, and a condition, in which the normal images of that light stand against it. Of the private tests nothing
is known. Of both, validation images are left alone.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, by_category, folders, samples_of

LOOKED_FOR = "<category>/train/good/* and <category>/test/<good or defect>/*"
BTAD_PARTS = ("train/ok", "test/ok", "test/ko")
BTAD_NEEDED = ("train/ok", "test/ko")
LOCO_KINDS = ("logical_anomalies", "structural_anomalies")
AD2_PARTS = ("train/good", "test_public/good", "test_public/bad", "test_public/ground_truth/bad")
AD2_LIGHT = re.compile(r"_(regular|overexposed|underexposed|shift_\d+)$")


def _is_category(path: Path) -> bool:
    return (path / "train" / "good").is_dir() or bool(folders(path / "test"))


def is_part(root: Path) -> bool:
    """Whether the folder is the test split, say, of a category that has its training images beside it."""
    root = root.resolve()
    return root.name in ("train", "test", "ground_truth") and (root.parent / "train" / "good").is_dir()


def claims(root: Path) -> bool:
    """Whether the folder or one in it has a split with `good`, as no other layout does: what else lies there is then
    no reason to take it for another one's."""
    return any((path / split / "good").is_dir() for path in (root, *folders(root)) for split in ("train", "test"))


def _read_category(path: Path, *, normal: str = "good") -> Iterator[Sample]:
    """The samples of one category whose normal images lie in folders called `normal`."""
    yield from samples_of(decode.image_files(path / "train" / normal), path.name, "train", "good")
    for folder in folders(path / "test"):
        label = "good" if folder.name == normal else folder.name
        masks = {} if label == "good" else _find_masks(path / "ground_truth" / label)
        yield from samples_of(decode.image_files(folder), path.name, "test", label, masks)


def _find_masks(folder: Path) -> dict[str, Path]:
    """Mask files by the stem of the image that each belongs to; `<stem>_mask` goes before `<stem>`."""
    files = decode.image_files(folder)
    plain = {path.stem: path for path in files}
    return plain | {path.stem.removesuffix("_mask"): path for path in files if path.stem.endswith("_mask")}


def _mask_of(sample: Sample) -> str:
    truth = sample.image.parents[2] / "ground_truth" / sample.label
    return f"{truth / sample.image.stem}_mask.png or the same without '_mask'"


def _hint(root: Path) -> str:
    root = root.resolve()
    if _is_category(root):
        return f"this is one category, try its parent folder {root.parent}"
    if is_part(root):
        return f"this is a part of one category, try the folder of all categories {root.parents[1]}"
    return ""


READER = replace(
    by_category("MVTec AD", _read_category, _is_category, needed=()),
    looked_for=LOOKED_FOR, hint=_hint, mask_of=_mask_of, left_alone=(), normals="{category}/{split}/good",
)  # fmt: skip


def _btad_parts(path: Path) -> list[str]:
    """What of BTAD's layout a category has; nothing where a folder is called otherwise, which is another layout's."""
    inner = [f"{part}/{folder.name}" for part in ("train", "test") for folder in folders(path / part)]
    return inner if set(inner) <= set(BTAD_PARTS) else []


def _btad_categories(root: Path) -> list[str]:
    return [] if claims(root) else [path.name for path in folders(root) if _btad_parts(path)]


def _btad_hint(root: Path) -> str:
    if set(BTAD_NEEDED) <= set(_btad_parts(root)):
        return f"this is one category of BTAD, try its parent folder {root.resolve().parent}"
    for category in _btad_categories(root):
        parts = _btad_parts(root / category)
        lacks = " and ".join(f"{category}/{part}" for part in BTAD_NEEDED if part not in parts)
        return f"looks like BTAD: expected {lacks}, found {', '.join(f'{category}/{part}' for part in parts)} only"
    return ""


BTAD = Reader(
    matches=lambda root: any(set(BTAD_NEEDED) <= set(_btad_parts(root / name)) for name in _btad_categories(root)),
    read=lambda root: (
        sample for name in _btad_categories(root) for sample in _read_category(root / name, normal="ok")
    ),
    looked_for="<category>/train/ok/* and <category>/test/{ok,ko}/*", hint=_btad_hint, categories=_btad_categories,
    mask_of=lambda sample: f"{sample.image.parents[2] / 'ground_truth/ko' / sample.image.stem}.png", left_alone=(),
    normals="{category}/{split}/ok",
)  # fmt: skip


def _is_visa(root: Path) -> bool:
    bad = False
    for sample in READER.read(root):
        if sample.label not in ("good", "bad") or any(mask.stem.endswith("_mask") for mask in sample.masks):
            return False
        bad = bad or sample.label == "bad"
    return bad


# What almost matches is in MVTec AD's layout.
VISA = replace(READER, matches=_is_visa, hint=lambda _: "")


def _is_loco(path: Path) -> bool:
    return any((path / part / kind).is_dir() for part in ("test", "ground_truth") for kind in LOCO_KINDS)


def _read_loco(path: Path) -> Iterator[Sample]:
    for sample in _read_category(path):
        if sample.label != "good":
            sample = replace(sample, masks=tuple(decode.image_files(_loco_masks(sample))), condition=sample.label)
        yield sample


def _loco_masks(sample: Sample) -> Path:
    return sample.image.parents[2] / "ground_truth" / sample.label / sample.image.stem


LOCO = replace(
    by_category(
        "MVTec LOCO", _read_loco, _is_loco, needed=("train/good", "test"), sign="defects_config.json"
    ),
    looked_for=f"<category>/train/good/* and <category>/test/{{good,{','.join(LOCO_KINDS)}}}/*",
    mask_of=lambda sample: f"{_loco_masks(sample) / '000.png'}", left_alone=("*/validation/*",),
    normals="{category}/{split}/good",
)  # fmt: skip


def _is_ad2(path: Path) -> bool:
    return any(folder.name.startswith(("test_public", "test_private")) for folder in folders(path))


def _read_ad2(path: Path) -> Iterator[Sample]:
    train, good, bad, truth = (path / part for part in AD2_PARTS)
    yield from samples_of(decode.image_files(train), path.name, "train", "good")
    tests = [*samples_of(decode.image_files(good), path.name, "test", "good")]
    tests += samples_of(decode.image_files(bad), path.name, "test", "bad", _find_masks(truth))
    for sample in tests:
        light = AD2_LIGHT.search(sample.image.stem)
        label = f"bad{light[0]}" if light and sample.label == "bad" else sample.label
        yield replace(sample, label=label, condition=light[1] if light else "")


AD2 = replace(
    by_category("MVTec AD 2", _read_ad2, _is_ad2, needed=("train/good", "test_public"), parts=AD2_PARTS),
    looked_for="<category>/train/good/* and <category>/test_public/{good,bad}/*",
    mask_of=lambda sample: f"{sample.image.parents[1] / 'ground_truth/bad' / sample.image.stem}_mask.png",
    left_alone=("*/validation/*", "*/test_private*"), normals="{category}/{split}*/good",
)  # fmt: skip
