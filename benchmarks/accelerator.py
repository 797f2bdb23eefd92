"""What a device gives in a few minutes: rates beside their floors, and a short study of networks of the paper's size.

`python -m benchmarks.accelerator --data ROOT --minutes 8 --out DIR` measures training, attack and scoring on the device
that torch finds, then trains every detector on one category for an equal share of the time, attacks and scores it.
DIR gets rates.csv, device.json and the rows of the study; weights are not kept. It needs the tree, the data and the
packages of pyproject.toml. `--short` is the same in little, on drawn images: it shows that the command works.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
import torch
import torchattacks
from torch import Tensor

from benchmarks.attack import Logits
from benchmarks.common import clean_images, learner
from benchmarks.measure import machine
from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.victim import victim
from omnial_bench.config.load import read_recipe
from omnial_bench.config.schema import Plan, Recipe
from omnial_bench.data.images import Images, to_bytes
from omnial_bench.data.toy.make import draw_toy
from omnial_bench.evaluation.scoring import score
from omnial_bench.evaluation.target import Labels
from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import make_folder, write_json, write_text
from omnial_bench.models.gradient import Loop, Order
from omnial_bench.pipeline.plan import Settings
from omnial_bench.pipeline.run_plan import run
from omnial_bench.provenance import commit, versions
from omnial_bench.runtime import Precision, fabric, placed
from omnial_bench.types import ThreatModel

DETECTORS = ("draem", "jnld", "omnial")
EPS, STEPS = 8 / 255, 10
MEASURED, TRAINED = 0.4, 0.4
"""Shares of the time; the rest is for attacks and scores."""
PASSES = 3 * 26
"""Forward and backward passes of suite `quick` an image, over three detectors, about."""
LEAST = 4
"""Images that are attacked however short the time."""
KEPT = ("results.csv", "attacks.csv", "health.csv", "differences.csv", "environment.json")


@dataclass(frozen=True)
class Rate:
    """Images a second of one piece of work and of what it is held against, taken in turn."""

    detector: str
    preset: str
    figure: str
    counterpart: str
    images_per_second: float
    counterpart_per_second: float
    ratio: float
    """Seconds of the work over those of its counterpart."""
    repeats: int


class Watch:
    """Seconds of a piece of work on a device, which is waited for."""

    def __init__(self, device: torch.device) -> None:
        self.wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def seconds(self, work: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def in_turn(
        self, ours: Callable[[], object], theirs: Callable[[], object], seconds: float
    ) -> tuple[float, float, int]:
        """Medians of both, which alternate for about as many seconds; each is run once before."""
        ours(), theirs()
        pairs, begun = list[tuple[float, float]](), time.perf_counter()
        while not pairs or time.perf_counter() - begun < seconds:
            pairs.append((self.seconds(ours), self.seconds(theirs)))
        own, other = (statistics.median(times) for times in zip(*pairs, strict=True))
        return own, other, len(pairs)


def rates(recipe: Recipe, device: torch.device, precision: Precision, seconds: float) -> list[Rate]:
    """A training step, an attack of ten steps and scoring, each over its bare passes; and torchattacks' own attack."""
    watch, dtype = Watch(device), torch.bfloat16 if precision == "bf16-mixed" else None
    count, generator = recipe.training.batch, torch.Generator().manual_seed(0)
    images, textures = clean_images(recipe, count)
    masks = torch.zeros((count, *recipe.size), dtype=torch.bool)
    masks[: count // 2, 4:12, 4:12] = True
    found: list[Rate] = []

    def add(figure: str, counterpart: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        own, other, repeats = watch.in_turn(ours, theirs, seconds / 4)
        found.append(
            Rate(
                recipe.detector, recipe.preset, figure, counterpart, count / own, count / other, own / other, repeats
            )
        )  # fmt: skip

    loop = Loop(
        learner(recipe, generator), Order(recipe=recipe, out=Path(), device=str(device), precision=precision), generator
    )  # fmt: skip
    whole, stacks = torch.arange(count), (to_bytes(images), to_bytes(textures))
    batch = loop._synthesize(*stacks, generator)

    def bare_step() -> None:
        with loop.fabric.autocast():
            loss = torch.stack(list(loop.detector.loss(batch).values())).sum()
        loop.optimizer.zero_grad(set_to_none=True)
        loop.fabric.backward(loss)
        loop.optimizer.step()

    loop.detector.train()
    add("training step", "the bare network", lambda: loop.advance(stacks[0], whole, stacks[1], 1e-6), bare_step)
    detector = placed(loop.detector.eval(), device)
    shown, truth = images.to(device), masks.to(device)

    def bare_passes() -> None:
        for _ in range(STEPS):
            given = shown.clone().requires_grad_(True)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                prediction = detector(given)
            torch.autograd.grad(balanced(prediction, Aim(truth, given)).sum(), given)

    with victim([detector], precision=dtype) as target:
        attack = DensePGD(target, ThreatModel(eps=EPS), generator=generator, steps=STEPS)  # type: ignore[arg-type]
        theirs = torchattacks.PGD(Logits(detector), eps=EPS, alpha=2.5 * EPS / STEPS, steps=STEPS)
        add("PGD of 10 steps", "10 bare passes", lambda: attack(shown, truth), bare_passes)
        add(
            "PGD of 10 steps", "torchattacks' in float32", lambda: attack(shown, truth),
            lambda: theirs(shown, truth.long()),
        )  # fmt: skip
    defects = tuple("square" if mask.any() else "good" for mask in masks)
    kept = Images(to_bytes(images), masks, ("part",) * count, defects, tuple(map(str, range(count))))
    labels = Labels(detector=recipe.detector, paradigm="separate", preset="", dataset="drawn", seed=0, run="")

    def bare_scores() -> Tensor:
        with torch.inference_mode():
            return detector(shown).log_odds

    add("scoring", "forward passes", lambda: score(detector, kept, labels, "part", device=device), bare_scores)
    return found


def timed(recipe: Recipe, rate: float, seconds: float, folder: Path) -> str:
    """A record of the recipe whose budget fits the seconds at a rate in images a second; where it lies."""
    steps = max(1, int(rate * seconds / recipe.training.batch))
    training = recipe.training.model_copy(update={"max_iterations": steps, "epochs": 1e6, "validation": 0.1})
    preset = recipe.model_copy(update={"training": training}).model_dump(
        mode="json", include={"size", "training", "options"}, exclude_none=True
    )
    record = {"detector": recipe.detector, "title": recipe.detector, "source": "timed", "presets": {"timed": preset}}
    path = folder / f"{recipe.detector}.toml"
    write_text(path, tomli_w.dumps(record))
    return str(path)


def study(
    recipes: list[Recipe], speeds: list[list[Rate]], settings: Settings, dataset: str, category: str, left: float
) -> pd.DataFrame:
    """Every recipe trained for an equal share of the time that is left, and attacked: rows in `settings.out`."""
    share = left * TRAINED / (1 - MEASURED) / len(recipes)
    # Half of what is left after the trainings, for images are scored and written as well.
    attacked = (left - share * len(recipes)) / 2 * speeds[-1][1].images_per_second * STEPS / PASSES
    with tempfile.TemporaryDirectory() as records:
        plan = Plan(
            name="accelerator", title="A few minutes on one device", dataset=dataset, categories=(category,),
            detectors=tuple(
                timed(recipe, speed[0].images_per_second, share, Path(records))
                for recipe, speed in zip(recipes, speeds, strict=True)
            ),
            paradigms=("separate",), preset="timed", suites=("quick",),
            test_limit=max(LEAST, int(attacked)),
        )  # fmt: skip
        return run(plan, settings)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set with the category; drawn images with --short")
    parser.add_argument("--category", default="bottle")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--short", action="store_true", help="drawn images, tiny presets, one step of each")
    chosen = parser.parse_args(words)
    if chosen.data is None and not chosen.short:
        parser.error("--data: expected the folder of a data set, or --short")
    begun, seconds = time.perf_counter(), 60 * chosen.minutes
    precision: Precision = "32-true" if chosen.short else "bf16-mixed"
    device = fabric(chosen.device, precision).device
    preset, dataset, category = ("tiny", "toy", "cap") if chosen.short else ("paper", "mvtec_ad", chosen.category)
    recipes = [read_recipe(name, preset) for name in DETECTORS]
    speeds = [rates(recipe, device, precision, seconds * MEASURED / len(recipes)) for recipe in recipes]
    make_folder(chosen.out)
    write_text(chosen.out / "rates.csv", csv_text(pd.DataFrame([asdict(rate) for part in speeds for rate in part])))
    about: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu", "precision": precision,
        "minutes": chosen.minutes, "commit": commit(), "versions": versions(), "machine": machine(),
    }  # fmt: skip
    write_json(chosen.out / "device.json", about)
    with tempfile.TemporaryDirectory() as folder:
        data, place = chosen.data, Path(folder) / "run"
        if chosen.short:
            data = Path(folder) / "data"
            draw_toy(data, size=48, train=24, test_good=4, test_defect=2)
        settings = Settings(data=data, out=place, device=chosen.device, precision=precision)
        study(recipes, speeds, settings, dataset, category, max(1.0, begun + seconds - time.perf_counter()))
        for name in KEPT:
            if (place / name).is_file():
                shutil.copyfile(place / name, chosen.out / name)


if __name__ == "__main__":
    main()
