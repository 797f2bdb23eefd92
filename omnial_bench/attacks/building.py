"""Attacks by name: from a record to what attacks. Imported when one is asked for, for it brings torchattacks along."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import torch

from omnial_bench.attacks import outside
from omnial_bench.attacks.aim import Masks
from omnial_bench.attacks.apgd import DenseAPGD
from omnial_bench.attacks.checks import check_threat
from omnial_bench.attacks.corruptions import KINDS, MOVES, Corruption, Displacement
from omnial_bench.attacks.minimal import Minimal
from omnial_bench.attacks.noise import Noise
from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.patch import Patch
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.square import Square
from omnial_bench.attacks.threats import options_of, step_size, threat_model
from omnial_bench.attacks.transfer import DenseTransfer
from omnial_bench.attacks.universal import Universal
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat
from omnial_bench.trust import is_foreign
from omnial_bench.types import RGB


class BuiltAttack(Protocol):
    """Images with labels (the truth, or target maps) to attacked images, no pixel changed outside `where`."""

    losses: list[float]
    """Mean objective of the last call over its images, before each step; empty where no step looks at one."""
    flat: int | None
    """Images of the last call whose gradient was zero everywhere from the start on, where an image whose weights are
    zero at first alone does not count; None without a gradient."""

    def __call__(self, images: RGB, labels: Masks, where: Masks | None = None) -> RGB: ...


Builder = Callable[[Victim, Threat, torch.Generator, Any], BuiltAttack]
"""From the victim, the record, random numbers (on the CPU) and the checked options."""


def _climbing(
    attack: type[DensePGD], victim: Victim, threat: Threat, generator: torch.Generator, options: Any
) -> BuiltAttack:
    """An attack of DensePGD's family; a step size that the record leaves out is the attack's own default."""
    ball, objective = threat_model(threat), objective_named(threat.objective)
    step_size = None if threat.step_size is None else float(threat.step_size)
    given = threat.model_dump(include={"steps", "random_start", "restarts"}) | asdict(options)
    built: BuiltAttack = attack(victim, ball, generator=generator, objective=objective, step_size=step_size, **given)
    return built


def _fgsm(victim: Victim, threat: Threat, generator: torch.Generator, options: Any) -> BuiltAttack:
    """One step of eps from the image itself (Goodfellow et al., ICLR 2015): PGD's one step of 2.5 eps, cut back to
    the ball."""
    return _climbing(DensePGD, victim, threat.model_copy(update={"random_start": False}), generator, options)


BUILDERS: dict[str, Builder] = {
    "apgd": partial(_climbing, DenseAPGD),
    **dict.fromkeys(KINDS, Corruption),
    **dict.fromkeys(MOVES, Displacement),
    "di": partial(_climbing, DenseTransfer),
    "fgsm": _fgsm,
    "mi": partial(_climbing, DenseTransfer),
    "minimal": Minimal,
    "noise": Noise,
    "patch": Patch,
    "pgd": partial(_climbing, DensePGD),
    "square": Square,
    "ti": partial(_climbing, DenseTransfer),
    "universal": Universal,
}


def build_attack(victim: Victim, threat: Threat, generator: torch.Generator) -> BuiltAttack:
    """The attack of a record, on a victim; UserError for an unknown name, option or objective, or a norm or goal that
    does not fit."""
    check_threat(threat)
    if not is_foreign(threat.attack):
        return BUILDERS[threat.attack](victim, threat, generator, options_of(threat))
    step = step_size(threat)
    return outside.admit(victim, threat, generator, float(threat.eps if step is None else step))
