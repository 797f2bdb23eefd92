"""What may be switched of the detectors that look through a frozen backbone, and the sizes that they take. No torch."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=1, le=8192)]
Share = Annotated[float, Field(ge=0, lt=1)]
Sigma = Annotated[float, Field(ge=0, le=64)]
"""Deviation in pixels of the Gaussian on the map; 0 smoothes nothing."""


@dataclass(frozen=True, kw_only=True)
class LearnedOptions:
    """The backbone that all of them look through."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    backbone: str = "wide_resnet50_2"
    """A name of models/backbones."""
    strides: tuple[int, ...] = (4, 8, 16)
    """Of its levels that are looked at, the finest first."""
    weights: str = ""
    """A file of the backbone's weights in place of the recorded ones."""

    @property
    def multiple(self) -> int:
        """What height and width of an image are multiples of."""
        return max(self.strides)


@dataclass(frozen=True, kw_only=True)
class STFPMOptions(LearnedOptions):
    """The defaults are the paper's."""

    backbone: str = "resnet18"


@dataclass(frozen=True, kw_only=True)
class RD4ADOptions(LearnedOptions):
    """The defaults are the paper's."""

    wide: bool = True
    """Blocks with an inner width of half their channels, as in a wide ResNet-50; else blocks of two convolutions."""
    blocks: tuple[Count, ...] = (3, 4, 6)
    """Of the decoder, the coarsest level first."""
    linear: bool = False
    """A 1x1 convolution behind each level, for backbones whose features may be negative."""
    sigma: Sigma = 4.0

    @property
    def multiple(self) -> int:
        return 2 * max(self.strides)


@dataclass(frozen=True, kw_only=True)
class MKDOptions(LearnedOptions):
    """The defaults are the paper's."""

    backbone: str = "vgg16"
    strides: tuple[int, ...] = (4, 8, 16, 32)
    width: Width = 16
    """Of the cloner's inner convolutions."""
    euclidean: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the squared difference beside the cosine."""
    linear: bool = False
    """No ReLU ends a level, for backbones whose features may be negative."""
    sigma: Sigma = 4.0


@dataclass(frozen=True, kw_only=True)
class UniADOptions(LearnedOptions):
    """The defaults are the paper's."""

    backbone: str = "efficientnet_b4"
    strides: tuple[int, ...] = (2, 4, 8, 16)
    width: Annotated[int, Field(ge=2, le=4096, multiple_of=2)] = 256
    layers: Count = 4
    """Of the encoder, and as many of the decoder."""
    heads: Count = 8
    neighbourhood: Annotated[int, Field(ge=1, le=63)] = 7
    """Side in places of the square around a place that it does not see."""
    jitter: Annotated[float, Field(ge=0)] = 20.0
    dropout: Share = 0.1


@dataclass(frozen=True, kw_only=True)
class SimpleNetOptions(LearnedOptions):
    """The defaults are the paper's."""

    strides: tuple[int, ...] = (8, 16)
    hidden: Width = 1024
    noise: Annotated[float, Field(gt=0)] = 0.015
    """Deviation of the noise that makes features anomalous, on the scale of the backbone's features."""
    sigma: Sigma = 4.0


@dataclass(frozen=True, kw_only=True)
class CutPasteOptions:
    """The defaults are the paper's."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    backbone: str = "resnet18"
    stride: int = 32
    """Of the features that are pooled."""
    weights: str = ""
    """A file of the backbone's weights in place of the recorded ones; nothing from `scratch`."""
    scratch: bool = True
    """Learn the backbone's network from nothing; else it is frozen as it was trained, and the head alone learns."""
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (512, 128)
    """Widths of the head, of which the last is the embedding."""
    window: Annotated[int, Field(ge=1, le=63)] = 1
    """Odd side of the windows of the map, in places."""
    sigma: Sigma = 4.0

    @property
    def multiple(self) -> int:
        return self.stride


@dataclass(frozen=True, kw_only=True)
class PaDiMOptions(LearnedOptions):
    """The defaults are the paper's."""

    channels: Annotated[int, Field(ge=1)] = 550
    """Drawn by chance of all that the backbone has at these strides."""
    grid: Literal[2, 4, 8, 16] = 4
    """Pixels between two places that have a Gaussian each."""
    sigma: Sigma = 4.0

    @property
    def multiple(self) -> int:
        return max(*self.strides, self.grid)


@dataclass(frozen=True, kw_only=True)
class PaDiMSPDOptions(PaDiMOptions):
    """The defaults are PaDiM's and SimSiam's."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    """Of the likeness between an image and itself with a small change."""
    width: Width = 2048
    """Of the projection that images are compared in."""


@dataclass(frozen=True, kw_only=True)
class PatchCoreOptions(LearnedOptions):
    """The defaults are the paper's."""

    strides: tuple[int, ...] = (8, 16)
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of the normals' features: how many the memory keeps."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Features that the memory keeps at the most."""
    neighbours: Annotated[int, Field(ge=1)] = 9
    """Of the nearest feature in the memory: those that weigh the image score; 1 does not weigh it."""
    sigma: Sigma = 4.0


@dataclass(frozen=True, kw_only=True)
class PatchSVDDOptions:
    """The defaults are the published code's."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    width: Width = 32
    """Of the narrowest convolution."""
    size: Width = 64
    """Of an embedding."""
    patches: Count = 1
    """Pairs of each kind an image of a batch."""
    weight: Annotated[float, Field(ge=0)] = 1e-3
    """Of the distance of patches that almost coincide."""
    most: Annotated[int, Field(ge=1)] | None = None
    """Embeddings that a memory holds at the most; None: all."""
    multiple: ClassVar[int] = 16
