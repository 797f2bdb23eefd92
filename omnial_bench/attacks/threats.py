"""From a threat's record to the ball, the attack and the maps that it is after."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import ConfigDict
from torch import Tensor

from omnial_bench.attacks import apgd, corruptions, noise, outside, patch, pgd, square, transfer, universal
from omnial_bench.attacks.apgd import DenseAPGD
from omnial_bench.attacks.objectives import AIMS, ANOMALOUS, HIDDEN, objective_named
from omnial_bench.attacks.pgd import DensePGD
from omnial_bench.attacks.specs import Spec, spec_of
from omnial_bench.attacks.transfer import DenseTransfer
from omnial_bench.attacks.victim import Victim
from omnial_bench.config.load import parse
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.errors import UserError, unknown
from omnial_bench.trust import check_trust, codes_of, is_foreign
from omnial_bench.types import Goal, Norm, ThreatModel


class BuiltAttack(Protocol):
    """Images with labels (the truth, or target maps) to attacked images, no pixel changed outside `where`."""

    losses: list[float]
    """Mean objective of the last call over its images, before each step; empty where no step looks at one."""
    flat: int | None
    """Images of the last call whose gradient was zero everywhere at the start, where an image whose weights are zero at
    first alone does not count; None without a gradient."""

    def __call__(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Bool[Tensor, "b h w"],
        where: Bool[Tensor, "b h w"] | None = None,
    ) -> Float[Tensor, "b 3 h w"]: ...


@dataclass(frozen=True)
class NoOptions:
    """An attack without settings of its own."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


def _common_step(threat: Threat) -> Fraction:
    return pgd.first_step(threat.eps, threat.steps)


def _pgd_step(threat: Threat) -> Fraction:
    return pgd.first_step(threat.eps, threat.steps, decay=_options(threat).decay)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An attack by name: how it is built and what it fits."""

    build: Callable[[Victim, Threat, torch.Generator, Any], BuiltAttack]
    """From the victim, the record, random numbers (on the CPU) and the checked options."""
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
    step: Callable[[Threat], Fraction] | None = _common_step
    """The step, in pixel units, where the record names none; None: the attack has none, and takes none."""


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


def _fgsm(victim: Victim, threat: Threat, generator: torch.Generator, options: NoOptions) -> BuiltAttack:
    """One step of eps from the image itself (Goodfellow et al., ICLR 2015): PGD's one step of 2.5 eps, cut back to
    the ball."""
    return _climbing(DensePGD, victim, threat.model_copy(update={"random_start": False}), generator, options)


CORRUPTION = Kind(
    build=corruptions.build, options=corruptions.Options, norms=("linf",), goals=("any",), label=corruptions.label,
    fixed={"eps": Fraction(1), "steps": 1, "restarts": 1}, aims=False, step=None,
)  # fmt: skip

ATTACKS: dict[str, Kind] = {
    "apgd": Kind(
        build=partial(_climbing, DenseAPGD), options=apgd.Options, step=lambda threat: apgd.FIRST_STEP * threat.eps
    ),
    **dict.fromkeys(corruptions.CORRUPTIONS, CORRUPTION),
    "di": Kind(build=partial(_climbing, DenseTransfer), options=transfer.Diversity),
    "fgsm": Kind(build=_fgsm, fixed={"steps": 1, "restarts": 1}, step=lambda threat: threat.eps),
    "mi": Kind(build=partial(_climbing, DenseTransfer), options=transfer.Momentum),
    "noise": Kind(build=noise.build, fixed={"steps": 1, "restarts": 1}, aims=False, step=None),
    "patch": Kind(build=patch.build, options=patch.Options, norms=("linf",), label=patch.label, fixed={"restarts": 1}),
    "pgd": Kind(build=partial(_climbing, DensePGD), options=pgd.Options, step=_pgd_step),
    "square": Kind(build=square.build, options=square.Options, fixed={"restarts": 1}, step=None),
    "ti": Kind(build=partial(_climbing, DenseTransfer), options=transfer.Translation),
    "universal": Kind(build=universal.build, options=universal.Options, whole=True, fixed={"restarts": 1}),
}


def build_attack(victim: Victim, threat: Threat, generator: torch.Generator) -> BuiltAttack:
    """The attack of a record, on a victim; UserError for an unknown name, option or objective, or a norm or goal that
    does not fit."""
    check_threat(threat)
    return kind_of(threat).build(victim, threat, generator, _options(threat))


def kind_of(threat: Threat) -> Kind:
    """What a threat's attack is and takes; UserError for a name that does not exist, and as of `attack_named` for code
    from elsewhere, which is imported."""
    if not is_foreign(threat.attack):
        if threat.attack not in ATTACKS:
            raise unknown(f"attack of threat {threat.name}:", threat.attack, ATTACKS)
        return ATTACKS[threat.attack]
    source = outside.attack_named(threat)
    return Kind(build=_outside, norms=source.norms, goals=source.goals, aims=not source.spec.control)


def _outside(victim: Victim, threat: Threat, generator: torch.Generator, attack: outside.Attack) -> BuiltAttack:
    step = _common_step(threat) if threat.step_size is None else threat.step_size
    return outside.admit(victim, threat, generator, attack, float(step))


def spec_for(threat: Threat) -> Spec:
    """What a threat's attack does, also of one from elsewhere."""
    return outside.attack_named(threat).spec if is_foreign(threat.attack) else spec_of(threat.attack)


def title_of(threat: Threat) -> str:
    """What reports call a threat's attack; empty where they know its name."""
    return outside.title_of(threat) if is_foreign(threat.attack) else ""


def codes_in(suite: Suite) -> dict[str, str]:
    """The hashes of the code from elsewhere that a suite names, by its name; nothing is imported."""
    return codes_of(threat.attack for threat in suite.threats)


def label_of(threat: Threat) -> str:
    """The threat's label in the rows: `none` where nothing is attacked."""
    if not threat.eps:
        return "none"
    label = kind_of(threat).label
    return str(threat_model(threat)) if label is None else label(threat)


def aim_of(threat: Threat) -> str:
    """Which figures of the attacked model the threat goes for: kinds of metric joined by `+`, or `none`."""
    return AIMS[threat.objective] if threat.eps and kind_of(threat).aims else "none"


def threat_model(threat: Threat) -> ThreatModel:
    """The ball and the goal of a record."""
    return ThreatModel(eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where)


def step_size(threat: Threat) -> Fraction | None:
    """The step that the attack begins with, in pixel units: the record's or the attack's own; None where nothing steps.

    Universal's is what a pass over the images moves a pixel by, adaptive PGD's is the first.
    """
    own = kind_of(threat).step if threat.eps else None
    if own is None:
        return None
    return own(threat) if threat.step_size is None else threat.step_size


def check_suite(suite: Suite, *, looking: bool = False) -> list[str]:
    """Raise UserError where a threat of the suite does not exist or does not fit.

    Code from elsewhere is imported where the user trusts it and refused where not; who is only `looking` is given the
    names of what a run would have to trust, and nothing is imported.
    """
    wanted = []
    for threat in suite.threats:
        if looking and is_foreign(threat.attack):
            check_trust(threat.attack, [threat.attack], f"threat {threat.name} of suite {suite.name}", "attack")
            wanted += [] if threat.trusted else [threat.attack]
        else:
            check_threat(threat)
    return wanted


def check_threat(threat: Threat) -> None:
    """Raise UserError for an attack, option or objective that does not exist, a norm or goal that the attack cannot
    take, or an eps that 8 bits cannot keep."""
    kind = kind_of(threat)
    objective_named(threat.objective)
    for what, got, fits in (("norm", threat.norm, kind.norms), ("goal", threat.goal, kind.goals)):
        if got not in fits:
            raise UserError(
                f"threat {threat.name}: expected {what} {' or '.join(fits)} for {threat.attack}, got {got}; "
                f"try {what} = {fits[0]!r} or another attack"
            )
    if kind.step is None and threat.step_size is not None:
        raise UserError(
            f"threat {threat.name}: expected no step_size for {threat.attack}, which has none, got {threat.step_size}; "
            "leave it out, or try pgd"
        )
    for key, value in kind.fixed.items():
        if getattr(threat, key) != value:
            raise UserError(
                f"threat {threat.name}: expected {key} = {value} for {threat.attack}, got {getattr(threat, key)}; "
                f"write {key} = {value}, or try pgd"
            )
    if threat.step_size == 0 < threat.eps:
        raise UserError(f"threat {threat.name}: expected a step_size above 0, got 0; leave it out, or try eps / 4")
    if 0 < threat.eps < Fraction(1, 255):
        raise UserError(
            f"threat {threat.name}: expected eps 0 or at least 1/255, the step of an 8-bit file, got {threat.eps}; "
            "try 1/255"
        )
    _options(threat)


def _options(threat: Threat) -> Any:
    """The checked options; of an attack from elsewhere, what it makes of them."""
    if is_foreign(threat.attack):
        return outside.make_attack(threat)
    return parse(ATTACKS[threat.attack].options, threat.options, f"options of threat {threat.name}")


def aims(
    goal: Goal, masks: Bool[Tensor, "b h w"], regions: Bool[Tensor, "b h w"], anomalous: Bool[Tensor, " b"]
) -> tuple[Bool[Tensor, "b h w"] | UInt8[Tensor, "b h w"], Bool[Tensor, " b"]]:
    """The labels to attack with, and which images are attacked at all.

    `any`: every image, against its true mask. `target`: anomalous images towards an all-normal map, their defects
    HIDDEN, normal images towards their region of `regions`. `hide` attacks the anomalous images alone, `fabricate` the
    normal ones alone.
    """
    if goal == "any":
        return masks, torch.ones_like(anomalous)
    whole = anomalous[:, None, None]
    targets = ANOMALOUS * (regions & ~whole).byte() + HIDDEN * (masks & whole).byte()
    chosen = {"target": torch.ones_like(anomalous), "hide": anomalous, "fabricate": ~anomalous}[goal]
    return targets, chosen
