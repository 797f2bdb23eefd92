"""Attacks from elsewhere, `package.module:object`: what they are called with, and what is measured of their images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from omnial_bench.attacks.aim import Objective
from omnial_bench.attacks.objectives import objective_named
from omnial_bench.attacks.specs import Spec
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.schema import Threat
from omnial_bench.errors import UserError, is_printable, unknown
from omnial_bench.trust import drawing_from, guarded, load, parameters_of
from omnial_bench.types import RGB, Goal, Norm, ThreatModel

ROUNDING = 1e-5
"""By how much of eps an attacked image may be longer than its ball, and by how much a value may leave [0, 1]: float32
rounds."""
TITLE = 40
"""Characters of a title at the most."""


@dataclass(frozen=True, kw_only=True)
class Budget(ThreatModel):
    """The ball and the goal of a threat, with what its record grants the attack."""

    objective: Objective
    """Raised where the goal is `any`, else lowered towards the target."""
    steps: int
    step_size: float
    """The record's in pixel units, else 2.5 eps / steps."""
    random_start: bool
    restarts: int

    @property
    def towards(self) -> bool:
        """Whether the target is a map that the objective is lowered towards, not the truth."""
        return self.goal != "any"

    @property
    def sign(self) -> float:
        """1 where the objective is raised, -1 where it is lowered."""
        return -1.0 if self.towards else 1.0


class Attacked(NamedTuple):
    """What an attack from elsewhere gives back."""

    images: RGB
    """Inside the ball and [0, 1], and outside the region as they came."""
    losses: Sequence[float | Float[Tensor, ""]] = ()
    """The mean objective over the images before each step, a number a step, or none."""
    zero_gradient: int | Int64[Tensor, ""] | None = None
    """Images whose gradient was zero everywhere in every step; None without a gradient."""


class Attack(ABC):
    """An attack from elsewhere, a class of its own for `attack = "package.module:object"` in a suite.

    It is made anew for each batch, with the `options` of the threat as keywords. Which images are attacked, rounding to
    bytes, measuring and scoring are not its concern.
    """

    title: ClassVar[str] = ""
    """In reports; empty: the name of the class."""
    spec: ClassVar[Spec] = Spec()
    """What the checks of health take it for; it claims no bound, unless it says so here."""
    norms: ClassVar[tuple[Norm, ...]] = get_args(Norm)
    goals: ClassVar[tuple[Goal, ...]] = get_args(Goal)

    @abstractmethod
    def __call__(
        self,
        victim: Victim,
        images: RGB,
        target: Bool[Tensor, "b h w"],
        region: Bool[Tensor, "b 1 h w"],
        threat: Budget,
        generator: torch.Generator,
    ) -> Attacked:
        """Attack `images`, in [0, 1]. `target` is the truth, or the map to go towards: what `victim.gradient` and
        `victim.value` take. Pixels change in `region` alone, random numbers come from `generator` (on the CPU)."""


class Admitted:
    """An attack from elsewhere at work on a victim; as `building.BuiltAttack`, and what it gives is measured."""

    def __init__(self, name: str, attack: Attack, victim: Victim, budget: Budget, generator: torch.Generator) -> None:
        self.name, self.attack, self.victim, self.budget, self.generator = name, attack, victim, budget, generator
        self.losses: list[float] = []
        self.flat: int | None = None

    def __call__(
        self,
        images: RGB,
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> RGB:
        """The attacked images; UserError, one line, where the attack fails, or gives images outside of the ball, the
        region or [0, 1], or losses that are not one a step."""
        clean = images.detach().float()
        region = torch.ones_like(clean[:, :1], dtype=torch.bool) if where is None else where.to(clean.device)[:, None]
        # What it draws from torch's global generator is decided by the seed as well, and moves no other attack.
        aside = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
        with guarded(self.name, "attack"), drawing_from(aside):
            # Copies, for the images are measured against these.
            found = self.attack(
                self.victim, clean.clone(), labels.to(clean.device), region.clone(), self.budget, self.generator
            )
        if not isinstance(found, Attacked):
            raise UserError(f"{self.name}: expected Attacked(images, losses, zero_gradient), got {_kind(found)}")
        attacked = self._measured(found.images, clean, region)
        with guarded(self.name, "say how it went"):
            self.losses = [float(loss) for loss in found.losses]
            self.flat = None if found.zero_gradient is None else int(found.zero_gradient)
        if len(self.losses) not in (0, self.budget.steps) or not all(map(math.isfinite, self.losses)):
            raise UserError(
                f"{self.name}: expected {self.budget.steps} finite losses, one before each step, or none, got "
                f"{len(self.losses)}"
            )
        if self.flat is not None and not 0 <= self.flat <= len(clean):
            raise UserError(f"{self.name}: expected zero_gradient from 0 to its {len(clean)} images, got {self.flat}")
        return attacked

    def _measured(self, found: object, clean: RGB, region: Bool[Tensor, "b 1 h w"]) -> RGB:
        if not isinstance(found, Tensor) or found.shape != clean.shape:
            raise UserError(f"{self.name}: expected images of shape {tuple(clean.shape)}, got {_kind(found)}")
        images, eps = found.detach().to(clean), float(self.budget.eps)
        if not torch.isfinite(images).all() or images.min() < -ROUNDING or images.max() > 1 + ROUNDING:
            raise UserError(f"{self.name}: expected images in [0, 1], got others; end each step with threat.project")
        longest = float(self.budget.distance(images, clean).max())
        if longest > eps * (1 + ROUNDING) + ROUNDING:
            raise UserError(
                f"{self.name} does not keep its bound: expected images within {self.budget.norm} {eps:.4g} of those "
                f"that it was given, got one at {longest:.4g}; end each step with threat.project"
            )
        if ((images - clean).abs() * ~region).max() > ROUNDING:
            raise UserError(f"{self.name}: expected pixels to change in the region alone; multiply changes by region")
        return images


def attack_named(threat: Threat) -> type[Attack]:
    """The class of a threat's attack, imported where the user trusts it.

    UserError as of `trust.load`, and where it is no class of an Attack, or says of itself what cannot be.
    """
    name = threat.attack
    source = load(name, [name] if threat.trusted else [], f"threat {threat.name}", "attack")
    if not (isinstance(source, type) and issubclass(source, Attack)):
        raise UserError(f"{name}: expected a class that derives from omnial_bench.Attack, got {_kind(source)}"[:300])
    if not isinstance(source.spec, Spec):
        raise UserError(f"{name}: expected a Spec as its spec, got {source.spec!r}"[:300])
    if not isinstance(source.title, str) or not is_printable(source.title) or len(source.title) > TITLE:
        raise UserError(
            f"{name}: expected a title of one line, {TITLE} letters at the most, got {source.title!r}"[:300]
        )
    for what, got, known in (("norms", source.norms, get_args(Norm)), ("goals", source.goals, get_args(Goal))):
        if not isinstance(got, tuple) or not got or not set(got) <= set(known):
            raise UserError(f"{name}: expected {what} as a tuple out of {', '.join(known)}, got {got!r}"[:300])
    return source


def make_attack(threat: Threat) -> Attack:
    """A threat's attack, made of its options; UserError for an option that it has not, and where it fails."""
    source, known = attack_named(threat), parameters_of(attack_named(threat))
    for option in threat.options:
        if option not in known:
            raise unknown(f"option of {threat.attack} in threat {threat.name}:", option, known)
    with guarded(threat.attack, "build"):
        return source(**threat.options)


def admit(victim: Victim, threat: Threat, generator: torch.Generator, step_size: float) -> Admitted:
    """An attack from elsewhere at work on a victim, within the budget of its record."""
    budget = Budget(
        eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where, steps=threat.steps,
        objective=objective_named(threat.objective), step_size=step_size, random_start=threat.random_start,
        restarts=threat.restarts,
    )  # fmt: skip
    return Admitted(threat.attack, make_attack(threat), victim, budget, generator)


def _kind(value: object) -> str:
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return f"{type(value).__name__}{shape}"
