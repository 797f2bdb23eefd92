"""The magnetic tile data set: one category, photographs as JPEG and masks of the same stem as PNG beside them.

`MT_Free/Imgs` is normal, `MT_{Blowhole,Break,Crack,Fray,Uneven}/Imgs` are the anomalies (Huang et al., "Surface defect
saliency of magnetic tile", The Visual Computer 36, 2020). There is no split: one normal image in five, chosen by the
hash of its path, is for the test. A tile was photographed several times and no name tells which, so one may be in both.
"""

from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, folders, samples_of, splits_by_hash

CATEGORY = "magnetic_tile"
NORMAL = "MT_Free"


def _kinds(root: Path) -> list[str]:
    return [path.name for path in folders(root) if path.name.startswith("MT_") and (path / "Imgs").is_dir()]


def _matches(root: Path) -> bool:
    kinds = _kinds(root)
    return NORMAL in kinds and len(kinds) > 1


def _read(root: Path) -> Iterator[Sample]:
    for kind in _kinds(root):
        files = decode.image_files(root / kind / "Imgs")
        photographs = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")]
        masks = {path.stem: path for path in files if path.suffix.lower() == ".png"}
        if kind == NORMAL:
            for image, split in splits_by_hash(root, photographs).items():
                yield Sample(image=image, category=CATEGORY, split=split, label="good")
        else:
            yield from samples_of(photographs, CATEGORY, "test", kind.removeprefix("MT_").lower(), masks)


def _hint(root: Path) -> str:
    kinds = _kinds(root)
    if not kinds or _matches(root):
        return ""
    lacks = "MT_<defect>/Imgs" if NORMAL in kinds else f"{NORMAL}/Imgs"
    return f"looks like the magnetic tile data set: expected {lacks}, found {', '.join(kinds)} only"


READER = Reader(
    matches=_matches, read=_read, hint=_hint, normals="MT_Free/Imgs", left_alone=(),
    looked_for="MT_Free/Imgs/*.jpg and MT_<defect>/Imgs/*.jpg with <stem>.png beside them",
    mask_of=lambda sample: str(sample.image.with_suffix(".png")),
)  # fmt: skip
