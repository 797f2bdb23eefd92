"""What the rows say of a threat, in columns: its label, the attack, the goal, and the ball."""

from fractions import Fraction
from typing import Any

from omnial_bench.config.schema import Threat
from omnial_bench.types import ThreatModel


def columns_of(threat: Threat, label: str) -> dict[str, Any]:
    """The label, attack, goal, norm and eps of a threat as columns of a row.

    No norm and eps where the label names another measure than the ball, as a patch does and a corruption; the label
    alone where nothing is attacked.
    """
    if not threat.eps:
        return {"threat": label}
    ball = ThreatModel(eps=threat.eps, norm=threat.norm, goal=threat.goal, where=threat.where)
    measure = {"norm": threat.norm, "eps": eps_text(threat.eps)} if label.startswith(str(ball)) else {}
    return {"threat": label, "attack": threat.attack, "goal": threat.goal, **measure}


def eps_text(eps: Fraction) -> str:
    """An eps as the rows write it: `8/255`, and other than in whole grey levels as the fraction it is."""
    levels = 255 * eps
    return f"{levels.numerator}/255" if levels.denominator == 1 else str(eps)
