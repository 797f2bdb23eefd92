"""Detectors and images for tests of attacks: the worst change of a linear detector is known in closed form."""

from fractions import Fraction

import torch
from torch import Tensor, nn

from omnial_bench.attacks.aim import Aim, Objective
from omnial_bench.attacks.building import build_attack
from omnial_bench.attacks.dense import DenseAttack
from omnial_bench.attacks.victim import victim
from omnial_bench.config.schema import Threat
from omnial_bench.types import Detector, Prediction, ThreatModel

EPS = 8 / 255
LINF = ThreatModel(eps=Fraction(8, 255))


def of_odds(odds: Tensor) -> Prediction:
    return Prediction(torch.stack((torch.zeros_like(odds), odds), 1))


class Linear(Detector):
    """Log-odds of a pixel = its weights times its colour. Notes how many images each call shows it, and counts the
    calls that may take a gradient."""

    def __init__(self, side: int = 8, scale: float = 3.0, seed: int = 0) -> None:
        super().__init__()
        weight = torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed)) * scale
        self.weight = nn.Parameter(weight)
        self.shown: list[int] = []
        self.with_gradient = 0

    def forward(self, images: Tensor) -> Prediction:
        self.shown.append(len(images))
        self.with_gradient += torch.is_grad_enabled()
        return of_odds(self.odds(images))

    def odds(self, images: Tensor) -> Tensor:
        return (images * self.weight).sum(1)


class Undefined(Linear):
    """NaN from the `after`-th call on."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.after = after

    def forward(self, images: Tensor) -> Prediction:
        prediction = super().forward(images)
        return prediction if len(self.shown) <= self.after else Prediction(prediction.logits * float("nan"))


def clean_images(n: int = 4, side: int = 8) -> tuple[Tensor, Tensor]:
    """Random bytes as floats, and random masks."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (n, 3, side, side), generator=generator) / 255
    return images, torch.rand(n, side, side, generator=generator) > 0.6


def summed(prediction: Prediction, _: Aim) -> Tensor:
    """The log-odds themselves: linear in the image, so that the best change in L2 is along the weights."""
    return prediction.log_odds.flatten(1).sum(1)


def worst(images: Tensor, truth: Tensor, weight: Tensor, eps: float = EPS) -> Tensor:
    """Every value moved by eps against the truth, as far as [0, 1] lets it."""
    sign = torch.where(truth, -1.0, 1.0)[:, None] * weight.sign()
    return (images + eps * sign).clamp(0, 1)


def threat(attack: str, **settings) -> Threat:
    return Threat(name="t", attack=attack, **{"eps": Fraction(8, 255), **settings})


def blocks(truth: Tensor) -> Tensor:
    """A rectangle of each image, all different, as a region that an attack may touch."""
    where = torch.zeros_like(truth)
    for index, one in enumerate(where):
        one[1 : 4 + index % 3, 2 + index % 2 : 7] = True
    return where


def share(objective: Objective, detector: Linear, images: Tensor, attacked: Tensor, labels: Tensor, goal: str, eps=EPS):
    """What of the best possible change of the objective is reached, an image at a time."""
    best = worst(images, labels if goal == "any" else ~labels, detector.weight, float(eps))
    before, after, most = (objective(detector(x), Aim(labels, x)).detach() for x in (images, attacked, best))
    return (after - before) / (most - before)


def run_attack(name: str, detector: Detector, images: Tensor, labels: Tensor, where=None, seed=0, **settings):
    """What the attack of a record makes of the images, and the attack."""
    with victim([detector]) as target:
        attack = build_attack(target, threat(name, **settings), torch.Generator().manual_seed(seed))
        return attack(images, labels, where), attack


def climb(
    kind: type[DenseAttack],
    detector: Detector,
    images: Tensor,
    labels: Tensor,
    ball=LINF,
    where=None,
    seed=0,
    **settings,
):
    """The same of an attack by gradient with settings that no record holds."""
    with victim([detector]) as target:
        attack = kind(target, ball, generator=torch.Generator().manual_seed(seed), **settings)
        return attack(images, labels, where), attack
