"""Attacks by name: from a record to what attacks. Imported when one is asked for, for it brings torchattacks along."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from omnial_bench.attacks import corruptions, displacement, minimal, noise, outside, patch, square, universal
from omnial_bench.attacks.apgd import DenseAPGD
from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.threats import BuiltAttack, step_size, threat_model
from omnial_bench.attacks.transfer import DenseTransfer
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat
from omnial_bench.trust import is_foreign

Builder = Callable[[Victim, Threat, torch.Generator, Any], BuiltAttack]
"""From the victim, the record, random numbers (on the CPU) and the checked options."""


def _climbing(
    attack: type[DensePGD], victim: Victim, threat: Threat, generator: torch.Generator, options: Any
) -> BuiltAttack:
    """An attack of DensePGD's family; a step size that the record leaves out is the attack's own default."""
    built: BuiltAttack = attack(
        victim,
        threat_model(threat),
        generator=generator,
        objective=objective_named(threat.objective),
        steps=threat.steps,
        step_size=None if threat.step_size is None else float(threat.step_size),
        random_start=threat.random_start,
        restarts=threat.restarts,
        **asdict(options),
    )
    return built


def _fgsm(victim: Victim, threat: Threat, generator: torch.Generator, options: Any) -> BuiltAttack:
    """One step of eps from the image itself (Goodfellow et al., ICLR 2015): PGD's one step of 2.5 eps, cut back to
    the ball."""
    return _climbing(DensePGD, victim, threat.model_copy(update={"random_start": False}), generator, options)


BUILDERS: dict[str, Builder] = {
    "apgd": partial(_climbing, DenseAPGD),
    **dict.fromkeys(corruptions.KINDS, corruptions.build),
    **dict.fromkeys(displacement.MOVES, displacement.build),
    "di": partial(_climbing, DenseTransfer),
    "fgsm": _fgsm,
    "mi": partial(_climbing, DenseTransfer),
    "minimal": minimal.build,
    "noise": noise.build,
    "patch": patch.build,
    "pgd": partial(_climbing, DensePGD),
    "square": square.build,
    "ti": partial(_climbing, DenseTransfer),
    "universal": universal.build,
}


def build(victim: Victim, threat: Threat, generator: torch.Generator, options: Any) -> BuiltAttack:
    """The attack of a checked record; `options` are its own, or, of one from elsewhere, what it made of them."""
    if not is_foreign(threat.attack):
        return BUILDERS[threat.attack](victim, threat, generator, options)
    step = step_size(threat)
    return outside.admit(victim, threat, generator, options, float(threat.eps if step is None else step))
