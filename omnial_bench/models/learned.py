"""The base of detectors that learn by gradient from normal images alone, beside a frozen network: students, decoders,
transformers, discriminators."""

import math
import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from omnial_bench.errors import UserError
from omnial_bench.models.budget import learning_rate
from omnial_bench.models.draws import at_random, by_epoch
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.normals import Normals

LOGS = 100
"""Rows of the log in a whole fit, about."""
KEPT = 2**30
"""Bytes of frozen features that are kept for all normals; where there are more, each batch makes its own again."""

Features = tuple[Tensor, ...]


class Learned(Fitted):
    """A Fitted whose fit is an optimisation in steps, by the schedule of its record's `training`.

    A step draws a batch of normals and minimises the sum of `loss`. What a frozen network says of an image is the same
    in every step, and is computed once where memory allows.
    """

    clip: ClassVar[float] = math.inf
    """Largest norm of a step's gradient."""

    @abstractmethod
    def optimizers(self, lr: float) -> Sequence[torch.optim.Optimizer]:
        """Over all that learns, at the first step's rate; later ones are multiplied alike."""

    def frozen(self, images: Float[Tensor, "b 3 h w"]) -> Features:  # noqa: ARG002
        """What never changes of images while it learns: tensors of `b` rows each, here none."""
        return ()

    @abstractmethod
    def loss(
        self, images: Float[Tensor, "b 3 h w"], frozen: Features, generator: torch.Generator
    ) -> dict[str, Float[Tensor, ""]]:
        """Named terms of normal images and of what `frozen` says of them; random numbers come from `generator`, on the
        CPU."""

    def fit(self, normals: Iterable[Float[Tensor, "b 3 h w"]], generator: torch.Generator) -> None:
        """UserError where the loss stops being finite."""
        assert isinstance(normals, Normals)
        training, steps, kept = normals.training, normals.steps, _Kept(self, normals)
        seed = int(torch.randint(2**31, (), generator=generator))
        optimizers = self.optimizers(training.lr)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        rates = [group["lr"] / training.lr for group in groups]
        weights = [weight for group in groups for weight in group["params"]]
        # Of convolutions, the order in which they are quickest.
        self.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for weight in weights:
            weight.requires_grad_(True)
        tell = _Teller(type(self).__name__, normals)
        for step in range(steps):
            lr = learning_rate(training, step, steps)
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * lr
            if training.draw == "epoch":
                places = by_epoch(len(normals), training.batch, step, seed)
            else:
                places = at_random(len(normals), training.batch, generator)
            with torch.enable_grad():
                terms = self.loss(_laid_out(normals.at(places)), kept.at(places), generator)
                torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            if math.isfinite(self.clip):
                torch.nn.utils.clip_grad_norm_(weights, self.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            tell(step + 1, terms, lr)
        self.eval().requires_grad_(False)


class _Kept:
    """What is frozen of all normals, for the places that a step draws."""

    def __init__(self, detector: Learned, normals: Normals) -> None:
        self.detector, self.normals = detector, normals
        self.parts: list[Tensor] | None = None
        one = self._made(normals.at(torch.zeros(1, dtype=torch.long)))
        if len(normals) * sum(part.nbytes for part in one) <= KEPT:
            every = [self._made(images) for images in normals]
            self.parts = [torch.cat(parts) for parts in zip(*every, strict=True)]

    def at(self, places: Int64[Tensor, " b"]) -> Features:
        if self.parts is None:
            return self._made(self.normals.at(places))
        return tuple(part[places.to(part.device)] for part in self.parts)

    @torch.no_grad()
    def _made(self, images: Float[Tensor, "b 3 h w"]) -> Features:
        return self.detector.frozen(_laid_out(images))


def _laid_out(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    return images.contiguous(memory_format=torch.channels_last)


class _Teller:
    """Tells the log, and who watches, how far a fit has come."""

    def __init__(self, name: str, normals: Normals) -> None:
        self.name, self.normals, self.every = name, normals, max(1, normals.steps // LOGS)
        self.last, self.at = 0, time.monotonic()

    def __call__(self, step: int, terms: dict[str, Tensor], lr: float) -> None:
        normals, note = self.normals, ""
        if step % self.every == 0 or step == normals.steps:
            values = {name: float(term) for name, term in terms.items()}
            if not all(math.isfinite(value) for value in values.values()):
                raise UserError(f"{self.name}: the loss is not finite at step {step}; lower the learning rate")
            loss, now = sum(values.values()), time.monotonic()
            speed = (step - self.last) * normals.training.batch / max(now - self.at, 1e-9)
            self.last, self.at = step, now
            row = {"iteration": step, "loss": loss, **values, "lr": lr, "images_per_second": round(speed, 2)}
            normals.rows.append(row)
            note = f"loss {loss:.3f}  {speed:.0f} images/s"
        if normals.progress is not None:
            normals.progress(step, normals.steps, note)
