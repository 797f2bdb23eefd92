"""What each attack is, for whoever judges its figures, and what objectives go for. No torch here."""

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

    @classmethod
    def of(cls, words: str) -> "Spec":
        """That of which `str` gives these words; words that this version does not know are left alone."""
        return cls(**{field.name: field.name in words.split() for field in fields(cls)})


NOTHING = Spec()
AIMS: dict[str, str] = {
    "balanced": "pixel",
    "cospgd": "pixel",
    "cross_entropy": "pixel",
    "image_score": "image",
    "joint": "image+pixel+reconstruction",
    "linear": "pixel",
    "peaks": "image",
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
