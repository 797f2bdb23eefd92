"""How fast images are verified and decoded, and in how much memory, beside a former build.

`python -m benchmarks.reading FORMER` draws a category of 1024x1024 photographs' size, and measures this checkout and
the one in the folder FORMER (`git worktree add FORMER COMMIT`) in turn, each in a process and with a cache of its own;
prints the table and writes reading.md beside this file. Images a second by the clock, on all cores, so nothing else is
to run meanwhile; and of processor time, user and system, which other processes move least. Ten minutes.
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
SIDE, COUNT = 1024, 49
THREEFOLD = "three times as many", lambda before, now: now >= 3 * before
NOTE = """\
Decoding PNG files with Pillow is some two thirds of the work of `data verify`, so that no reading around it is three
times as fast. Verifying and the first decode have become one pass, which looks for more. Some 0.3 s of it here
is SciPy's import, once, where masks are held against other images.
What `data verify` holds are small copies of the images, 4 KB each, by which those that are there twice are found;
of categories of more than 20,000 images, hashes."""
CLOCK, PROCESSOR = "images a second by the clock", "images a second of processor time"
GOALS = {
    f"`data verify`, {CLOCK}": THREEFOLD,
    f"first decode, {CLOCK}": THREEFOLD,
    f"`data verify` and first decode together, {CLOCK}": THREEFOLD,
    "second start, s a thousand images": ("under 1 s", lambda _, now: now < 1),
}
WORK = """
import json, resource, sys, threading, time
from pathlib import Path
from omnial_bench.data.verify import verify
try:
    from omnial_bench.data.dataset import find_dataset
except ImportError:  # where it was before
    from omnial_bench.data.folder import find_dataset
import torch
from PIL import Image
root, what = Path(sys.argv[1]), sys.argv[2]
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime
def since(before):
    return [now - then for now, then in zip(spent(), before)]
def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024
def watch():
    while not done.wait(0.002):
        most[0] = max(most[0], held())
dataset = find_dataset(root)
find_dataset(root)
done, most = threading.Event(), [0]
start, anonymous = spent(), held()
if what == "memory":
    threading.Thread(target=watch).start()
if what == "decode":
    for path in sorted(root.rglob("*.png")):
        Image.open(path).load()
elif what in ("verify", "memory"):
    verify(root)
verified, between = since(start), spent()
kept = [dataset.load(split, None, (256, 256)) for split in ("train", "test")] if what in ("verify", "load") else []
done.set()
print(json.dumps([verified, since(between), held() - anonymous, most[0] - anonymous]))
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


def measure(checkout: Path, data: Path, what: str, cache: str) -> tuple[list[float], list[float], float, float]:
    """Seconds of verifying (or of decoding alone) and of loading, by the clock and of the processor, and MiB of memory
    of its own: what loading leaves, and the most that was held."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMNIAL_BENCH_CACHE": cache, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        # Without -P the folder that one is in goes before PYTHONPATH, and both sides would be the same.
        [sys.executable, "-P", "-c", WORK, str(data), what],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    verified, loaded, held, most = json.loads(done.stdout)
    return verified, loaded, held, most


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
                decoded = measure(side, place / "data", "decode", cold)[0]
                verified, loaded, _, _ = measure(side, place / "data", "verify", cold)
                first = measure(side, place / "data", "load", tempfile.mkdtemp(dir=place))[1]
                rows: dict[str, float] = {}
                for at_what, by in enumerate((CLOCK, PROCESSOR)):
                    rows |= {
                        f"decoding with Pillow and nothing else, one thread, {by}": COUNT / decoded[at_what],
                        f"`data verify`, {by}": COUNT / verified[at_what],
                        f"first decode, {by}": COUNT / first[at_what],
                        f"`data verify` and first decode together, {by}": COUNT / (verified[at_what] + loaded[at_what]),
                    }
                for name, amount in (("many", 1609), ("few", 409)):
                    kept = tempfile.mkdtemp(dir=place)
                    held = measure(side, place / name, "load", kept)[2]
                    rows[f"memory of its own that {amount} loaded images hold, MiB"] = held
                    if name == "many":
                        rows["second start, s a thousand images"] = (
                            1000 * measure(side, place / name, "load", kept)[1][1] / amount
                        )
                    most = measure(side, place / name, "memory", tempfile.mkdtemp(dir=place))[3]
                    rows[f"the most that `data verify` of {amount} holds, MiB"] = most
                for name, value in rows.items():
                    found.setdefault(name, [[], []])[at].append(value)
    write(found, chosen.former, chosen.repeats)


def write(found: dict[str, list[list[float]]], former: Path, repeats: int) -> None:
    lines = ["| what | former | now | ratio | goal |", "|---|---|---|---|---|"]
    for name, pair in found.items():
        before, now = map(statistics.median, pair)
        ratio = f"{now / before:.2f}" if before > 0 else ""
        goal, met = GOALS.get(name, ("", lambda *_: True))
        verdict = f"{goal}: {'met' if met(before, now) else 'missed'}" if goal else ""
        lines.append(f"| {name} | {before:.3g} | {now:.3g} | {ratio} | {verdict} |")
    head = subprocess.run(
        ["git", "-C", str(former), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    where = machine()
    about = (
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, torch {versions()['torch']}; commit "
        f"{commit()} beside {head}. 49 images of {SIDE}x{SIDE} and 24 masks as PNG, brought to 256x256; medians of "
        f"{repeats} processes of each in turn."
    )
    text = "\n".join(["# Images verified and decoded, beside a former build", "", about, "", *lines, "", NOTE, ""])
    write_text(FOLDER / "reading.md", text)
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
