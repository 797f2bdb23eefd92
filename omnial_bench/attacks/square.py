"""Square attack on dense predictions (Andriushchenko et al., ECCV 2020): random search that takes no gradient."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import ConfigDict, Field
from torch import Tensor

from omnial_bench.attacks.dense import DenseAttack, stronger
from omnial_bench.attacks.victim import Victim
from omnial_bench.records import Threat

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of ten thousand, after which a square has half the area (the paper's section 4.1); scaled to the budget."""
SCHEDULE = 10000


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the search is begun."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    area: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the region's box that the first squares cover: p as in AutoAttack (Croce and Hein, ICML 2020). The
    paper's 0.05 for ImageNet is for ten thousand queries; hundreds want larger squares."""


class Box(NamedTuple):
    """The smallest upright box around the region of each image, in pixels; the whole frame for an empty region."""

    top: Int64[Tensor, " b"]
    left: Int64[Tensor, " b"]
    height: Int64[Tensor, " b"]
    width: Int64[Tensor, " b"]


class Square(DenseAttack):
    """Square in the L-infinity ball: a budget of `steps` queries, and the best picture so far is kept for each image.

    The first query paints vertical stripes, each later one a square of one colour change; all are at the corners of the
    ball. Unlike in the paper a picture whose stripes do no harm goes on from itself, for stripes can undo an attack
    that hides; the query for that is not counted. Squares lie in the box around `where`.
    """

    def __init__(
        self, victim: Victim, threat: Threat, generator: torch.Generator, options: Options | None = None
    ) -> None:
        super().__init__("square", victim, threat, generator)
        self.steps = threat.steps
        self.stripes = threat.random_start
        self.area = (options or Options()).area

    def forward(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """The attacked images, in float32, inside the ball and [0, 1]; equal to `images` outside of `where`."""
        clean, truth, region = self.inputs(images, labels, where)
        box, eps = box_of(region), float(self.threat.eps)
        loss = self.model.value(clean, truth, self.objective, towards=self.targeted)
        attacked, best = clean, self.sign * loss
        losses = []
        for step in range(self.steps):
            losses.append(self.sign * best.mean())
            if step == 0 and self.stripes:
                painted, colours = region, self._signs(len(clean), clean.shape[3])
            else:
                share = self.area / 2 ** sum(step * SCHEDULE > at * self.steps for at in HALVINGS)
                side = (share * box.height * box.width).sqrt().round().long()
                side = side.clamp_min(1).minimum(box.height).minimum(box.width)
                painted = region & window(box, side, side, clean.shape[2:], self.generator)
                colours = self._signs(len(clean), 1)
            corner = self.threat.project(clean + eps * colours.to(clean.device), clean)
            candidate = torch.where(painted[:, None], corner, attacked)
            loss = self.model.value(candidate, truth, self.objective, towards=self.targeted)
            attacked, best = stronger(attacked, best, candidate, self.sign * loss)
        self.keep_losses(losses)
        return attacked

    def _signs(self, n: int, width: int) -> Float[Tensor, "n 3 1 w"]:
        return 2.0 * torch.randint(0, 2, (n, 3, 1, width), generator=self.generator) - 1


def box_of(region: Bool[Tensor, "b h w"]) -> Box:
    """The box around each image's region, on its device."""
    (top, height), (left, width) = (_span(region.any(2)), _span(region.any(1)))
    return Box(top, left, height, width)


def window(
    box: Box,
    height: Int64[Tensor, " b"],
    width: Int64[Tensor, " b"],
    frame: torch.Size | tuple[int, int],
    generator: torch.Generator,
) -> Bool[Tensor, "b h w"]:
    """A rectangle of each image at a uniform place in its box; where it is longer than the box, as near as it can lie.

    `height` and `width` are of one image each, and no longer than the frame.
    """
    device = box.top.device
    drawn = torch.rand(2, len(box.top), generator=generator).to(device)
    rows = _placed(box.top, box.height, height, frame[0], drawn[0])
    columns = _placed(box.left, box.width, width, frame[1], drawn[1])
    return rows[:, :, None] & columns[:, None, :]


def _placed(
    start: Int64[Tensor, " b"], length: Int64[Tensor, " b"], side: Int64[Tensor, " b"], frame: int, share: Tensor
) -> Bool[Tensor, "b n"]:
    room = (length - side).clamp_min(0)
    first = start + (share * (room + 1)).long().minimum(room)
    first = first.clamp_min(0).minimum(frame - side)
    at = torch.arange(frame, device=start.device)
    return (at >= first[:, None]) & (at < (first + side)[:, None])


def _span(line: Bool[Tensor, "b n"]) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"]]:
    """First True of each line, and how far to behind the last; a line without one counts as True all along."""
    # argmax of integers gives the first of equal values, also on a GPU.
    first, behind = (x.to(torch.uint8).argmax(1) for x in (line, line.flip(1)))
    return first, line.shape[1] - behind - first


def build(victim: Victim, threat: Threat, generator: torch.Generator, options: Options) -> Square:
    """The Square attack of a record; L-infinity alone."""
    attack: Square = Square(victim, threat, generator, options)
    return attack
