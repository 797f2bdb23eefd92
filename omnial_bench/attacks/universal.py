"""One perturbation for all images of a category (Moosavi-Dezfooli et al., CVPR 2017), by sign ascent on minibatches
(Shafahi et al., AAAI 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.attacks.aim import Masks
from omnial_bench.attacks.dense import RecordAttack
from omnial_bench.types import RGB


class Universal(RecordAttack):
    """One change for every image of a call, cut to [0, 1] and to `where` for each image apart.

    `steps` are passes over the images in a new order. `step_size`, or 2.5 eps / steps, is what a pass moves a pixel
    by at the most, and each minibatch its share of it: minibatches disagree, and whole steps would leap over what they
    agree on. `losses` holds the mean objective over each pass, met with the change as it then was.
    """

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        clean, truth, region = self.inputs(images, labels, where)
        region = region[:, None]
        change = torch.zeros_like(clean[:1])
        if self.random_start:
            change = self.threat.draw(change.shape, self.generator).to(clean.device)
        losses, flat = [], torch.zeros((), dtype=torch.long, device=clean.device)
        size: int = self.options.batch
        for step in range(self.steps):
            order = torch.randperm(len(clean), generator=self.generator).to(clean.device)
            parts = [order[start : start + size] for start in range(0, len(order), size)]
            total = torch.zeros((), device=clean.device)
            for part in parts:
                moved = clean[part] + change * region[part]
                loss, gradient = self.model.gradient(
                    moved.clamp(0, 1), truth[part], self.objective, towards=self.targeted, progress=step / self.steps
                )
                total += loss.sum()
                if step == 0:
                    flat += (gradient == 0).flatten(1).all(1).sum()
                move = self.sign * gradient * region[part]
                # A value at the end of [0, 1] that would go on has no say. One that would come back has: were it
                # silent as the clamp's gradient is, no change on a white ground could ever be taken back.
                stuck = ((moved >= 1) & (move > 0)) | ((moved <= 0) & (move < 0))
                mean = move.masked_fill(stuck, 0).mean(0, keepdim=True)
                change = self._inside(change + self.alpha / len(parts) * self._direction(mean))
            losses.append(total / len(clean))
        self.keep_losses(losses)
        self.flat = int(flat)
        return self.threat.project(clean + change * region, clean)

    def _direction(self, mean: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 h w"]:
        """The steepest ascent of length 1 in the ball's norm."""
        return mean.sign() if self.threat.norm == "linf" else mean / mean.norm().clamp_min(1e-30)

    def _inside(self, change: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 h w"]:
        """The nearest change in the ball; [0, 1] is each image's own matter."""
        eps = float(self.threat.eps)
        if self.threat.norm == "linf":
            return change.clamp(-eps, eps)
        shrink: Tensor = (eps / change.norm().clamp_min(1e-12)).clamp_max(1.0)
        return change * shrink
