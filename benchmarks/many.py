"""How much memory very many images take, beside a former build: verified, and scored.

`python -m benchmarks.many FORMER` draws a category whose test split has so many images of 32x32 (a tenth of them with a
defect and its mask), and verifies and scores it, each in a process of its own, here and in the checkout in the folder
FORMER; prints the table and writes many.md beside this file. What is scored gives its image's brightness as its map,
so that the memory is that of reading and counting. Half an hour; 400 MB on the disk for the most images.
"""

import argparse
import json
import os
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
SIDE = 32
COUNTS = (10_000, 30_000, 100_000)
WORK = """
import json, sys, threading
from pathlib import Path
root, what = Path(sys.argv[1]), sys.argv[2]
def status(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) // 1024
own = [0]
def watch():
    while not done.wait(0.01):
        own[0] = max(own[0], status("RssAnon"))
done = threading.Event()
threading.Thread(target=watch).start()
try:
    import torch
    if what == "verify":
        from omnial_bench.data.verify import verify
        verify(root, size=(32, 32))
    else:
        try:
            from omnial_bench.data.dataset import find_dataset
            from omnial_bench.evaluation.scoring import score
            from omnial_bench.evaluation.target import Labels
            from omnial_bench.types import Prediction
        except ImportError:  # where they were before
            from omnial_bench.data.folder import find_dataset
            from omnial_bench.nouns import Prediction
            from omnial_bench.scoring import Labels, score
        class Bright(torch.nn.Module):
            def forward(self, images):
                level = images.mean(1, keepdim=True)
                return Prediction(torch.cat([-level, level], 1))
        images = find_dataset(root).load("test", None, (32, 32))
        labels = Labels(detector="bright", paradigm="unified", preset="none", dataset="drawn", seed=0, run="bench")
        score(Bright(), images, labels, "plate")
finally:
    done.set()
print(json.dumps([own[0], status("VmHWM")]))
"""


def draw(root: Path, count: int) -> None:
    """One part with noise, and a disc in every tenth image."""
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    part = generator.integers(60, 190, (SIDE, SIDE, 3))
    for number in range(-200, count):
        pixels = part + generator.integers(-20, 20, part.shape)
        kind = "train/good" if number < 0 else "test/good" if number % 10 else "test/spot"
        if kind == "test/spot":
            row, column = generator.integers(4, SIDE - 4, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < 9
            pixels[disc] += 60
            _save(root / f"plate/ground_truth/spot/{number:06d}_mask.png", np.where(disc, 255, 0))
        _save(root / f"plate/{kind}/{number % 1_000_000:06d}.png", pixels.clip(0, 255))


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=1)


def measure(checkout: Path, data: Path, what: str, cache: str) -> tuple[int, int]:
    """The most MiB of memory of its own, and with the files that are mapped into it."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMNIAL_BENCH_CACHE": cache, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", WORK, str(data), what], env=environment, stdout=subprocess.PIPE, check=True
    )
    own, resident = json.loads(done.stdout)
    return own, resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("former", type=Path, help="a checkout of the build to measure beside")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    chosen = parser.parse_args()
    lines = [
        "| images | verified here | scored here | scored before | scored here, of before |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for count in chosen.counts:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            draw(place / "data", count)
            cells = [
                measure(side, place / "data", what, tempfile.mkdtemp(dir=place))
                for side, what in (
                    (FOLDER.parent, "verify"),
                    (FOLDER.parent, "score"),
                    (chosen.former.resolve(), "score"),
                )
            ]
        shown = " | ".join(f"{own:,} ({resident:,})" for own, resident in cells)
        lines.append(f"| {count:,} | {shown} | {cells[1][1] / cells[2][1]:.2f} |")
    former = subprocess.run(
        ["git", "-C", str(chosen.former), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    where = machine()
    about = (
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, torch {versions()['torch']}; commit "
        f"{commit()} beside {former}. Images of {SIDE}x{SIDE} in one test split; the most MiB that a process held of "
        "its own, in brackets with the mapped files of the cache, which the system takes back when it needs them."
    )
    text = "\n".join(["# Memory of very many images, beside a former build", "", about, "", *lines, ""])
    write_text(FOLDER / "many.md", text)
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
