"""Whether the attacks worked: checks on a run's rows that a detector which masks its gradient fails. No torch here.

After Carlini et al., On Evaluating Adversarial Robustness (2019), and Athalye et al., Obfuscated Gradients Give a False
Sense of Security (ICML 2018).
"""

from collections.abc import Callable, Mapping

import pandas as pd

from omnial_bench.attacks import comparisons, conduct
from omnial_bench.attacks.evidence import Model, Verdict, models_of

COLUMNS = ("check", "detector", "paradigm", "category", "set", "figure", "reference", "status", "note")
"""Of health.csv, a row of which is one verdict on one model."""

CHECKS: Mapping[str, Callable[[Model], Verdict]] = {
    "has learnt": conduct.has_learnt,
    "nothing else harms more": comparisons.nothing_else_harms_more,
    "iterative beats one-step": comparisons.iterative_beats_one_step,
    "white-box beats transfer": comparisons.white_box_beats_transfer,
    "PGD beats noise": comparisons.gradient_beats_noise,
    "larger eps never helps": comparisons.larger_eps_never_helps,
    "huge eps breaks": comparisons.huge_eps_breaks,
    "more steps change little": comparisons.more_steps_change_little,
    "loss rises": conduct.loss_rises,
    "loss moves": conduct.loss_moves,
    "no zero gradients": conduct.no_zero_gradients,
    "gradient is whole": conduct.gradient_is_whole,
    "scores do not saturate": conduct.scores_do_not_saturate,
    "Square does not beat PGD": comparisons.gradient_beats_square,
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
