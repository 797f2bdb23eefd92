"""The base of detectors that learn by gradient from normal images alone, beside a frozen network: students, decoders,
transformers, discriminators."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from omnial_bench.models.fitted import Fitted, Normals
from omnial_bench.models.schedule import Log, drawn, iterations_of, learning_rate
from omnial_bench.types import RGB

KEPT = 2**30
"""Bytes of frozen features that are kept for all normals; where there are more, each batch makes its own again."""

Features = tuple[Tensor, ...]
Terms = dict[str, Tensor]


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

    def frozen(self, images: RGB) -> Features:  # noqa: ARG002
        """What never changes of images while it learns: tensors of `b` rows each, here none."""
        return ()

    @abstractmethod
    def loss(self, images: RGB, frozen: Features, generator: torch.Generator) -> Terms:
        """Named terms of normal images and of what `frozen` says of them; random numbers come from `generator`, on the
        CPU."""

    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """UserError where the loss stops being finite."""
        assert isinstance(normals, Normals)
        training, frozen = normals.training, _Frozen(self, normals)
        steps = normals.steps or iterations_of(training, len(normals))
        seed = int(torch.randint(2**31, (), generator=generator))
        optimizers = self.optimizers(training.lr)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        rates = [group["lr"] / training.lr for group in groups]
        weights = [weight for group in groups for weight in group["params"]]
        # Of convolutions, the order in which they are quickest.
        self.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for weight in weights:
            weight.requires_grad_(True)
        log = Log(type(self).__name__, steps, training, normals.progress, normals.rows)
        for step in range(steps):
            lr = learning_rate(training, step, steps)
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * lr
            places = drawn(training, len(normals), step, seed, generator)
            with torch.enable_grad():
                terms = self.loss(_laid_out(normals.at(places)), frozen.at(places), generator)
                torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            if math.isfinite(self.clip):
                torch.nn.utils.clip_grad_norm_(weights, self.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            log.add(step + 1, terms)
        self.eval().requires_grad_(False)


class _Frozen:
    """What is frozen of all normals, for the places that a step draws."""

    def __init__(self, detector: Learned, normals: Normals) -> None:
        self.detector, self.normals = detector, normals
        self.parts: list[Tensor] | None = None
        first = self._features(normals.at(torch.zeros(1, dtype=torch.long)))
        if len(normals) * sum(part.nbytes for part in first) <= KEPT:
            every = [self._features(images) for images in normals]
            self.parts = [torch.cat(parts) for parts in zip(*every, strict=True)]

    def at(self, places: Int64[Tensor, " b"]) -> Features:
        if self.parts is None:
            return self._features(self.normals.at(places))
        return tuple(part[places.to(part.device)] for part in self.parts)

    @torch.no_grad()
    def _features(self, images: RGB) -> Features:
        return self.detector.frozen(_laid_out(images))


def _laid_out(images: RGB) -> RGB:
    return images.contiguous(memory_format=torch.channels_last)
