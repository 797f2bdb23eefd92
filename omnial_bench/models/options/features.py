"""What may be switched of detectors on features: of edges, of a frozen backbone, or of a network for patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from omnial_bench.errors import UserError
from omnial_bench.models.options.base import (
    AtLeastOne,
    Count,
    LayerWidth,
    OddPlaces,
    Options,
    Sigma,
    Stride,
    Strides,
    Weight,
)

PATCH = 64
"""Side in pixels of the larger patches of Patch SVDD."""
MOST_WIDE = 4096
"""Of UniAD's tokens."""


@dataclass(frozen=True, kw_only=True)
class GaussianOptions(Options):
    stride: Literal[2, 4, 8] = 4
    """Pixels between two places that have a Gaussian each."""
    scales: Annotated[int, Field(ge=1, le=3)] = 2
    """At how many halvings of the image edges are looked for; the coarsest is not coarser than the places."""
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the mean covariance of all places in that of each: few normals tell little of one place alone."""

    @property
    def multiple(self) -> int:
        return self.stride


@dataclass(frozen=True, kw_only=True)
class BackboneOptions(Options):
    """Of a detector that looks through a frozen backbone."""

    backbone: str = "wide_resnet50_2"
    """A name of models/backbones."""
    strides: Strides = (4, 8, 16)
    """Of its levels that are looked at, the finest first."""
    weights: str = ""
    """A file of the backbone's weights in place of the recorded ones."""

    @property
    def multiple(self) -> int:
        return max(self.strides)


@dataclass(frozen=True, kw_only=True)
class STFPMOptions(BackboneOptions):
    backbone: str = "resnet18"


@dataclass(frozen=True, kw_only=True)
class RD4ADOptions(BackboneOptions):
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

    def check(self, size: Sequence[int]) -> None:
        super().check(size)
        if any(coarse != 2 * fine for fine, coarse in pairwise(sorted(self.strides))):
            raise UserError(
                f"expected strides of rd4ad that are each twice another, got {list(self.strides)}; leave none out"
            )
        if len(self.blocks) != len(self.strides):
            raise UserError(
                f"expected a number of blocks for each of {len(self.strides)} strides of rd4ad, got "
                f"{list(self.blocks)}; name {len(self.strides)}"
            )


@dataclass(frozen=True, kw_only=True)
class MKDOptions(BackboneOptions):
    backbone: str = "vgg16"
    strides: Annotated[Strides, Field(min_length=2)] = (4, 8, 16, 32)
    """The image score leaves the finest out."""
    width: LayerWidth = 16
    """Of the cloner's inner convolutions."""
    euclidean: Weight = 0.5
    """Weight of the squared difference beside the cosine."""
    linear: bool = False
    """No ReLU ends a level, for backbones whose features may be negative."""
    normalised: bool = True
    """The backbone sees images as it was trained on them; the published code shows it MVTec AD's pixels in [0, 1]."""
    sigma: Sigma = 4.0


@dataclass(frozen=True, kw_only=True)
class UniADOptions(BackboneOptions):
    backbone: str = "efficientnet_b4"
    strides: Strides = (2, 4, 8, 16)
    width: Annotated[int, Field(ge=2, le=MOST_WIDE, multiple_of=2)] = 256
    layers: Count = 4
    """Of the encoder, and as many of the decoder."""
    heads: Count = 8
    neighbourhood: OddPlaces = 7
    """Side of the square around a place that it does not see."""
    jitter: Weight = 20.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def check(self, size: Sequence[int]) -> None:
        super().check(size)
        if self.width % self.heads:
            unit = lcm(2, self.heads)
            near = unit * min(max(1, round(self.width / unit)), MOST_WIDE // unit)
            raise UserError(
                f"expected a width of uniad that its {self.heads} heads divide, got {self.width}; try {near}"
            )


@dataclass(frozen=True, kw_only=True)
class PatchesOptions(BackboneOptions):
    """Of a detector that looks at patches of three places by three."""

    strides: Strides = (8, 16)
    pooled: Annotated[int, Field(ge=0, le=8192)] = 0
    """Values that each level's patch, channel by channel, and then those of all levels are pooled to, as in the
    published code; 0, for backbones of fewer channels: the mean over the patch of each channel."""


@dataclass(frozen=True, kw_only=True)
class SimpleNetOptions(PatchesOptions):
    hidden: LayerWidth = 1024
    noise: Annotated[float, Field(gt=0)] = 0.015
    """Deviation of the noise that makes features anomalous, on the scale of the backbone's features."""
    sigma: Sigma = 4.0


@dataclass(frozen=True, kw_only=True)
class CutPasteOptions(Options):
    backbone: str = "resnet18"
    stride: Stride = 32
    """Of the features that are pooled."""
    weights: str = ""
    """A file of the backbone's weights in place of the recorded ones; nothing from `scratch`."""
    scratch: bool = True
    """Learn the backbone's network from nothing; else it is frozen as it was trained, and the head alone learns."""
    hidden: Annotated[tuple[LayerWidth, ...], Field(min_length=1)] = (512, 128)
    """Widths of the head, of which the last is the embedding."""
    window: OddPlaces = 1
    """Side of the windows of the map."""
    sigma: Sigma = 4.0

    @property
    def multiple(self) -> int:
        return self.stride


@dataclass(frozen=True, kw_only=True)
class PaDiMOptions(BackboneOptions):
    channels: AtLeastOne = 550
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

    weight: Weight = 0.1
    """Of the likeness between an image and itself with a small change."""
    width: LayerWidth = 2048
    """Of the projection that images are compared in."""


@dataclass(frozen=True, kw_only=True)
class PatchCoreOptions(PatchesOptions):
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Of the normals' features: how many the memory keeps."""
    most: AtLeastOne | None = None
    """Features that the memory keeps at the most."""
    neighbours: AtLeastOne = 9
    """Of the nearest feature in the memory: those that weigh the image score; 1 does not weigh it."""
    sigma: Sigma = 4.0


@dataclass(frozen=True, kw_only=True)
class PatchSVDDOptions(Options):
    """The defaults are the published code's."""

    width: LayerWidth = 32
    """Of the narrowest convolution."""
    size: LayerWidth = 64
    """Of an embedding."""
    patches: Count = 1
    """Pairs of each kind an image of a batch, which are cut out of it."""
    dense: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Pairs of neighbours an image that two passes over the whole of it give, in place of `patches` cut out."""
    weight: Weight = 1e-3
    """Of the distance of patches that almost coincide."""
    most: AtLeastOne | None = None
    """Embeddings that a memory holds at the most, picked as PatchCore's are; None: all."""
    multiple: ClassVar[int] = 16

    def check(self, size: Sequence[int]) -> None:
        super().check(size)
        if min(size) < PATCH:
            raise UserError(
                f"expected a height and width of at least {PATCH} for the patches of patchsvdd, got "
                f"{size[0]}x{size[1]}; take larger images"
            )
