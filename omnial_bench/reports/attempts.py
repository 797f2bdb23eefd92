"""What a run records of its attacks (attacks.csv) and of the checks of their health (health.csv). No torch here."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from omnial_bench.errors import UserError
from omnial_bench.results import read_texts, size_of

ATTEMPTS = (
    "suite", "set", "detector", "paradigm", "category", "source", "attack", "objective", "goal", "norm", "eps",
    "where", "steps", "restarts", "n", "attacked", "flat", "largest_change", "losses", "direction", "seed",
)  # fmt: skip
HEALTH = ("check", "detector", "paradigm", "category", "set", "figure", "reference", "status", "note")
PASSED, FAILED, NOT_RUN = STATUSES = ("passed", "failed", "not run")
LEARNT = "has learnt"
"""The check that a model has learnt at all; where it failed, its figures say nothing of an attack."""
WHOLE = ("mean", "all", "")
"""Categories of a check on the class means, or on the images of all categories together."""
_PLACE = re.compile(r"(?:SSIM|pixel AP) [\d.]+ on ([^,;:]+)")
"""How the note of that check names a category."""
_NUMBERS = ("steps", "restarts", "n", "attacked", "flat", "largest_change", "seed", "figure", "reference")


def read_attempts(run: Path, *, seed: int | None = None) -> pd.DataFrame:
    """attacks.csv of a run folder, a row an attack on a model's category; empty where there is none.

    `eps` stays as written and `size` is its number; what is no number in a column of numbers is a UserError.
    """
    table = _read(run / "attacks.csv", ATTEMPTS)
    try:
        table["size"] = [size_of(text) for text in table["eps"]]
    except ValueError as error:
        raise UserError(f"{run / 'attacks.csv'}: {error}") from error
    return table if seed is None else table[table["seed"] == seed].reset_index(drop=True)


def read_health(run: Path) -> pd.DataFrame:
    """health.csv of a run folder, a row a check of a model's category; empty where there is none."""
    table = _read(run / "health.csv", HEALTH)
    if strange := sorted(set(table["status"]) - set(STATUSES)):
        raise UserError(f"{run / 'health.csv'}: expected status {', '.join(STATUSES)}, got {strange[0]!r}")
    return table


def unlearnt_of(health: pd.DataFrame) -> dict[tuple[str, str], tuple[str, ...]]:
    """The detectors and paradigms that a check says have not learnt, with the categories, from the check's own or its
    note; none where these do not tell."""
    failed = health[(health["check"] == LEARNT) & (health["status"] == FAILED)]
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for (detector, paradigm), part in failed.groupby(["detector", "paradigm"], sort=False):
        each = [
            [str(row.category)] if row.category not in WHOLE else _PLACE.findall(str(row.note))
            for row in part.itertuples()
        ]
        told = dict.fromkeys(name for names in each for name in names)
        found[str(detector), str(paradigm)] = tuple(told) if all(each) else ()
    return found


def losses_of(text: str) -> list[float]:
    """The mean objective before each step, from its text."""
    try:
        return [float(part) for part in text.split()]
    except ValueError as error:
        raise UserError(f"expected losses as numbers with blanks between them, got {text[:40]!r}") from error


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = read_texts(file, columns, also=("options", "spec", "title"))
    if table is None:
        table = pd.DataFrame(columns=list(columns), dtype=str)
    for name in (name for name in _NUMBERS if name in columns):
        try:
            table[name] = pd.to_numeric(table[name].replace("", None)).astype("float64")
        except ValueError as error:
            raise UserError(f"{file} holds a value that is no number in column {name}: {error}") from error
    return table
