"""Whether the attacks worked: checks on a run's rows that a detector which masks its gradient fails. No torch here.

After Carlini et al., On Evaluating Adversarial Robustness (2019), and Athalye et al., Obfuscated Gradients Give a False
Sense of Security (ICML 2018).
"""

from collections.abc import Callable, Mapping

import pandas as pd

from omnial_bench.attacks import conduct
from omnial_bench.attacks.evidence import (
    BALL,
    SETTINGS,
    TITLE,
    Figure,
    Model,
    Verdict,
    is_huge,
    judged,
    models_of,
    not_above,
    not_run,
    pairs_of,
)

COLUMNS = ("check", "detector", "paradigm", "category", "set", "figure", "reference", "status", "note")
"""Of health.csv, a row of which is one verdict on one model."""
BLIND = 0.01
"""In place of SLACK for Square, which climbs without a gradient: where nothing is masked it lies far behind PGD."""
CHANCE = 0.5
"""What a huge ball must drive a detector down to: who follows a true gradient there reaches chance or worse."""
SETTLED = 0.05
"""How far the figure may still move with more steps; beyond, a table would say something else after more of them."""


def iterative_beats_one_step(model: Model) -> Verdict:
    pairs = pairs_of(model.own, model.own, *BALL, "objective")
    return not_above(
        ((one, other) for one, other in pairs if one.iterative and other.one_step),
        why="one step does more harm than many",
        needs="PGD of one step and of several at the same eps and goal any, as in suite health",
    )


def white_box_beats_transfer(model: Model) -> Verdict:
    return not_above(
        pairs_of(model.own, model.transferred, *BALL, *SETTINGS),
        why="images made on another model do more harm than those made on this one",
        needs="images made on another model and on this one by the same attack with goal any, as in suite transfer",
    )


def gradient_beats_noise(model: Model) -> Verdict:
    """Without slack: an attack that is led astray does the harm of noise, no less."""
    pairs = pairs_of(model.own, model.own, *BALL)
    return not_above(
        ((one, other) for one, other in pairs if one.iterative and other.control),
        slack=0.0,
        why="noise without any aim does more harm than PGD",
        needs="PGD and uniform noise of the same eps, both with goal any, as in suite health",
    )


def gradient_beats_square(model: Model) -> Verdict:
    pairs = pairs_of(model.own, model.own, *BALL, "objective")
    return not_above(
        ((one, other) for one, other in pairs if one.iterative and other.blind),
        slack=BLIND,
        why="Square, which sees no gradient, does more harm than PGD",
        needs="PGD and Square of the same eps and objective with goal any, as in suite health",
    )


def nothing_else_harms_more(model: Model) -> Verdict:
    """The figure that a suite prints is that of its first attack with goal any: no other objective, and no goal that is
    a part of it, leaves less of the same ball."""
    printed: dict[tuple[object, ...], Figure] = {}
    for one in model.own:
        if one.iterative and not is_huge(one.norm, one.eps):
            printed.setdefault((one.suite, *(getattr(one, name) for name in BALL)), one)
    others = [one for one in (*model.own, *model.aside) if one.eps and not one.control]
    return not_above(
        (
            (one, other)
            for one, other in pairs_of(printed.values(), others, *BALL)
            if (other.objective, other.goal) != (one.objective, one.goal)
        ),
        why="another objective or goal does more harm",
        needs="a second objective or goal of the same ball, as in suite quick",
    )


def larger_eps_never_helps(model: Model) -> Verdict:
    """A huge eps has a check of its own: how far below chance it drives a detector depends on the step."""
    sizes = [one for one in model.own if not is_huge(one.norm, one.eps) and not one.control]
    larger = [pair for pair in pairs_of(sizes, sizes, "norm", "where", "n", *SETTINGS) if pair[0].eps > pair[1].eps]
    from_zero = [pair for pair in pairs_of(sizes, sizes, "n", "after") if pair[0].eps > pair[1].eps == 0]
    larger += [pair for pair in pairs_of(sizes, model.own, "n") if pair[0].after == pair[1].set]
    return not_above(
        larger + from_zero if larger else (),
        why="the larger ball holds the smaller one, so an attack in it cannot truly do less harm",
        needs="the same attack with goal any at two sizes below 64/255 or more, as in suite curve",
    )


def huge_eps_breaks(model: Model) -> Verdict:
    huge = [one for one in model.own if one.iterative and is_huge(one.norm, one.eps)]
    if not huge:
        return not_run("PGD with goal any at 64/255 or more in the L-infinity norm, as in suite health")
    worst = max(huge, key=lambda one: one.value)
    return judged(
        worst.value <= CHANCE, f"{TITLE} {worst.value:.3f} under {worst}, chance is {CHANCE:g}",
        "who survives this most likely hides the gradient; in doubt is every figure of a gradient attack on this model",
        set=worst.set, figure=worst.value, reference=CHANCE,
    )  # fmt: skip


def more_steps_change_little(model: Model) -> Verdict:
    pairs = [
        (short, long)
        for short, long in pairs_of(model.own, model.own, *BALL, "objective", "restarts", "options")
        if short.iterative and long.iterative and short.steps < long.steps
    ]
    if not pairs:
        return not_run("PGD of two lengths, neither of one step, at the same eps and goal any, as in suite health")
    # Of those that moved the longest is judged: attacks of fewer steps are in doubt with it.
    moved = [pair for pair in pairs if abs(pair[0].value - pair[1].value) > SETTLED]
    most = max((short.steps for short, _ in moved), default=None)
    longest = [pair for pair in moved if pair[0].steps == most] or pairs
    short, long = max(longest, key=lambda pair: abs(pair[0].value - pair[1].value))
    fall = short.value - long.value
    higher, why = (short, "the attack had not settled") if fall > 0 else (long, "more steps do less harm")
    return judged(
        abs(fall) <= SETTLED,
        f"{TITLE} {short.value:.3f} after {short.steps} steps ({short.set}), "
        f"{long.value:.3f} after {long.steps} ({long.set})",
        f"{why}; in doubt is the {higher.value:.3f} of {higher.set}, and of attacks of its kind that are no longer",
        set=higher.set, figure=fall, reference=SETTLED,
    )  # fmt: skip


CHECKS: Mapping[str, Callable[[Model], Verdict]] = {
    "has learnt": conduct.has_learnt,
    "nothing else harms more": nothing_else_harms_more,
    "iterative beats one-step": iterative_beats_one_step,
    "white-box beats transfer": white_box_beats_transfer,
    "PGD beats noise": gradient_beats_noise,
    "larger eps never helps": larger_eps_never_helps,
    "huge eps breaks": huge_eps_breaks,
    "more steps change little": more_steps_change_little,
    "loss rises": conduct.loss_rises,
    "loss moves": conduct.loss_moves,
    "no zero gradients": conduct.no_zero_gradients,
    "gradient is whole": conduct.gradient_is_whole,
    "gradient reaches all pixels": conduct.gradient_reaches_all_pixels,
    "scores do not saturate": conduct.scores_do_not_saturate,
    "Square does not beat PGD": gradient_beats_square,
    "bound holds": conduct.bound_holds,
}


def health(rows: pd.DataFrame, attempts: pd.DataFrame, logs: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Every check on every model of `rows` (results.csv of one run), columns `COLUMNS`; `attempts` is its attacks.csv,
    `logs` are those of its trainings by the names of their folders.

    Figures are class means over equally many images; several seeds are averaged. Where something is missing a check
    is `not run`, and its note says what it needs.
    """
    found = [
        {"check": name, "detector": detector, "paradigm": paradigm, **vars(check(model))}
        for (detector, paradigm), model in models_of(rows, attempts, logs or {})
        for name, check in CHECKS.items()
    ]
    table = pd.DataFrame(found, columns=list(COLUMNS))
    return table.astype({"figure": "float64", "reference": "float64"})


def doubts(checked: pd.DataFrame) -> pd.DataFrame:
    """The models that failed a check, one row each: detector, paradigm, names of the checks, and their notes."""
    failed = checked[checked["status"] == "failed"]
    rows = [
        (*model, ", ".join(part["check"]), "; ".join(part["check"] + ": " + part["note"]))
        for model, part in failed.groupby(["detector", "paradigm"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["detector", "paradigm", "checks", "notes"])
