"""What each attack is, for whoever judges its figures: asked here, never guessed from a name. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from omnial_bench.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What an attack does, whatever its settings."""

    iterative: bool = False
    """Whether it goes on from what it has reached, for as many steps as it is given."""
    uses_gradient: bool = False
    bound: bool = False
    """Whether it is after the most harm to each image alone: what is left by it is printed as robust."""
    steady: bool = False
    """Whether its loss is to rise from step to step: attacks that adapt their steps or draw their inputs try worse
    ones."""
    control: bool = False
    """Whether it aims at nothing and fills the ball: what every attack is to beat."""

    def __str__(self) -> str:
        """The names of what holds, with blanks between: how rows carry it."""
        return " ".join(field.name for field in fields(self) if getattr(self, field.name))


NOTHING = Spec()
SPECS: Mapping[str, Spec] = {
    "apgd": Spec(iterative=True, uses_gradient=True, bound=True),
    "di": Spec(iterative=True, uses_gradient=True),
    "fgsm": Spec(uses_gradient=True),
    "mi": Spec(iterative=True, uses_gradient=True),
    "minimal": Spec(iterative=True, uses_gradient=True),
    "noise": Spec(control=True),
    "patch": Spec(iterative=True, uses_gradient=True),
    "pgd": Spec(iterative=True, uses_gradient=True, bound=True, steady=True),
    "square": Spec(iterative=True),
    "ti": Spec(iterative=True, uses_gradient=True),
    "universal": Spec(iterative=True, uses_gradient=True),
}


def spec_of(attack: str) -> Spec:
    """What an attack is; of corruptions, and of an attack that this version does not know, nothing."""
    return SPECS.get(attack, NOTHING)


def spec_in(attack: str, told: str) -> Spec:
    """What the row of an attack tells of it; where that is nothing, as in files of earlier versions, what its name
    does. Words that this version does not know are left alone."""
    words = told.split()
    return Spec(**{field.name: field.name in words for field in fields(Spec)}) if words else spec_of(attack)


AIMS: dict[str, str] = {
    "balanced": "pixel",
    "cospgd": "pixel",
    "cross_entropy": "pixel",
    "image_score": "image",
    "joint": "image+pixel+reconstruction",
    "linear": "pixel",
    "pooled": "pixel",
    "ranking": "pixel",
    "reconstruction": "reconstruction",
    "segpgd": "pixel",
}
"""The kinds of metric that each objective goes for."""
HELD_AGAINST_RIVALS = frozenset({"pooled", "ranking"})
"""Objectives that look at what the detector says of all images where the attack begins, and after a small noise."""


def check_objective(name: str) -> None:
    """UserError, with the closest known one, for an objective that does not exist."""
    if name not in AIMS:
        raise unknown("objective", name, AIMS)
