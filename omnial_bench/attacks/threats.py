"""From a threat's record to what its attack is and takes, its ball, and what rows say of it.

Without torch until the ball is made, so that a mistake in a suite is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from omnial_bench.attacks import settings
from omnial_bench.attacks.settings import CORRUPTIONS, NoOptions
from omnial_bench.attacks.specs import AIMS, NOTHING, Spec
from omnial_bench.config.load import parse
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.errors import unknown
from omnial_bench.trust import codes_of, is_foreign

if TYPE_CHECKING:
    from omnial_bench.types import Goal, Norm, ThreatModel


def first_step(eps: Fraction, steps: int, *, decay: bool = False) -> Fraction:
    """2.5 eps / steps (Madry et al., ICLR 2018); with decay eps / 2, or more where so few steps would not add up to
    2.5 eps."""
    return max(eps / 2, 5 * eps / (steps + 1)) if decay else Fraction(5, 2) * eps / steps


def _common_step(threat: Threat) -> Fraction:
    return first_step(threat.eps, threat.steps)


def _pgd_step(threat: Threat) -> Fraction:
    return first_step(threat.eps, threat.steps, decay=options_of(threat).decay)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An attack by name: what it is and fits. How it is built stands in `building.py`."""

    spec: Spec = NOTHING
    options: type[Any] = NoOptions
    """A frozen dataclass of keyword settings with defaults."""
    norms: tuple[Norm, ...] = ("linf", "l2")
    goals: tuple[Goal, ...] = ("any", "hide", "fabricate", "target")
    whole: bool = False
    """Whether one call wants every image of a category: a universal perturbation does."""
    label: Callable[[Threat], str] | None = None
    """The label in the rows where the ball does not tell it; None: the threat model's."""
    fixed: Mapping[str, object] = field(default_factory=dict)
    """Keys of the record that fit with one value alone."""
    aims: bool = True
    """Whether it goes for the objective; noise and corruptions change images whatever the detector says of them."""
    moves: bool = False
    """Whether the image moves in its frame, and its truth with it."""
    sized: bool = False
    """Whether it is after the smallest change of each image that crosses the detector's threshold, `sizes`."""
    fewest: int = 1
    """Steps that it takes at the least."""
    title: str = ""
    """What reports call it; empty where they know its name."""
    step: Callable[[Threat], Fraction] | None = _common_step
    """The step, in pixel units, where the record names none; None: the attack has none, and takes none."""


def _corruption(*, moves: bool) -> Kind:
    fixed: dict[str, object] = {"eps": Fraction(1), "steps": 1, "restarts": 1}
    return Kind(
        options=settings.CorruptionOptions, norms=("linf",), goals=("any",), label=settings.corruption_label,
        fixed=fixed | ({"where": "frame"} if moves else {}), aims=False, moves=moves, step=None,
    )  # fmt: skip


_CLIMBS = Spec(iterative=True, uses_gradient=True)
ATTACKS: dict[str, Kind] = {
    "apgd": Kind(
        options=settings.APGDOptions,
        spec=replace(_CLIMBS, bound=True),
        step=lambda threat: settings.FIRST_STEP * threat.eps,
    ),
    **{name: _corruption(moves=kind.moves) for name, kind in CORRUPTIONS.items()},
    "di": Kind(options=settings.Diversity, spec=_CLIMBS),
    "fgsm": Kind(spec=Spec(uses_gradient=True), fixed={"steps": 1, "restarts": 1}, step=lambda threat: threat.eps),
    "mi": Kind(options=settings.Momentum, spec=_CLIMBS),
    "minimal": Kind(
        options=settings.MinimalOptions,
        spec=_CLIMBS,
        norms=("linf",),
        goals=("hide", "fabricate"),
        fixed={"objective": "image_score", "restarts": 1},
        step=None,
        sized=True,
        # A look at the image, a step along either gradient, and a look after it.
        fewest=4,
    ),
    "noise": Kind(spec=Spec(control=True), fixed={"steps": 1, "restarts": 1}, aims=False, step=None),
    "patch": Kind(
        options=settings.PatchOptions, spec=_CLIMBS, norms=("linf",), label=settings.patch_label, fixed={"restarts": 1}
    ),
    "pgd": Kind(options=settings.PGDOptions, spec=replace(_CLIMBS, bound=True, steady=True), step=_pgd_step),
    "square": Kind(options=settings.SquareOptions, spec=Spec(iterative=True), fixed={"restarts": 1}, step=None),
    "ti": Kind(options=settings.Translation, spec=_CLIMBS),
    "universal": Kind(options=settings.UniversalOptions, spec=_CLIMBS, whole=True, fixed={"restarts": 1}),
}


def kind_of(threat: Threat) -> Kind:
    """What a threat's attack is and takes; UserError for a name that does not exist, and as of `attack_named` for code
    from elsewhere, which is imported."""
    if not is_foreign(threat.attack):
        if threat.attack not in ATTACKS:
            raise unknown(f"attack of threat {threat.name}:", threat.attack, ATTACKS)
        return ATTACKS[threat.attack]
    from omnial_bench.attacks.outside import attack_named

    source = attack_named(threat)
    title = source.title or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", source.__name__)
    return Kind(norms=source.norms, goals=source.goals, spec=source.spec, aims=not source.spec.control, title=title)


def kind_here(threat: Threat) -> Kind:
    """Its kind; of code from elsewhere, which is not imported for it, one that says nothing."""
    return Kind() if is_foreign(threat.attack) else kind_of(threat)


def spec_in(attack: str, told: str) -> Spec:
    """What the row of an attack tells of it; where that is nothing, as in files of earlier versions, what its name
    does. Nothing of an attack that this version does not know."""
    return Spec.of(told) if told.split() else ATTACKS.get(attack, Kind()).spec


def codes_in(suite: Suite) -> dict[str, str]:
    """The hashes of the code from elsewhere that a suite names, by its name; nothing is imported."""
    return codes_of(threat.attack for threat in suite.threats)


def label_of(threat: Threat) -> str:
    """The threat's label in the rows: `none` where nothing is attacked."""
    if not threat.eps:
        return "none"
    label = kind_of(threat).label
    text = str(threat_model(threat)) if label is None else label(threat)
    return text if threat.after is None else f"{text} after {threat.after}"


def columns_of(threat: Threat, label: str) -> dict[str, Any]:
    """The label, attack, goal, norm and eps of a threat as columns of a row.

    No norm and eps where the label names another measure than the ball, as a patch does and a corruption; the label
    alone where nothing is attacked.
    """
    if not threat.eps:
        return {"threat": label}
    in_ball = label.startswith(str(threat_model(threat)))
    measure = {"norm": threat.norm, "eps": eps_text(threat.eps)} if in_ball else {}
    return {"threat": label, "attack": threat.attack, "goal": threat.goal, **measure}


def eps_text(eps: Fraction) -> str:
    """An eps as the rows write it: `8/255`, and other than in whole grey levels as the fraction it is."""
    levels = 255 * eps
    return f"{levels.numerator}/255" if levels.denominator == 1 else str(eps)


def aim_of(threat: Threat) -> str:
    """Which figures of the attacked model the threat goes for: kinds of metric joined by `+`, or `none`."""
    return AIMS[threat.objective] if threat.eps and kind_of(threat).aims else "none"


def threat_model(threat: Threat) -> ThreatModel:
    """The ball and the goal of a record."""
    from omnial_bench.types import ThreatModel

    return ThreatModel(eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where)


def step_size(threat: Threat) -> Fraction | None:
    """The step that the attack begins with, in pixel units: the record's or the attack's own; None where nothing steps.

    Universal's is what a pass over the images moves a pixel by, adaptive PGD's is the first.
    """
    own = kind_of(threat).step if threat.eps else None
    if own is None:
        return None
    return own(threat) if threat.step_size is None else threat.step_size


def options_of(threat: Threat) -> Any:
    """The checked options; of an attack from elsewhere, what it makes of them."""
    if is_foreign(threat.attack):
        from omnial_bench.attacks.outside import make_attack

        return make_attack(threat)
    return parse(ATTACKS[threat.attack].options, threat.options, f"options of threat {threat.name}")
