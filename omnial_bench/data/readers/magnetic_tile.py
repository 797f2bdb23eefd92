"""The magnetic tile data set: one category, photographs as JPEG and masks of the same stem as PNG beside them.

`MT_Free/Imgs` is normal, `MT_{Blowhole,Break,Crack,Fray,Uneven}/Imgs` are the anomalies (Huang et al., "Surface defect
saliency of magnetic tile", The Visual Computer 36, 2020). There is no split: one normal image in five, chosen by the
hash of its path, is for the test. A tile was photographed several times and no name tells which, so one may be in both.
"""

from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, folders, held_out

CATEGORY = "magnetic_tile"
PREFIX = "MT_"
NORMAL = "MT_Free"


def _kinds(root: Path) -> list[Path]:
    return [path for path in folders(root) if path.name.startswith(PREFIX) and (path / "Imgs").is_dir()]


def matches(root: Path) -> bool:
    names = [path.name for path in _kinds(root)]
    return NORMAL in names and len(names) > 1


def read(root: Path) -> Iterator[Sample]:
    for folder in _kinds(root):
        files = decode.image_files(folder / "Imgs")
        photographs = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")]
        masks = {path.stem: path for path in files if path.suffix.lower() == ".png"}
        if folder.name == NORMAL:
            tests = held_out(root, photographs)
            for image in photographs:
                yield Sample(image=image, category=CATEGORY, split="test" if image in tests else "train", label="good")
            continue
        label = folder.name.removeprefix(PREFIX).lower()
        for image in photographs:
            truth = (masks[image.stem],) if image.stem in masks else ()
            yield Sample(image=image, category=CATEGORY, split="test", label=label, masks=truth)


def hint(root: Path) -> str:
    names = [path.name for path in _kinds(root)]
    if not names or matches(root):
        return ""
    lacks = f"{PREFIX}<defect>/Imgs" if NORMAL in names else f"{NORMAL}/Imgs"
    return f"looks like the magnetic tile data set: expected {lacks}, found {', '.join(names)} only"


READER = Reader(
    matches=matches, read=read, looked_for="MT_Free/Imgs/*.jpg and MT_<defect>/Imgs/*.jpg with <stem>.png beside them",
    hint=hint, mask_of=lambda sample: str(sample.image.with_suffix(".png")), normals="MT_Free/Imgs",
    left_alone=(),
)  # fmt: skip
