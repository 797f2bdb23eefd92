"""The runs of the gate: fixed weights scored and attacked, and networks trained anew.

`python tests/gate_runs.py weights` trains the fixed weights, `baseline` makes their rows and those of SEEDS trainings
the new baseline, `check SEED...` compares fresh ones with it, on whatever kernels the environment names.
"""

import sys
import tempfile
from pathlib import Path

import click
import pandas as pd

from omnial_bench.config.load import read_plan
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.request import Request
from omnial_bench.pipeline.run_plan import run
from omnial_bench.pipeline.score_models import assess
from omnial_bench.pipeline.train_and_attack import attack_models, train_models
from omnial_bench.reports.baseline import judge_files, update
from omnial_bench.reports.verdicts import failed, moved, summary
from omnial_bench.results import read_rows

GATE = Path(__file__).parent / "gate"
BASELINE = Path(__file__).parents[1] / "reports" / "baseline.csv"
DETECTORS = ("draem", "jnld", "omnial")
SEEDS = 16
"""Trainings of each detector in the baseline: with three fresh ones, a fall by three spreads is caught."""
SIDE = 32


def draw(root: Path) -> Path:
    """The embedded data set, as many normal as anomalous images to test."""
    draw_toy(root, size=SIDE, train=60, test_good=12, test_defect=4)
    return root


def train_fixed(data: Path, weights: Path) -> None:
    for name in DETECTORS:
        train_models(
            str(GATE / f"{name}.toml"), data=data, categories=["cap"], paradigm="unified", preset="fixed",
            textures=None, out=weights / name, device="cpu", precision="32-true", seed=0, watch=lambda _: None,
        )  # fmt: skip


def score_fixed(
    data: Path, out: Path, *, detectors: tuple[str, ...] = DETECTORS, suite: Path = GATE / "suite.toml"
) -> pd.DataFrame:
    """Rows of the fixed weights on the clean test, on sets made of all of them, and under every attack of a suite."""
    models = tuple(str(GATE / "weights" / name) for name in detectors)
    sets = attack_models(
        str(GATE / "sets.toml"), models, data=data, categories=None, limit=None, out=out / "sets", device="cpu",
        precision="32-true", seed=0, watch=lambda _: None,
    )  # fmt: skip
    request = Request(
        data=data, out=out / "rows", checkpoints=models, sets=tuple(sets), suites=(str(suite),), device="cpu"
    )
    return assess(request)


def train_fresh(data: Path, out: Path, seed: int) -> pd.DataFrame:
    """Rows of networks trained anew."""
    plan = read_plan(str(GATE / "fresh.toml")).model_copy(update={"seed": seed})
    return run(plan, Settings(data=data, out=out, device="cpu"))


def known(preset: str) -> pd.DataFrame:
    """The rows of the baseline of a preset."""
    rows = read_rows(BASELINE)
    return rows[rows["preset"] == preset]


def main(words: list[str]) -> int:
    """Do what the words ask for; 1 where a check fails."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = draw(root / "data")
        if words == ["weights"]:
            train_fixed(data, GATE / "weights")
            return 0
        score_fixed(data, root / "fixed")
        seeds = range(SEEDS) if words == ["baseline"] else map(int, words[1:])
        runs = [root / f"fresh-{seed}" for seed in seeds]
        for path in runs:
            train_fresh(data, path, int(path.name.partition("-")[2]))
        runs.insert(0, root / "fixed" / "rows")
        judged = judge_files(runs, BASELINE, first=words == ["baseline"])
        changed = moved(judged)
        click.echo(changed.drop(columns=["dataset", "paradigm", "threat"]).head(40).to_string() if len(changed) else "")
        click.echo(f"{'FAILED' if failed(judged) else 'passed'}: {summary(judged)} ({len(judged)} figures)")
        if words == ["baseline"]:
            update(runs, BASELINE, summary(judged))
            return 0
        return int(failed(judged))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
