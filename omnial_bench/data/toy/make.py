"""The embedded data set: small, drawn by code, with exact masks, in MVTec AD's layout. No photographs.

Its defects are things that happen to a part (a tooth breaks, a thread is pulled); none is made by blending noise or
foreign textures, so that detectors meet at the test what their training synthesis did not show them.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from omnial_bench.data.cache import streamed
from omnial_bench.data.toy.canvas import Canvas, Draw
from omnial_bench.data.toy.objects import cap, gear
from omnial_bench.data.toy.surfaces import brushed, weave
from omnial_bench.errors import UserError
from omnial_bench.io import whole as files
from omnial_bench.io.leftovers import sweep, swept
from omnial_bench.io.links import check_links
from omnial_bench.io.lock import CLAIM, claimed

VERSION = 2
MARKER = "toy.json"
"""Lies in the data set's folder and says how it was drawn."""
SMALLEST_DEFECT = 0.006
"""Share of the image; a defect that comes out smaller (off the object, say) is drawn anew."""


@dataclass(frozen=True)
class Subject:
    """A category: how it is drawn and what can go wrong with it."""

    draw: Draw
    defects: tuple[str, ...]


SUBJECTS: Mapping[str, Subject] = {
    "brushed": Subject(brushed, ("dent", "gouge", "pitting")),
    "cap": Subject(cap, ("dent", "misprint", "scratch")),
    "gear": Subject(gear, ("broken_tooth", "crack", "rust")),
    "weave": Subject(weave, ("fibre", "hole", "pulled_thread")),
}


def draw_toy(
    root: Path, *, size: int = 64, train: int = 60, test_good: int = 8, test_defect: int = 4, seed: int = 0
) -> None:
    """Draw the data set into `root`: per category `train` and `test_good` normals, `test_defect` of each defect.

    The same arguments give the same bytes, on every processor. Files that are there already are kept, so that drawing
    goes on where it was stopped. UserError for a size outside 32 to 1024, for counts below 1, for a folder that holds
    anything else, and while another process works there.
    """
    if not 32 <= size <= 1024:
        raise UserError(f"expected an image size from 32 to 1024 pixels, got {size}; try 64")
    counts = {"train": train, "test_good": test_good, "test_defect": test_defect}
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"expected at least one image for {name}, got {count}")
    if seed < 0:
        raise UserError(f"expected a seed of at least 0, got {seed}")
    check_links(root)
    jobs: list[tuple[str, str, str, int, int]] = []
    for category, subject in SUBJECTS.items():
        part = itertools.count()
        kinds = [("train", "good", train), ("test", "good", test_good)]
        kinds += [("test", defect, test_defect) for defect in subject.defects]
        jobs += [(category, split, kind, index, next(part)) for split, kind, count in kinds for index in range(count)]
    canvas = Canvas(size, 4 if size <= 128 else 2)

    def work(job: tuple[str, str, str, int, int]) -> None:
        category, split, defect, index, part = job
        image_path = root / category / split / defect / f"{index:03d}.png"
        mask_path = root / category / "ground_truth" / defect / f"{index:03d}_mask.png"
        if image_path.is_file() and (defect == "good" or mask_path.is_file()):
            return
        image, mask = draw_image(canvas, category, defect, seed=seed, part=part)
        _save(image_path, image)
        if defect != "good":
            _save(mask_path, mask.astype(np.uint8) * 255)

    with claimed(files.make_folder(root), alone=True):
        sweep(root, deep=False)
        _claim(root, {"version": VERSION, "size": size, **counts, "seed": seed})
        with swept(root):
            list(streamed(work, jobs))


def draw_image(
    canvas: Canvas, category: str, defect: str, *, seed: int, part: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """One image as bytes, `h w` or `h w 3`, and its mask: exactly the pixels that the defect changed.

    `part` numbers the pieces of a category; the same piece can be had with and without its defect.
    """
    key = (seed, list(SUBJECTS).index(category), part)
    sound = _expose(canvas, category, "good", key, attempt=0)
    if defect == "good":
        return sound, np.zeros(sound.shape[:2], bool)
    for attempt in range(50):
        broken = _expose(canvas, category, defect, key, attempt)
        mask = (broken != sound).reshape(*sound.shape[:2], -1).any(axis=2)
        if mask.mean() >= SMALLEST_DEFECT:
            break
    return broken, mask


def _expose(
    canvas: Canvas, category: str, defect: str, key: tuple[int, int, int], attempt: int
) -> npt.NDArray[np.uint8]:
    """The drawing seen by a camera: means over the supersampled points, sensor noise, 8 bits."""
    scene = SUBJECTS[category].draw(
        canvas, np.random.default_rng((*key, 0)), defect, np.random.default_rng((*key, 1, attempt))
    )
    image = canvas.reduce(scene)
    noise = np.random.default_rng((*key, 2)).normal(0, 0.012, image.shape[:2]).astype(np.float32)
    grain = noise[..., None] if image.ndim == 3 else noise
    return np.asarray(np.rint(np.clip(image + grain, 0, 1) * 255), np.uint8)


def _claim(root: Path, settings: dict[str, int]) -> None:
    marker = root / MARKER
    if all(path.name == CLAIM for path in root.iterdir()):
        files.write_json(marker, settings)
        return
    try:
        drawn = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        drawn = None
    if drawn != settings:
        what = "a toy data set drawn otherwise" if isinstance(drawn, dict) else "other files"
        raise UserError(f"expected an empty or new folder, {root} holds {what}; choose another folder")


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with files.whole(path) as aside:
        Image.fromarray(pixels).save(aside, format="PNG")
