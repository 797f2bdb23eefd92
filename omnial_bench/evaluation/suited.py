"""Whether a detector has the gradient that a suite takes of it."""

from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from omnial_bench.attacks.conduct import UNFELT, WHOLE
from omnial_bench.attacks.objectives import balanced, image_score
from omnial_bench.attacks.plateaus import unfelt
from omnial_bench.attacks.slopes import agreement
from omnial_bench.attacks.threats import kind_of
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Suite
from omnial_bench.defences.base import Defence
from omnial_bench.errors import UserError
from omnial_bench.models.outside.adapter import Adapted
from omnial_bench.models.outside.gradients import REFUSED, ForwardOnly, named, not_whole
from omnial_bench.types import Detector, ThreatModel

NEAR = ThreatModel(eps=Fraction(8, 255))
"""Where pixels without a gradient are moved."""


def takes_gradient(suite: Suite) -> list[str]:
    """The threats of a suite that differentiate the model: Square, noise and corruptions do not."""
    return [threat.name for threat in suite.threats if threat.eps and kind_of(threat).spec.uses_gradient]


def has_gradient(detector: Detector) -> bool:
    """False for a module that is attacked by forward passes alone, in whatever defence."""
    while isinstance(detector, Defence):
        detector = detector.detector
    return not (isinstance(detector, Adapted) and isinstance(detector.module, ForwardOnly))


def check_suited(detector: Detector, suite: Suite, name: str) -> None:
    """UserError where a suite differentiates a model that has no gradient."""
    if not has_gradient(detector) and (threats := takes_gradient(suite)):
        some, take = ", ".join(threats[:3]), "take" if len(threats) > 1 else "takes"
        raise UserError(
            f"{name} is shown images and has no gradient, which {some} of suite {suite.name} {take}; "
            "try the suites queries or corruptions, or sets made on another model"
        )


def check_gradient(detector: Detector, images: Float[Tensor, "b 3 h w"]) -> float:
    """The cosine of a detector's slopes as its gradient tells them and as forward passes measure them, on normal
    images, for its map and its image score; the lower of the two. UserError where it is below 0.98, or where pixels
    without a gradient move the map: part of the gradient is cut, and attacks would find less than there is."""
    name = named(detector.module) if isinstance(detector, Adapted) else type(detector).__name__
    truth = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool, device=images.device)
    cosines = []
    for objective in (balanced, image_score):
        try:
            with victim([detector]) as target:
                cosine = agreement(target, images, truth, objective, torch.Generator().manual_seed(0))
        except UserError as error:
            if str(error).startswith(REFUSED):
                raise
            raise not_whole(name, str(error).partition(" (")[2].partition(");")[0] or str(error)) from error
        if cosine is None:
            raise not_whole(name, "its output does not move when its input does")
        if cosine < WHOLE:
            raise not_whole(name, f"slopes told and measured agree to a cosine of {cosine:.3f}, not {WHOLE}")
        cosines.append(cosine)
    with victim([detector]) as target:
        share = unfelt(target, images, truth, NEAR, torch.Generator().manual_seed(0))
    if share is not None and share > UNFELT:
        raise not_whole(name, f"where no pixel has a gradient they do {share:.0%} of what all pixels do to its map")
    return min(cosines)
