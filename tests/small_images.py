"""Images and masks of 4x6 in folders, for tests of what reads them."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

MARKED = [(2, 1), (2, 2)]
"""The pixels that every drawn mask marks."""
VISA = """object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0003.JPG,
candle,train,normal,candle/Data/Images/Normal/0000.JPG,
candle,test,normal,candle/Data/Images/Normal/0001.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png
pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,
pcb1,test,normal,pcb1/Data/Images/Normal/0002.JPG,
pcb1,test,anomaly,pcb1/Data/Images/Anomaly/001.JPG,pcb1/Data/Masks/Anomaly/001.png
"""


def noise(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: npt.NDArray[Any] | Image.Image, **given: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **given)
    return path


def draw(root: Path, *names: str) -> Path:
    """Images, each another one."""
    for name in names:
        save(root / name, noise(zlib.crc32(name.encode()), 4, 6, 3))
    return root


def mark(root: Path, *names: str, levels: int | tuple[int, int] = 255) -> Path:
    """Masks that mark two pixels, with a level each or one for both."""
    for name in names:
        mask = np.zeros((4, 6), np.uint8)
        mask[2, 1:3] = levels
        save(root / name, mask)
    return root


def publish_visa(root: Path, table: str = VISA) -> Path:
    """A small VisA as its authors publish it, with the split table given; its masks hold the numbers of classes."""
    images, masks = zip(*(row.split(",")[3:] for row in VISA.splitlines()[1:]), strict=True)
    mark(draw(root, *images), *filter(None, masks), levels=(1, 7))
    (root / "candle/image_anno.csv").write_text("image,label,mask\n")
    (root / "LICENSE-DATASET").write_text("CC BY 4.0\n")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text(table)
    return root
