"""Whether the threats of a suite exist and fit: each by itself, and beside those before it.

Without torch, so that a mistake in a suite is told at once.
"""

from collections.abc import Sequence
from fractions import Fraction

from omnial_bench.attacks.settings import CORRUPTIONS
from omnial_bench.attacks.specs import check_objective
from omnial_bench.attacks.threats import kind_here, kind_of, options_of, spec_in
from omnial_bench.config.schema import Suite, Threat
from omnial_bench.errors import UserError
from omnial_bench.trust import check_trust, is_foreign


def check_suite(suite: Suite, *, looking: bool = False, as_sets: bool = False) -> list[str]:
    """Raise UserError where a threat of the suite does not exist or does not fit; `as_sets` also where one goes on from
    another's images, moves their truth or is after a threshold, which a suite against sources may never.

    Code from elsewhere is imported where the user trusts it and refused where not; who is only `looking` is given the
    names of what a run would have to trust, and nothing is imported.
    """
    wanted = []
    for index, threat in enumerate(suite.threats):
        if as_sets or suite.against == "sources":
            _check_alone(suite, threat)
        if threat.start is not None:
            _check_start(threat, suite.threats[:index])
        if looking and is_foreign(threat.attack):
            check_trust(threat.attack, [threat.attack], f"threat {threat.name} of suite {suite.name}", "attack")
            wanted += [] if threat.trusted else [threat.attack]
        else:
            check_threat(threat)
        _check_corruption(suite, threat, suite.threats[:index])
    return wanted


def sized_in(suite: Suite) -> str:
    """The attack of a suite that is after a detector's threshold, or nothing."""
    return next((threat.attack for threat in suite.threats if threat.eps and kind_here(threat).sized), "")


def _check_start(threat: Threat, earlier: Sequence[Threat]) -> None:
    """UserError for a start that is no earlier threat of the same ball and place, or an attack that takes none."""
    alike = [(one.norm, one.eps, one.where, one.after, one.name) for one in earlier]
    mine = (threat.norm, threat.eps, threat.where, threat.after, threat.start)
    if mine not in alike:
        raise UserError(
            f"threat {threat.name}: expected start to name an earlier threat of the same norm, eps, where and after, "
            f"got {threat.start}; leave it out for a random start"
        )
    if not spec_in(threat.attack, "").bound or threat.restarts > 1:
        raise UserError(
            f"threat {threat.name}: expected no start for {threat.attack} with {threat.restarts} restarts; try pgd or "
            "apgd with one"
        )


def _check_alone(suite: Suite, threat: Threat) -> None:
    """UserError for a threat that no set can hold: each is made of its images as they are, under their own truth, and
    on models that have no threshold in common."""
    given = [f"{key} = {value}" for key, value in (("start", threat.start), ("after", threat.after)) if value]
    given += [threat.attack] if kind_here(threat).moves or kind_here(threat).sized else []
    if given:
        raise UserError(
            f"threat {threat.name}: expected no {given[0]} in sets, which are each made of the images as they are; "
            'leave it out, or take a suite that attacks test images (against = "self") with '
            f"`score --white-box {suite.name}`"
        )


def _check_corruption(suite: Suite, threat: Threat, earlier: Sequence[Threat]) -> None:
    """UserError for an `after` that is no earlier corruption, or images that move where their truth cannot."""
    if threat.after is not None:
        names = [one.name for one in earlier if one.attack in CORRUPTIONS]
        if threat.after not in names:
            raise UserError(
                f"threat {threat.name}: expected after to name an earlier corruption, got {threat.after}; "
                f"{f'try {names[0]}' if names else 'leave it out'}"
            )
    if suite.worst and kind_here(threat).moves:
        raise UserError(
            f"threat {threat.name}: expected {threat.attack}, with which the truth moves, in a suite that takes no "
            "worst over its threats; try another corruption"
        )


def check_threat(threat: Threat) -> None:
    """Raise UserError for an attack, option or objective that does not exist, a norm or goal that the attack cannot
    take, or an eps that 8 bits cannot keep."""
    kind = kind_of(threat)
    check_objective(threat.objective)
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
    if threat.eps and threat.steps < kind.fewest:
        raise UserError(
            f"threat {threat.name}: expected at least {kind.fewest} steps for {threat.attack}, got {threat.steps}; "
            "write steps = 40"
        )
    if threat.step_size == 0 < threat.eps:
        raise UserError(f"threat {threat.name}: expected a step_size above 0, got 0; leave it out, or try eps / 4")
    if 0 < threat.eps < Fraction(1, 255):
        raise UserError(
            f"threat {threat.name}: expected eps 0 or at least 1/255, the step of an 8-bit file, got {threat.eps}; "
            "try 1/255"
        )
    options_of(threat)
