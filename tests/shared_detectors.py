"""Detectors for trainings spread over processes: in double precision, and one that loses a process on the way."""

import os
import signal
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from omnial_bench.models import gradient
from omnial_bench.models.draem import DRAEM, Options
from omnial_bench.types import Prediction, Synthetic

DIES_AT = 3


class Exact(DRAEM):
    """DRAEM in float64, so that what is not rounding stands out."""

    def forward(self, images: Tensor) -> Prediction:
        return super().forward(images.double())

    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        images = batch.images.double()
        reconstruction = self.reconstruction(images)
        logits = self.localisation(torch.cat((reconstruction, images), 1))
        return {
            "mse": F.mse_loss(reconstruction, batch.clean.double()),
            "entropy": F.cross_entropy(logits, batch.labels),
        }


class Dying(Exact):
    """As Exact, but it saves after every step, and its second process is killed in one."""

    steps = 0

    def loss(self, batch: Synthetic) -> dict[str, Tensor]:
        gradient.SAVE_SECONDS = 0.0
        self.steps += 1
        if self.steps == DIES_AT and os.environ.get("LOCAL_RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch)


def exact(**options: Any) -> DRAEM:
    return Exact(Options(**options)).double()


def dying(**options: Any) -> DRAEM:
    return Dying(Options(**options)).double()
