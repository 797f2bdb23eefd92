"""What may be switched of any detector, the values that options take, and the sizes that a detector takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from omnial_bench.errors import UserError


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("expected an odd number")
    return value


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    if len({*values}) < len(values):
        raise ValueError("expected each once")
    return values


Stride = Literal[2, 4, 8, 16, 32]
Strides = Annotated[tuple[Stride, ...], Field(min_length=1), AfterValidator(_distinct)]
Width = Annotated[int, Field(ge=1, le=1024)]
LayerWidth = Annotated[int, Field(ge=1, le=8192)]
Count = Annotated[int, Field(ge=1, le=64)]
AtLeastOne = Annotated[int, Field(ge=1)]
Fraction01 = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
OddSide = Annotated[int, Field(ge=1, le=255), AfterValidator(_odd)]
OddPlaces = Annotated[int, Field(ge=1, le=63), AfterValidator(_odd)]
Sigma = Annotated[float, Field(ge=0, le=64)]
"""Deviation in pixels of the Gaussian on the map; 0 smoothes nothing."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of any detector; where no other word is said, the defaults are the paper's."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    @property
    def multiple(self) -> int:
        """What height and width of an image are multiples of."""
        raise NotImplementedError

    def check(self, size: Sequence[int]) -> None:
        """UserError for a height and width that a detector with these does not take, and for what does not go
        together."""
        check_sides(size, self.multiple)


def check_sides(size: Sequence[int], multiple: int) -> None:
    """UserError where height or width is no multiple of what the poolings need."""
    height, width = size
    if height % multiple or width % multiple:
        near = "x".join(str(max(1, round(side / multiple)) * multiple) for side in size)
        raise UserError(
            f"expected a network height and width that {multiple} divides, got {height}x{width}; try {near}"
        )
