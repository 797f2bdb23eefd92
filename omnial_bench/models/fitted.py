"""The base of detectors that are fitted to normal images, without a gradient: memories, Gaussians, projections."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from omnial_bench.config.schema import Training
from omnial_bench.data.images import to_float
from omnial_bench.models.outside.adapter import read
from omnial_bench.models.outside.calibration import to_log_odds
from omnial_bench.models.schedule import Row
from omnial_bench.progress import Progress
from omnial_bench.types import RGB, Detector, Prediction


@dataclass(eq=False)
class Normals:
    """Batches of normal images on a device, all in order as often as they are gone through, or those at places drawn;
    bytes in memory, floats where they are asked for.

    `training` says how many make a batch and, with `steps` (None: its budget on these images), by which schedule a
    detector learns that does so in steps.
    """

    images: UInt8[Tensor, "n 3 h w"]
    training: Training
    steps: int | None = None
    device: torch.device | str = "cpu"
    progress: Progress | None = None
    rows: list[Row] = field(default_factory=list)
    """What a detector that learns in steps tells the log."""
    passes: int = 0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    def __iter__(self) -> Iterator[RGB]:
        """Every image once, in order; each time that they are gone through is a pass."""
        self.passes += 1
        note, done = "" if self.passes == 1 else f"pass {self.passes}", 0
        for part in torch.split(self.images, self.training.batch):
            yield to_float(part, self.device)
            done += len(part)
            if self.progress is not None and done < len(self.images):
                self.progress(done, len(self.images), note)

    def at(self, places: Int64[Tensor, " b"]) -> RGB:
        return to_float(self.images[places], self.device)


class Fitted(Detector):
    """A detector that learns by one `fit` on normal images and is then given a scale on others, which were held out.

    All that it learns is parameters and buffers that the constructor registers, as `None` or of any shape where the fit
    decides it: a checkpoint brings them back as they were left, and nothing else.
    """

    odds_threshold: Tensor
    """Of the map and of the image score: the value that comes to lie at log-odds of 0."""
    odds_temperature: Tensor
    """Of the map and of the image score: what one unit of log-odds is worth."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("odds_threshold", torch.zeros(2))
        self.register_buffer("odds_temperature", torch.ones(2))

    @property
    def is_scaled(self) -> bool:
        """Whether it was fitted and given a scale."""
        return bool((self.odds_temperature != 1).any() or (self.odds_threshold != 0).any())

    @abstractmethod
    def fit(self, normals: Iterable[RGB], generator: torch.Generator) -> None:
        """Learn from normal images in [0, 1], which come in batches on the detector's device.

        They may be gone through as often as wanted, in the same order, and are never in memory as a whole. The caller
        has switched gradients off and evaluation mode on. Random numbers come from `generator`, on the CPU.
        """

    def prediction(
        self, images: RGB, maps: Float[Tensor, "b *one mh mw"], score: Float[Tensor, " b"] | None = None
    ) -> Prediction:
        """What `forward` returns: an anomaly map and perhaps an image score, both on any scale and higher where more
        anomalous, as log-odds.

        A map of another size than the images is resized (bilinear). Without a score the map's highest value is the
        image's. UserError for a map or a score of another shape.
        """
        values = read((maps, score), images)
        assert not isinstance(values, Prediction)
        return to_log_odds(*values, self.odds_threshold, self.odds_temperature)
