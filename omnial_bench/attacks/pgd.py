"""Projected gradient descent on dense predictions (Madry et al., ICLR 2018), inside any threat model."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from omnial_bench.attacks.aim import Masks, Objective, PerImage
from omnial_bench.attacks.dense import DenseAttack, stronger
from omnial_bench.attacks.directions import ascent, gathered, within
from omnial_bench.attacks.objectives import balanced
from omnial_bench.attacks.plateaus import off_plateaus
from omnial_bench.attacks.settings import TOGETHER
from omnial_bench.attacks.threats import first_step
from omnial_bench.attacks.victim import Lookout
from omnial_bench.errors import UserError
from omnial_bench.types import RGB, ThreatModel


@dataclass(frozen=True)
class Climb:
    """What came of one start, or of several that lay in one batch."""

    images: RGB
    losses: Float[Tensor, "steps b"]
    """The objective before each step."""
    flat: Bool[Tensor, " b"]
    """Whether the gradient was zero everywhere, from the start on: SegPGD's weights alone can be zero at first."""
    gain: PerImage
    """The objective of `images`, negative where it is lowered: higher is stronger. Of the last step's start where there
    is but one climb and so nothing to choose."""


class DensePGD(DenseAttack):
    """PGD as an Attack of torchattacks, with the objective, the ball and the random numbers handed in.

    `model` is a Victim, or a module from images to logits (b, 2, h, w) as torchattacks' own takes it.
    Goal `any` raises the objective against the labels, which are the truth; the other goals lower it towards the
    labels, which are then target maps. `step_size` is in pixel units; None is that of `first_step`. With `decay` it is
    the first one, and the others fall linearly. With `momentum` a step goes along the gradient and that share of the
    direction before (see `gathered`). The random start is uniform in the L-infinity ball and, in L2, of a uniform
    direction and radius. Of several `restarts` the first alone can be the image itself, and each image keeps what its
    objective calls the strongest.

    Where regions have no gradient at a start, as behind a mask that blanks a white background, there is a climb more,
    which begins with these elsewhere in the ball (`off_plateaus`), and each image keeps the stronger of both.

    `losses` holds the mean loss of the last call, over its images and starts, before each step; where it chooses
    between a random start and images that another has left, that of the former comes first. `flat` counts its images
    whose gradient was zero everywhere at every start and stayed so.
    """

    def __init__(
        self,
        model: nn.Module,
        threat: ThreatModel,
        *,
        generator: torch.Generator,
        objective: Objective = balanced,
        steps: int = 10,
        step_size: float | None = None,
        random_start: bool = True,
        restarts: int = 1,
        best: bool = False,
        decay: bool = False,
        momentum: float = 0.0,
        together: int = TOGETHER,
    ) -> None:
        super().__init__("PGD", model, threat, objective, generator)
        # In fractions, as records reckon, so that a default written out gives the same bits.
        self.alpha = float(first_step(threat.eps, steps, decay=decay)) if step_size is None else step_size
        self.steps, self.random_start, self.restarts = steps, random_start, restarts
        self.best, self.decay, self.momentum, self.together = best, decay, momentum, together
        self.begin: RGB | None = None
        """Images in the ball where the next call begins, each there or at the random start, whichever the objective
        calls the stronger. All there where the victim has rivals, which are those of these images."""

    def lookout(self, truth: Masks) -> Lookout:
        """What tells the steps their objective and its gradient."""
        return Lookout(self.model, truth, self.objective, towards=self.targeted)

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        """The attacked images, in float32, inside the ball and [0, 1]; with `where`, equal to `images` outside of
        it. Raises UserError where the detector's output or gradient is NaN or infinite."""
        clean = images.detach().float()
        truth = (self.get_target_label(clean, labels) if self.targeted else labels).to(clean.device)
        region = None if where is None else where.to(clean.device).bool()[:, None]
        losses, flat = [], torch.ones(len(clean), dtype=torch.bool, device=clean.device)
        kept = gain = None
        before: list[PerImage] = []
        size = max(1, self.together // max(1, len(clean)))
        for first in range(0, self.restarts, size):
            starts = [self._start(clean, region, number) for number in range(self.restarts)[first : first + size]]
            n = len(starts)
            lookout = self.lookout(truth.repeat(n, 1, 1))
            if self.begin is not None:
                # With one start, as `check_suite` asks.
                begun = self.threat.project(self.begin.float(), clean)
                if not any(self.model.rivals):
                    begun, loss, flat = self._stronger(starts[0], begun, lookout)
                    before.append(loss)
                starts = [begun]
            regions = None if region is None else region.repeat(n, 1, 1, 1)
            begin, origins = torch.cat(starts), clean.repeat(n, 1, 1, 1)
            off = begin
            if self.begin is None and lookout.recalls:
                off = self._off_plateaus(begin, origins, regions, lookout)
            run = self.climb(origins, regions, begin, lookout)
            if off is not begin:
                run = self._joined(run, origins, regions, off, lookout, rows=(off != begin).flatten(1).any(1))
            losses.append(run.losses)
            flat &= run.flat.view(n, -1).all(0)
            for version, its_gain in zip(run.images.chunk(n), run.gain.chunk(n), strict=True):
                kept, gain = keep(kept, gain, version, its_gain)
        assert kept is not None
        self.losses = torch.stack([step.mean() for step in (*before, *torch.cat(losses, 1))]).tolist()
        # Where all is won already there is nothing to climb: that says nothing of the detector's gradient.
        self.flat = int(flat.sum()) if self.begin is None or before else None
        if not (all(map(math.isfinite, self.losses)) and torch.isfinite(kept).all()):
            raise UserError(
                "expected finite outputs and gradients from the detector all along the attack, got NaN or infinite "
                "ones after the first step; keep its roots, logarithms and divisions off 0 and its exponentials "
                "small, or try the attack square"
            )
        return kept.detach()

    def climb(self, clean: RGB, region: Bool[Tensor, "b 1 h w"] | None, start: RGB, lookout: Lookout) -> Climb:
        """The steps from one start of each image."""
        attacked, losses, flat = start, [], torch.ones(len(start), dtype=torch.bool, device=start.device)
        kept = gain = None
        direction = torch.zeros_like(start)
        for step in range(self.steps):
            loss, gradient = lookout.gradient(attacked, step / self.steps)
            losses.append(loss)
            flat &= (gradient == 0).flatten(1).all(1)
            if self.best:
                kept, gain = keep(kept, gain, attacked, self.sign * loss)
            size = self.alpha * (1 - step / self.steps) if self.decay else self.alpha
            direction = self.turned(direction, gradient)
            move = ascent(within(direction, region), self.threat)
            attacked = self.threat.project(attacked + self.sign * size * move, clean)
        if self.best or self.restarts > 1:
            kept, gain = keep(kept, gain, attacked, self.sign * lookout.value(attacked))
            return Climb(kept, torch.stack(losses), flat, gain)
        return Climb(attacked, torch.stack(losses), flat, self.sign * losses[-1])

    def turned(self, direction: RGB, gradient: RGB) -> RGB:
        """Where a step goes, from the direction of the one before and the gradient."""
        return gathered(direction, gradient, self.momentum) if self.momentum else gradient

    def _stronger(self, start: RGB, begin: RGB, lookout: Lookout) -> tuple[RGB, PerImage, Bool[Tensor, " b"]]:
        """Of each image the start or where another attack has left it, whichever the objective calls the stronger, for
        what was gained for one figure may have been lost for another; never where the gradient is zero, as of a score
        that saturates. With the objective at the start, and whether the gradient is zero there."""
        loss, slope = lookout.gradient(start, 0.0)
        its_loss, its_slope = lookout.gradient(begin, 0.0)
        better = (self.sign * its_loss >= self.sign * loss) & (its_slope != 0).flatten(1).any(1)
        wide = better[:, None, None, None]
        begun = torch.where(wide, begin, start)
        lookout.know(begun, torch.where(better, its_loss, loss), torch.where(wide, its_slope, slope))
        return begun, loss, (slope == 0).flatten(1).all(1)

    def _off_plateaus(self, begin: RGB, clean: RGB, region: Tensor | None, lookout: Lookout) -> RGB:
        """Where a step has a gradient to follow: the climb's first look, so that it costs no pass where all pixels
        have one."""
        still = lookout.gradient(begin, 0.0)[1] == 0
        still = still if region is None else still & region
        return off_plateaus(self.model, begin, clean, self.threat, still, self.objective)

    def _joined(
        self, run: Climb, clean: RGB, region: Tensor | None, begin: RGB, lookout: Lookout, *, rows: Bool[Tensor, " b"]
    ) -> Climb:
        """A climb, and of `rows` another from elsewhere where the objective calls that the stronger."""
        part = self.lookout(lookout.truth[rows])
        other = self.climb(clean[rows], None if region is None else region[rows], begin[rows], part)
        gain, its_gain = (self.sign * part.value(images) for images in (run.images[rows], other.images))
        better = its_gain > gain
        images, losses, flat, gains = run.images.clone(), run.losses.clone(), run.flat.clone(), run.gain.clone()
        images[rows], gains[rows] = stronger(run.images[rows], gain, other.images, its_gain)
        losses[:, rows] = torch.where(better, other.losses, run.losses[:, rows])
        flat[rows] &= other.flat
        return Climb(images, losses, flat, gains)

    def _start(self, clean: RGB, region: Tensor | None, number: int) -> RGB:
        if number == 0 and not self.random_start:
            return clean
        noise = within(self.threat.draw(clean.shape, self.generator).to(clean.device), region)
        return self.threat.project(clean + noise, clean)


def keep(kept: RGB | None, gain: PerImage | None, images: RGB, other: PerImage) -> tuple[RGB, PerImage]:
    """The stronger of the kept and the new version of each image, with its gain; the new one where they are equal."""
    if kept is None or gain is None:
        return images, other
    better = other >= gain
    return torch.where(better[:, None, None, None], images, kept), torch.where(better, other, gain)
