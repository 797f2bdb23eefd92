"""Training by gradient on synthetic anomalies: the loop, which goes on where it was stopped, and its log."""

import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from omnial_bench.config.schema import Recipe
from omnial_bench.data.images import to_float
from omnial_bench.errors import UserError
from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import write_text
from omnial_bench.metrics.ranking import average_precision
from omnial_bench.models.blocks import recompute_features
from omnial_bench.models.checkpoint import Provenance
from omnial_bench.models.distributed import mean_of, share, share_norms
from omnial_bench.models.outside.calibration import normal_scores
from omnial_bench.models.schedule import LOGS, Log, Row, drawn, learning_rate, split_normals
from omnial_bench.models.unfinished import STATE, restore_state, save_state
from omnial_bench.progress import Progress
from omnial_bench.runtime import Precision, fabric
from omnial_bench.trust import guarded
from omnial_bench.types import Detector, GradientTrained, Synthetic

LOG = "log.csv"
SAVE_SECONDS = 30.0
"""What an interrupt costs at the most."""
VALIDATIONS = 10
"""Rows of the log that are validated, about."""
VALIDATION_LIMIT = 32


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained, where and how, as a process of its own can be sent it."""

    recipe: Recipe
    out: Path
    seed: int = 0
    device: str = "auto"
    precision: Precision = "32-true"
    recompute: bool = False
    """Make features twice, which takes less memory and changes no weight."""
    devices: int = 1
    """As many processes share each batch, and the weights differ by rounding alone."""
    trusted: Collection[str] = ()
    categories: tuple[str, ...] = ()
    """Of each image."""
    saved: Callable[[Path], None] | None = None
    """Is told the file of each save, which a training goes on from."""


def descend(
    detector: GradientTrained,
    order: Order,
    origin: Provenance,
    images: UInt8[Tensor, "n 3 h w"],
    textures: UInt8[Tensor, "m 3 h w"],
    generator: torch.Generator,
    progress: Progress | None,
) -> list[Row]:
    """Train a detector, which ends on the CPU in evaluation mode: its log, of several processes in the first alone.
    UserError where the loss stops being finite."""
    out, training = order.out, order.recipe.training
    recompute_features(detector, order.recompute)
    chosen, held_out = split_normals(len(images), training.validation, generator)
    steps, loop = origin.iterations, Loop(detector, order, generator)
    validation = loop.validation(images, held_out, textures, order.seed) if loop.first else []
    loop.step, rows = restore_state(out, origin.key, loop.parts)
    if not rows and validation:
        rows = [{"iteration": 0, "validation_ap": loop.validate(validation)}]
    log = Log(origin.model, steps, training, progress, rows, loop.step)
    saved = time.monotonic()
    while loop.step < steps:
        terms = loop.advance(images, chosen, textures, learning_rate(training, loop.step, steps))
        row = log.add(loop.step, mean_of(terms) if log.is_due(loop.step) else terms)
        if row is not None:
            checked = loop.step == steps or loop.step % (log.every * LOGS // VALIDATIONS) == 0
            row["validation_ap"] = loop.validate(validation) if checked else None
        if loop.first and time.monotonic() - saved > SAVE_SECONDS:
            save_state(out, origin.key, loop.parts, step=loop.step, rows=rows)
            write_log(out, rows)
            if order.saved is not None:
                order.saved(out / STATE)
            saved = time.monotonic()
    if loop.first:
        categories = [order.categories[at] for at in held_out]
        detector.normal_scores = normal_scores(detector.eval(), images[held_out], categories, loop.fabric.device)
    detector.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    recompute_features(detector, False)
    return rows if loop.first else []


class Loop:
    """A training in progress: everything that a resumed one must have back."""

    def __init__(self, detector: GradientTrained, order: Order, generator: torch.Generator) -> None:
        self.fabric = fabric(order.device, order.precision, order.devices)
        if order.devices > 1:
            self.fabric.launch()
            share_norms(detector)
        self.first, self.devices = self.fabric.is_global_zero, order.devices
        training = order.recipe.training
        self.detector: GradientTrained = detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # The fused kernel saves a hundredth of a small step on the CPU but rounds otherwise than the plain one.
        optimizer = torch.optim.Adam(detector.parameters(), lr=training.lr, foreach=True)
        self.wrapped, self.optimizer = self.fabric.setup(self.detector, optimizer)
        if order.devices > 1:
            self.wrapped.mark_forward_method("loss")
        self.training, self.generator = training, generator
        self.parts = (self.detector, self.optimizer, generator)
        # Drawn where it decides something alone: a draw more would give other weights.
        self.epochs_seed = int(torch.randint(2**31, (), generator=generator)) if training.draw == "epoch" else None
        self.step = 0

    def advance(self, images: Tensor, chosen: Tensor, textures: Tensor, lr: float) -> dict[str, Tensor]:
        """One optimiser step; the loss terms, still on the device."""
        self.wrapped.train()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        picks = chosen[drawn(self.training, len(chosen), self.step, self.epochs_seed, self.generator)]
        sources = torch.randint(len(textures), (self.training.batch,), generator=self.generator)
        batch = self._synthesize(images[picks], textures[sources], self.generator, self.devices)
        with self._guarded("give its loss"):
            # On one device there is no wrapper, or it hands out `loss` as it is, outside the precision asked for.
            with self.fabric.autocast():
                terms: dict[str, Tensor] = _checked_terms(self.detector, self.wrapped.loss(batch))
            self.optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(torch.stack(list(terms.values())).sum())
        self.optimizer.step()
        self.step += 1
        return {name: term.detach() for name, term in terms.items()}

    def _synthesize(self, images: Tensor, textures: Tensor, generator: torch.Generator, shares: int = 1) -> Synthetic:
        """Synthetic images made of `images`; of several shares the one of this process."""
        device = self.fabric.device
        with self._guarded("synthesize"):
            batch = self.detector.synthesize(to_float(images, device), to_float(textures, device), generator)
        if not isinstance(batch, Synthetic):
            raise UserError(
                f"expected a Synthetic of omnial_bench.types from {type(self.detector).__name__}.synthesize, got "
                f"{type(batch).__name__}"
            )
        if shares > 1:
            batch = share(batch, self.fabric.global_rank, shares)
        return batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))

    def _guarded(self, doing: str) -> AbstractContextManager[None]:
        """As `guarded`; but of several processes each may fail of another's end, and is heard as it is."""
        return guarded(self.detector, doing) if self.devices == 1 else nullcontext()

    def validation(self, images: Tensor, held_out: list[int], textures: Tensor, seed: int) -> list[Synthetic]:
        """Fixed synthetic images made from normals that are never trained on."""
        generator = torch.Generator().manual_seed(seed + 1)
        batches, size = [], self.training.batch
        for start in range(0, min(len(held_out), VALIDATION_LIMIT), size):
            part = held_out[start : min(start + size, VALIDATION_LIMIT)]
            sources = torch.randint(len(textures), (len(part),), generator=generator)
            batches.append(self._synthesize(images[part], textures[sources], generator))
        return batches

    def validate(self, batches: list[Synthetic]) -> float | None:
        """Pixel AP on the validation images; None where there is no anomalous pixel among them."""
        if not batches:
            return None
        self.wrapped.eval()
        with self._guarded("localise anomalies"), torch.inference_mode(), self.fabric.autocast():
            scores = [self.detector(batch.images).score_map.float().flatten() for batch in batches]
        labels = [(batch.labels > 0).flatten() for batch in batches]
        return average_precision(torch.cat(scores), torch.cat(labels))


def _checked_terms(detector: Detector, terms: object) -> dict[str, Tensor]:
    """UserError where a loss is no table of named scalars."""
    if not isinstance(terms, dict) or not terms:
        got = "none" if isinstance(terms, dict) else type(terms).__name__
    elif odd := [name for name, term in terms.items() if not isinstance(term, Tensor) or term.ndim]:
        got = f"something else for {odd[0]!r}"
    else:
        return terms
    raise UserError(f"expected named scalar tensors from {type(detector).__name__}.loss, got {got}")


def write_log(out: Path, rows: list[Row]) -> None:
    """log.csv of a training, whole; what was measured before the first step has no loss."""
    write_text(out / LOG, csv_text(pd.DataFrame(rows, columns=list(rows[-1]))))
