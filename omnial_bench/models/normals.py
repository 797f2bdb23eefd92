"""The normal images that a detector is fitted to: bytes in memory, floats where they are asked for."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from omnial_bench.config.schema import Training
from omnial_bench.data.images import to_float
from omnial_bench.models.budget import iterations_of
from omnial_bench.progress import Progress


class Normals:
    """Batches of normal images on a device, all in order as often as they are gone through, or those at places drawn.

    `training` says how many make a batch and, with `steps` (None: its budget on these images), by which schedule a
    detector learns that does so in steps.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        training: Training,
        *,
        steps: int | None = None,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> None:
        self.images, self.training, self.device, self.progress = images, training, device, progress
        self.steps = iterations_of(training, len(images)) if steps is None else steps
        self.passes = 0
        self.rows: list[dict[str, Any]] = []
        """What a detector that learns in steps tells the log."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    def __iter__(self) -> Iterator[Float[Tensor, "b 3 h w"]]:
        """Every image once, in order; each time that they are gone through is a pass."""
        self.passes += 1
        note = "" if self.passes == 1 else f"pass {self.passes}"
        done = 0
        for part in torch.split(self.images, self.training.batch):
            yield to_float(part, self.device)
            done += len(part)
            if self.progress is not None and done < len(self.images):
                self.progress(done, len(self.images), note)

    def at(self, places: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """The images at these places."""
        return to_float(self.images[places], self.device)
