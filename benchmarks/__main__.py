"""Speed side by side: each figure and its counterpart alternate in one process, and the table holds their ratio.

`python -m benchmarks [--quick]` writes benchmarks/results.json and prints the table.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score, roc_auc_score

from omnial_bench.attacks.objectives import Aim, balanced
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.victim import victim
from omnial_bench.metrics.quality import ssim
from omnial_bench.metrics.ranking import Ranking
from omnial_bench.models.registry import build
from omnial_bench.nouns import ThreatModel
from omnial_bench.provenance import commit, versions
from omnial_bench.records import Threat, read_recipe

WARM_UPS = 1


@dataclass(frozen=True)
class Measured:
    """Seconds of ours and of the counterpart, medians, and the ratio counterpart / ours over the repeats."""

    figure: str
    counterpart: str
    ours: float
    theirs: float
    ratio: float
    lowest: float
    highest: float


def side_by_side(
    figure: str, counterpart: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> Measured:
    """Alternate the two, so that whatever else the machine does falls on both."""
    pairs = []
    for turn in range(repeats + WARM_UPS):
        pair = (seconds(ours), seconds(theirs))
        if turn >= WARM_UPS:
            pairs.append(pair)
    ratios = [other / own for own, other in pairs]
    own, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Measured(figure, counterpart, own, other, statistics.median(ratios), min(ratios), max(ratios))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ranking(pixels: int, repeats: int) -> Measured:
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(pixels, generator=generator) < 0.03
    scores = torch.randn(pixels, generator=generator) + 2 * labels
    arrays = labels.numpy(), scores.numpy()

    def stream() -> object:
        accumulator = Ranking()
        accumulator.update(scores, labels)
        return accumulator.compute()

    def reference() -> object:
        return roc_auc_score(*arrays), average_precision_score(*arrays)

    return side_by_side(
        f"AUROC, AP and F1max of {pixels:,} pixels", "scikit-learn, AUROC and AP", stream, reference, repeats
    )


def similarity(repeats: int) -> Measured:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand((2, 8, 3, 256, 256), generator=generator)
    arrays = [(a.numpy(), b.numpy()) for a, b in zip(first, second, strict=True)]

    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}

    def reference() -> object:
        return [structural_similarity(a, b, channel_axis=0, **settings) for a, b in arrays]

    return side_by_side(
        "SSIM of 8 pictures at 256x256", "scikit-image", lambda: ssim(first, second), reference, repeats
    )


def synthesis(name: str, preset: str, repeats: int) -> Measured:
    """The share of a training step: `ours` is the synthesis, the counterpart the step on ready tensors."""
    recipe = read_recipe(name, preset)
    generator = torch.Generator().manual_seed(0)
    detector = build(recipe, generator).to(memory_format=torch.channels_last)
    shape = (recipe.training.batch, 3, *recipe.size)
    images, textures = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    ready = detector.synthesize(images, textures, generator)
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-4)

    def step() -> object:
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(detector.loss(ready).values())).sum().backward()
        return optimizer.step()

    def synthesize() -> object:
        return detector.synthesize(images, textures, generator)

    return side_by_side(f"{name} {preset}: synthesis of a batch", "step on ready tensors", synthesize, step, repeats)


def attack(name: str, preset: str, repeats: int) -> Measured:
    """PGD with 10 steps against 10 bare forward and backward passes to the input."""
    recipe = read_recipe(name, preset)
    generator = torch.Generator().manual_seed(0)
    detector = build(recipe, generator).to(memory_format=torch.channels_last)
    images = torch.rand((4, 3, *recipe.size), generator=generator)
    truth = torch.zeros((4, *recipe.size), dtype=torch.bool)
    truth[:, 10:30, 10:30] = True
    threat = Threat(name="pgd", eps="8/255", steps=10)  # type: ignore[arg-type]
    with victim([detector]) as target:
        pgd = DensePGD(target, ThreatModel(eps=threat.eps), generator=generator, steps=threat.steps)

        def bare() -> object:
            for _ in range(threat.steps):
                images.requires_grad_(True)
                gradient = torch.autograd.grad(balanced(detector(images), Aim(truth, images)).sum(), images)[0]
                images.requires_grad_(False)
            return gradient

        return side_by_side(
            f"{name} {preset}: 10-step PGD on 4 pictures", "10 bare passes", lambda: pgd(images, truth), bare, repeats
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small presets, fewer repeats: three minutes")
    quick = parser.parse_args().quick
    repeats, preset = (3, "small") if quick else (7, "paper")
    measured = [ranking(2_000_000 if quick else 20_000_000, repeats), similarity(repeats)]
    for name in ("draem", "jnld", "omnial"):
        measured.append(synthesis(name, preset, repeats))
        measured.append(attack(name, preset, repeats))
    machine = {"processor": platform.machine(), "threads": torch.get_num_threads(), "numpy": np.__version__}
    record = {"quick": quick, "commit": commit(), "versions": versions(), "machine": machine}
    record["rows"] = [asdict(row) for row in measured]
    path = Path(__file__).parent / "results.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    table = Table(title="seconds, medians; ratio = counterpart / ours (lowest, highest)")
    for column in ("figure", "ours", "counterpart", "theirs", "ratio"):
        table.add_column(column)
    for row in measured:
        ratio = f"{row.ratio:.2f} ({row.lowest:.2f}, {row.highest:.2f})"
        table.add_row(row.figure, f"{row.ours:.3f}", row.counterpart, f"{row.theirs:.3f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
