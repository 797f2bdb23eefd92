"""PGD beside its bare passes, and beside torchattacks' own."""

import torch
import torchattacks
from torch import Tensor, nn

from benchmarks.common import PRECISIONS, autocast, clean_images, recipe_of
from benchmarks.measure import Row, memory_handed_back, side_by_side
from omnial_bench.attacks.aim import Aim
from omnial_bench.attacks.objectives import balanced, cross_entropy
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Threat
from omnial_bench.memory import keep_freed_memory
from omnial_bench.models.registry import build
from omnial_bench.runtime import attack_dtype, placed
from omnial_bench.types import Detector, ThreatModel

THREAT = Threat(name="pgd", eps="8/255", steps=10)  # type: ignore[arg-type]


class Logits(nn.Module):
    """A detector as torchattacks wants it: images to logits of two classes a pixel."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        odds = self.detector(images).log_odds
        return torch.stack((torch.zeros_like(odds), odds), 1)


def subject(name: str, preset: str, count: int) -> tuple[Detector, Tensor, Tensor]:
    """A new detector in evaluation mode, images and masks."""
    recipe = recipe_of(name, preset, None)
    detector = build(recipe, torch.Generator().manual_seed(0))
    images, _ = clean_images(recipe, count)
    masks = torch.zeros((count, *recipe.size), dtype=torch.bool)
    masks[:, 10:30, 10:30] = True
    return detector.eval(), images, masks


def over_floor(name: str, preset: str, precision: str, count: int, repeats: int) -> Row:
    """PGD of 10 steps over 10 bare forward and backward passes to the input."""
    detector, images, masks = subject(name, preset, count)
    dtype = attack_dtype(precision)  # type: ignore[arg-type]
    keep_freed_memory()
    with victim([placed(detector, "cpu")], precision=dtype) as target:
        pgd = DensePGD(target, ThreatModel(eps=THREAT.eps), generator=torch.Generator().manual_seed(1), steps=10)

        def bare() -> None:
            for _ in range(THREAT.steps):
                images.requires_grad_(True)
                with autocast(precision):
                    prediction = detector(images)
                torch.autograd.grad(balanced(prediction, Aim(masks, images)).sum(), images)
                images.requires_grad_(False)

        return side_by_side(
            f"{name} {preset}: PGD of 10 steps on {count} images", "10 bare passes to the input",
            lambda: pgd(images, masks), bare, repeats=repeats, sense="ours / theirs", goal="<= 1.05",
            precision=PRECISIONS[precision],
        )  # fmt: skip


def over_torchattacks(name: str, preset: str, count: int, repeats: int) -> Row:
    """PGD in bfloat16 against torchattacks' own on the same detector in float32, as it comes; and the loss reached."""
    detector, images, masks = subject(name, preset, count)
    plain, _, _ = subject(name, preset, count)
    eps = float(THREAT.eps)
    theirs = torchattacks.PGD(Logits(plain), eps=eps, alpha=2.5 * eps / THREAT.steps, steps=THREAT.steps)
    found: dict[str, Tensor] = {}
    keep_freed_memory()

    def other() -> None:
        with memory_handed_back():
            found["theirs"] = theirs(images, masks.long())

    with victim([placed(detector, "cpu")], precision=torch.bfloat16) as target:
        pgd = DensePGD(
            target, ThreatModel(eps=THREAT.eps), generator=torch.Generator().manual_seed(1), steps=THREAT.steps,
            objective=cross_entropy,
        )  # fmt: skip

        def ours() -> None:
            found["ours"] = pgd(images, masks)

        row = side_by_side(
            f"{name} {preset}: PGD of 10 steps on {count} images", "torchattacks' PGD in float32, memory handed back",
            ours, other, repeats=repeats, goal=">= 3.5" if preset == "paper" else "", precision="bfloat16",
        )  # fmt: skip
    with torch.inference_mode():
        clean, own, reached = (
            float(cross_entropy(plain(batch), Aim(masks, batch)).mean())
            for batch in (images, found["ours"], found["theirs"])
        )
    reach = f"{clean:.4f} before, {own:.4f} after ours, {reached:.4f} after theirs"
    note = f"cross-entropy in float32 with untrained weights: {reach}"
    return Row(**vars(row) | {"note": note})
