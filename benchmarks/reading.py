"""How fast images are verified and decoded, and in how much memory, beside a former build.

`python -m benchmarks.reading FORMER` draws a category of 1024x1024 photographs' size, and measures this checkout and
the one in the folder FORMER (`git worktree add FORMER COMMIT`) in turn, each in a process and with a cache of its own;
prints the table and writes reading.md beside this file. Images a second of processor time, user and system, for what
other processes do moves it least; ten minutes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import machine
from omnial_bench.io.whole import write_text
from omnial_bench.provenance import commit, versions

FOLDER = Path(__file__).parent
HERE = FOLDER.parent
SIDE = 1024
WORK = """
import json, resource, sys, time
from pathlib import Path
from omnial_bench.data.verify import verify
from omnial_bench.data.dataset import find_dataset
import torch
root, before = Path(sys.argv[1]), sys.argv[2]
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024
dataset = find_dataset(root)
start, anonymous = spent(), held()
if before == "verify":
    verify(root)
    start_of_load = spent()
else:
    start_of_load = start
kept = [dataset.load(split, None, (256, 256)) for split in ("train", "test")]
print(json.dumps([start_of_load - start, spent() - start_of_load, held() - anonymous, len(dataset.samples)]))
"""


def draw(root: Path, *, train: int, defects: int, side: int) -> None:
    """Smooth images with a little noise, as photographs have, and masks of discs."""
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:side, :side]
    for number in range(train + defects):
        coarse = Image.fromarray(generator.integers(40, 216, (24, 24, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = np.clip(smooth + generator.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8)
        part = "train/good" if number < train else "test/hole"
        _save(root / f"plate/{part}/{number:05d}.png", pixels)
        if number >= train:
            row, column = generator.integers(side // 8, side - side // 8, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < (side // 16) ** 2
            _save(root / f"plate/ground_truth/hole/{number:05d}_mask.png", np.where(disc, 255, 0).astype(np.uint8))
    _save(root / "plate/test/good/0.png", pixels[::-1])


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def measure(checkout: Path, data: Path, before: str, cache: str) -> tuple[float, float, float, int]:
    """Processor seconds of verifying and of loading, MiB of memory that loading leaves of its own, and the images."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMNIAL_BENCH_CACHE": cache, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(data), before], env=environment, capture_output=True, text=True, check=True
    )
    verified, loaded, held, count = json.loads(done.stdout)
    return verified, loaded, held, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("former", type=Path, help="a checkout of the build to measure beside")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    sides = [chosen.former.resolve(), HERE]
    found: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        draw(place / "data", train=24, defects=24, side=SIDE)
        draw(place / "many", train=1600, defects=8, side=64)
        draw(place / "few", train=400, defects=8, side=64)
        for _ in range(chosen.repeats):
            for at, side in enumerate(sides):
                cold = tempfile.mkdtemp(dir=place)
                verified, loaded, _, count = measure(side, place / "data", "verify", cold)
                _, first, _, _ = measure(side, place / "data", "", tempfile.mkdtemp(dir=place))
                _, again, _, _ = measure(side, place / "data", "", cold)
                rows = {
                    "`data verify`, images a second": count / verified,
                    "first decode, images a second": count / first,
                    "first decode after `data verify`, images a second": count / loaded,
                    "both together, images a second": count / (verified + loaded),
                    "second start, s a thousand images": 1000 * again / count,
                }
                for name, amount in (("many", 1600), ("few", 400)):
                    _, _, held, _ = measure(side, place / name, "", tempfile.mkdtemp(dir=place))
                    rows[f"memory of its own that {amount} decoded images hold, MiB"] = held
                for name, value in rows.items():
                    found.setdefault(name, [[], []])[at].append(value)
    write(found, chosen.former, chosen.repeats)


def write(found: dict[str, list[list[float]]], former: Path, repeats: int) -> None:
    lines = ["| what | former | now | ratio |", "|---|---|---|---|"]
    for name, pair in found.items():
        before, now = map(statistics.median, pair)
        ratio = f"{now / before:.2f}" if before > 0 else ""
        lines.append(f"| {name} | {before:.3g} | {now:.3g} | {ratio} |")
    head = subprocess.run(
        ["git", "-C", str(former), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    where = machine()
    about = (
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, torch {versions()['torch']}; commit "
        f"{commit()} beside {head}. 49 images of {SIDE}x{SIDE} and 24 masks as PNG, brought to 256x256; processor "
        f"time, medians of {repeats} processes of each in turn."
    )
    text = "\n".join(["# Images verified and decoded, beside a former build", "", about, "", *lines, ""])
    write_text(FOLDER / "reading.md", text)
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
