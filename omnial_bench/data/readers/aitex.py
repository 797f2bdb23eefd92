"""AITEX: strips of woven fabrics, a category each, 4096 pixels long and 256 high.

`Defect_images/<n>_<defect>_<fabric>.png`, masks `Mask_images/<stem>_mask*.png`, of which an image may have two, and
`NODefect_images/**/<n>_000_<fabric>.png` (Silvestre-Blanes et al., "A public fabric database for defect detection
methods and results", Autex Research Journal 19, 2019). There is no split: one normal strip in five of a fabric, by the
hash of its path, is for the test. Strips are brought to the network's size as a whole.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from omnial_bench.data import decode
from omnial_bench.data.readers.base import Reader, Sample, folders, inner_name, splits_by_hash

PARTS = DEFECTS, MASKS, NORMALS = "Defect_images", "Mask_images", "NODefect_images"


def _read(root: Path) -> Iterator[Sample]:
    normals, masks = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
    for image in sorted(path for path in (root / NORMALS).rglob("*") if decode.is_image(path)):
        normals[_fabric(image)].append(image)
    for fabric, images in normals.items():
        for image, split in splits_by_hash(root, images).items():
            name = inner_name(root / NORMALS, image)
            yield Sample(image=image, category=fabric, split=split, label="good", name=name)
    for mask in decode.image_files(root / MASKS):
        masks[mask.stem.rpartition("_mask")[0]].append(mask)
    for image in decode.image_files(root / DEFECTS):
        label = f"defect_{_words(image)[1]}"
        yield Sample(image=image, category=_fabric(image), split="test", label=label, masks=tuple(masks[image.stem]))


def _words(image: Path) -> list[str]:
    """Number, defect and fabric of a strip."""
    words = image.stem.split("_")
    return words if len(words) == 3 else [image.stem, "unknown", "unknown"]


def _fabric(image: Path) -> str:
    return f"fabric_{_words(image)[2]}"


def _hint(root: Path) -> str:
    names = [path.name for path in folders(root) if path.name in PARTS]
    lacks = [part for part in PARTS if part not in names]
    return f"looks like AITEX: expected {' and '.join(lacks)}, found {', '.join(names)} only" if names else ""


READER = Reader(
    matches=lambda root: all((root / part).is_dir() for part in (DEFECTS, NORMALS)), read=_read, hint=_hint,
    looked_for=f"{DEFECTS}/*, {MASKS}/* and {NORMALS}/**/*", normals=NORMALS, left_alone=(),
    mask_of=lambda sample: f"{sample.image.parents[1] / MASKS / sample.image.stem}_mask.png",
)  # fmt: skip
