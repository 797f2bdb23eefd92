"""From a threat's record to the ball, the attack and the maps that it is after."""

from fractions import Fraction
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.victim import Victim
from omnial_bench.errors import UserError, unknown
from omnial_bench.nouns import Goal, ThreatModel
from omnial_bench.records import Suite, Threat


class Attack(Protocol):
    """Images with labels (the truth, or target maps) to attacked images, no pixel changed outside `where`."""

    losses: list[float]
    """Mean loss of the last call, before each step."""

    def __call__(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]: ...


class Builder(Protocol):
    def __call__(self, victim: Victim, threat: Threat, generator: torch.Generator) -> Attack: ...


def pgd(victim: Victim, threat: Threat, generator: torch.Generator) -> Attack:
    """PGD as a threat's record says."""
    attack: Attack = DensePGD(
        victim,
        threat_model(threat),
        generator=generator,
        objective=objective_named(threat.objective),
        steps=threat.steps,
        step_size=float(step_size(threat)),
        random_start=threat.random_start,
    )
    return attack


ATTACKS: dict[str, Builder] = {"pgd": pgd}


def threat_model(threat: Threat) -> ThreatModel:
    """The ball and the goal of a record."""
    return ThreatModel(eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where)


def step_size(threat: Threat) -> Fraction:
    """The record's step in pixel units, or 2.5 eps / steps (Madry et al., ICLR 2018)."""
    return threat.step_size if threat.step_size is not None else Fraction(5, 2) * threat.eps / threat.steps


def check_suite(suite: Suite) -> None:
    """Raise UserError where a threat names an attack or an objective that does not exist, or cannot be kept in 8
    bits."""
    for threat in suite.threats:
        if threat.attack not in ATTACKS:
            raise unknown(f"attack of threat {threat.name}:", threat.attack, ATTACKS)
        objective_named(threat.objective)
        if 0 < threat.eps < Fraction(1, 255):
            raise UserError(
                f"threat {threat.name}: expected eps 0 or at least 1/255, the step of an 8-bit file, got {threat.eps}; "
                "try 1/255"
            )


def aims(
    goal: Goal, masks: Bool[Tensor, "b h w"], regions: Bool[Tensor, "b h w"], anomalous: Bool[Tensor, " b"]
) -> tuple[Bool[Tensor, "b h w"], Bool[Tensor, " b"]]:
    """The labels to attack with, and which images are attacked at all.

    `any`: every image, against its true mask. `target`: anomalous images towards an all-normal map, normal images
    towards their region of `regions`. `hide` attacks the anomalous images alone, `fabricate` the normal ones alone.
    """
    if goal == "any":
        return masks, torch.ones_like(anomalous)
    targets = regions & ~anomalous[:, None, None]
    chosen = {"target": torch.ones_like(anomalous), "hide": anomalous, "fabricate": ~anomalous}[goal]
    return targets, chosen
