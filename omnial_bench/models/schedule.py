"""The steps of a training: how many, at which rate, of which normals, and what they tell the log."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from omnial_bench.config.schema import Training
from omnial_bench.errors import UserError
from omnial_bench.progress import Progress

LOGS = 100
"""Rows of the log in a whole training, about."""

Row = dict[str, Any]
"""One line of a training's log."""


def iterations_of(training: Training, normals: int) -> int:
    """Optimiser steps in the budget: epochs over the normals, at most `max_iterations`."""
    steps = max(1, math.ceil(training.epochs * normals / training.batch))
    return steps if training.max_iterations is None else min(steps, training.max_iterations)


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The rate at a step: times `gamma` at each milestone of the budget."""
    passed = sum(step >= milestone * steps for milestone in training.milestones)
    return training.lr * training.gamma**passed


def split_normals(n: int, share: float, generator: torch.Generator) -> tuple[Tensor, list[int]]:
    """Indices to train on and indices held out; at least one of each unless nothing is to be held out."""
    order = torch.randperm(n, generator=generator)
    held = min(max(1, round(n * share)), n - 1) if share > 0 else 0
    return order[held:].sort().values, order[:held].tolist()


def drawn(
    training: Training, count: int, step: int, seed: int | None, generator: torch.Generator
) -> Int64[Tensor, " batch"]:
    """Which of `count` normals the step's batch is made of: by epochs that `seed` decides, or drawn with replacement,
    of which a share of 1 - 1/e, about 63 %, are different ones in `count` draws."""
    if training.draw == "epoch":
        assert seed is not None
        return by_epoch(count, training.batch, step, seed)
    return torch.randint(count, (training.batch,), generator=generator)


def by_epoch(count: int, batch: int, step: int, seed: int) -> Int64[Tensor, " batch"]:
    """Indices of the step's batch where every pass over the `count` normals takes each once, in an order of its own.

    Passes follow each other without a gap, so a batch may hold the end of one and the start of the next. The step and
    the seed alone decide it: a training that goes on from a saved step needs nothing more.
    """
    first, last = step * batch // count, ((step + 1) * batch - 1) // count
    generators = (torch.Generator().manual_seed(seed + epoch) for epoch in range(first, last + 1))
    orders = [torch.randperm(count, generator=generator) for generator in generators]
    return torch.cat(orders)[step * batch - first * count :][:batch]


@dataclass
class Log:
    """Rows of a training's log, and how far it has come for who watches."""

    name: str
    steps: int
    training: Training
    progress: Progress | None
    rows: list[Row]
    last: int = 0
    """Step of the last row; `at` is its time."""
    at: float = field(default_factory=time.monotonic)

    @property
    def every(self) -> int:
        return max(1, self.steps // LOGS)

    def is_due(self, step: int) -> bool:
        return step % self.every == 0 or step == self.steps

    def add(self, step: int, terms: dict[str, Tensor]) -> Row | None:
        """After `step` steps, of which the last had these terms of the loss: its row, where one is due. UserError where
        the loss is not finite."""
        row, note = None, ""
        if self.is_due(step):
            values = {name: float(term) for name, term in terms.items()}
            if not all(map(math.isfinite, values.values())):
                raise UserError(f"{self.name}: the loss is not finite at step {step}; lower the learning rate")
            loss, now = sum(values.values()), time.monotonic()
            speed = (step - self.last) * self.training.batch / max(now - self.at, 1e-9)
            self.last, self.at = step, now
            row = {"iteration": step, "loss": loss, **values, "lr": learning_rate(self.training, step - 1, self.steps)}
            row["images_per_second"] = round(speed, 2)
            self.rows.append(row)
            note = f"loss {loss:.3f}  {speed:.0f} images/s"
        if self.progress is not None:
            self.progress(step, self.steps, note)
        return row
