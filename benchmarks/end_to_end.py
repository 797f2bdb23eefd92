"""A category fitted and scored from the command line, beside anomalib's Engine on the same backbone: whole processes.

`python -m benchmarks.end_to_end DATA` wants a folder with the category bottle of MVTec AD, and anomalib 2.7 beside the
project. It writes end_to_end.md beside this file. Both sides begin with a cold start and undecoded files, in turn;
processor time and peak memory are those of their processes. Anomalib's weights are random: no time depends on them.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, ratio_of, reached
from omnial_bench.io.whole import write_text
from omnial_bench.provenance import commit, versions

LAYERS = {"padim": ["blocks.1", "blocks.2", "blocks.4"], "patchcore": ["blocks.2", "blocks.4"]}
"""The blocks of the backbone that end at the strides of our `small` presets."""
ENGINE = """
import sys, torch
torch.set_num_threads(1)
from anomalib.data import MVTecAD
from anomalib.engine import Engine
from anomalib.metrics import AUROC, Evaluator
from anomalib.models import Padim, Patchcore
name, root, out, *layers = sys.argv[1:]
data = MVTecAD(root=root, category="bottle", train_batch_size=8, eval_batch_size=8, num_workers=0)
scores = [AUROC(fields=["pred_score", "gt_label"]), AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_")]
settings = dict(backbone="efficientnet_lite0", layers=layers, pre_trained=False, visualizer=False,
                evaluator=Evaluator(test_metrics=scores))
model = Padim(n_features=100, **settings) if name == "padim" else Patchcore(coreset_sampling_ratio=SHARE, **settings)
engine = Engine(default_root_dir=out, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
engine.fit(model, datamodule=data)
engine.test(model, datamodule=data)
"""
OURS = "from omnial_bench.cli.main import main; main()"
GOAL = ">= 5"


@dataclass(frozen=True)
class Spent:
    """What processes took: processor seconds, and the most resident memory of any in MiB."""

    seconds: float
    mib: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, max(self.mib, other.mib))


def process(code: str, *words: str, cache: Path) -> Spent:
    """Run Python code with words in a process of its own; RuntimeError where it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMNIAL_BENCH_CACHE": str(cache)}
    with Path(os.devnull).open("w") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1), (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2)]
        child = os.posix_spawn(sys.executable, [sys.executable, "-c", code, *words], environment, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{words[0]} ended with status {status}")
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def ours(detector: str, data: Path, out: Path) -> Spent:
    given = ("--data", str(data), "--out")
    train = ("train", detector, "--category", "bottle", "--paradigm", "separate", "--preset", "small", *given)
    trained = process(OURS, *train, str(out / "models"), cache=out / "cache")
    model = str(out / "models" / f"{detector}-separate-bottle")
    return trained + process(OURS, "score", model, *given, str(out / "rows"), cache=out / "cache")


def theirs(detector: str, data: Path, out: Path) -> Spent:
    from omnial_bench.config.load import read_recipe

    code = ENGINE.replace("SHARE", str(read_recipe("patchcore", "small").options["share"]))
    return process(code, detector, str(data), str(out), *LAYERS[detector], cache=out / "cache")


def in_turn(side: Callable[[str, Path, Path], Spent], detector: str, data: Path) -> Spent:
    with tempfile.TemporaryDirectory() as folder:
        return side(detector, data, Path(folder))


def line(detector: str, data: Path, repeats: int) -> str:
    """A row of the table: medians, the ratio with its range, memory."""
    pairs = [(in_turn(ours, detector, data), in_turn(theirs, detector, data)) for _ in range(repeats)]
    ratios = [ratio_of(own.seconds, other.seconds, "theirs / ours") for own, other in pairs]
    middle = statistics.median(ratios)
    own, other = (statistics.median(spent.seconds for spent in side) for side in zip(*pairs, strict=True))
    memory = [max(spent.mib for spent in side) for side in zip(*pairs, strict=True)]
    verdict = "met" if reached(middle, GOAL) else "NOT met"
    return (
        f"| {detector} | {own:.1f} | {other:.1f} | {middle:.2f} ({min(ratios):.2f}, {max(ratios):.2f}) | {GOAL}: "
        f"{verdict} | {memory[0]:.0f} / {memory[1]:.0f} | {memory[0] / memory[1]:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=1)
    chosen = parser.parse_args()
    about = ", ".join(f"{name} {value}" for name, value in machine().items())
    lines = [
        "# Fit and score bottle at 256x256 from the command line, beside anomalib's Engine", "",
        f"{about}; torch {versions()['torch']}; commit {commit()}; medians of {chosen.repeats}, sides in turn. "
        "EfficientNet-Lite0 on both sides, one thread, files not decoded before; ours starts Python twice. "
        "Ours scores nine metrics with intervals, theirs two.", "",
        "| detector | ours, processor s | theirs | theirs / ours (lowest, highest) | goal | peak MiB | ours / theirs |",
        "|---|---|---|---|---|---|---|",
        *(line(detector, chosen.data, chosen.repeats) for detector in LAYERS), "",
    ]  # fmt: skip
    write_text(Path(__file__).parent / "end_to_end.md", "\n".join(lines))


if __name__ == "__main__":
    main()
