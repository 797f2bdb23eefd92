"""An adversarial patch (Brown et al., 2017) for each image: a rectangle that may look like anything."""

import math

import torch

from omnial_bench.attacks.aim import Masks
from omnial_bench.attacks.boxes import box_of, filled, placed
from omnial_bench.attacks.dense import RecordAttack, stronger
from omnial_bench.types import RGB


class Patch(RecordAttack):
    """A patch at a random place of each image, drawn by sign steps; eps is the most that a pixel in it may change.

    The patch is as square as the frame lets it be, lies in the box around `where` and is cut to it. The best of the
    start and the `steps` steps is kept for each image: at eps 1 the steps are long, and the last need not be best.
    """

    def forward(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB:
        """The images with their patches, in float32, in [0, 1]; equal to `images` outside of patch and `where`."""
        clean, truth, region = self.inputs(images, labels, where)
        patch = self.place(region)[:, None]
        attacked = clean
        if self.random_start:
            noise = self.threat.draw(clean.shape, self.generator).to(clean.device)
            attacked = self.threat.project(clean + noise * patch, clean)
        kept, best = attacked, torch.full_like(clean[:, 0, 0, 0], -math.inf)
        losses, flat = [], torch.zeros(())
        for step in range(self.steps):
            loss, gradient = self.model.gradient(
                attacked, truth, self.objective, towards=self.targeted, progress=step / self.steps
            )
            losses.append(loss.mean())
            kept, best = stronger(kept, best, attacked, self.sign * loss)
            if step == 0:
                flat = (gradient == 0).flatten(1).all(1).sum()
            move = self.sign * self.alpha * gradient.sign() * patch
            attacked = self.threat.project(attacked + move, clean)
        loss = self.model.value(attacked, truth, self.objective, towards=self.targeted)
        kept, _ = stronger(kept, best, attacked, self.sign * loss)
        self.keep_losses(losses)
        self.flat = int(flat)
        return kept

    def place(self, region: Masks) -> Masks:
        """The pixels of a patch in each region, at a random place."""
        b, h, w = region.shape
        pixels = self.options.area * h * w
        height = min(h, max(1, round(pixels**0.5)))
        width = min(w, max(1, round(pixels / height)))
        height = min(h, max(1, round(pixels / width)))
        sides = torch.tensor([[height], [width]], device=region.device).expand(2, b)
        return region & filled(placed(box_of(region), sides[0], sides[1], (h, w), self.generator), (h, w))
