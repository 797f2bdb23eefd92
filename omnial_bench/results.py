"""Rows of results, attacks and differences, and their CSV files as pandas frames. No torch here."""

import math
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from fractions import Fraction
from pathlib import Path

import pandas as pd

from omnial_bench.config.schema import MOST
from omnial_bench.errors import UserError, is_printable
from omnial_bench.io.csv import csv_text, unescaped
from omnial_bench.io.whole import write_text

HEADLINE = ("image_auroc", "pixel_auroc", "pixel_ap")
"""The metrics that models are compared by."""
AT_THRESHOLD = ("image_missed", "image_false_alarms")
"""The metrics that a decision threshold gives, shown beside them; `image_false_alarms_held` is what it was set for."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One number: `value` is in the range that its metric says of itself (`metrics.metric`), a fraction in [0, 1] for
    most, and None where it is undefined; `n` counts images."""

    detector: str
    paradigm: str
    preset: str
    dataset: str
    category: str
    set: str
    threat: str
    source: str
    metric: str
    value: float | None
    n: int
    seed: int
    run: str
    aim: str = "none"
    """Which figures of this model the attack goes for: kinds of metric (`pixel`, `image`, `reconstruction`) joined by
    `+`, `none` where nothing was optimised, `other` where another model was attacked. Empty in files that do not say.
    """
    weights: str = ""
    """The first digits of the SHA-256 of the model's weights; empty where they cannot be told."""
    low: float | None = None
    """Lower end of the 95 % interval of the value over images, by bootstrap; None where it was not measured."""
    high: float | None = None
    """Its upper end."""
    attack: str = ""
    """What attacked, by the name of its record; empty, as the columns after it, where nothing did, for the worst of
    several, and in files that do not say."""
    norm: str = ""
    """`linf` or `l2`; empty with `eps` where no ball tells how much was changed, as under a patch or a corruption."""
    eps: str = ""
    """The radius of the ball, as in `8/255`."""
    goal: str = ""
    """`any`, `hide`, `fabricate` or `target`."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one attack on one model went, on the images of one category: a row of attacks.csv."""

    suite: str
    set: str
    detector: str
    paradigm: str
    category: str
    source: str
    """`self`, or the attacked model where its images are shown to others too."""
    attack: str
    objective: str
    goal: str
    norm: str
    eps: str
    where: str
    steps: int
    restarts: int
    n: int
    """Images in all."""
    attacked: int
    """Images that the goal attacks."""
    flat: int | None
    """Attacked images whose gradient was zero everywhere from the start on; None where the attack takes none."""
    largest_change: float
    """Measured on the bytes, in grey levels; for `l2` the greatest length, in grey levels."""
    direction: str
    """`up` where the attack raises its objective, `down` where it lowers it towards a target."""
    losses: str
    """The mean objective before each step, with blanks between; where each image begins as another threat has left it
    or at a random start, first that of all at the latter."""
    seed: int
    run: str
    agreement: float | None = None
    """Cosine of the slopes that the gradient tells and those that forward passes measure; None where not looked at."""
    unfelt: float | None = None
    """Share of what noise on all pixels does to the map that noise where none has a gradient does alone; None where not
    looked at."""
    options: str = ""
    """What the threat sets of the attack's own options, such as `decay`."""
    saturated: float | None = None
    """Share of the pixels whose score is an end of its range before and after; None where not looked at."""
    spec: str = ""
    """What the attack does, words of `attacks.specs.Spec`; empty where it is none of it, and in files that do not say.
    """
    title: str = ""
    """What reports call an attack from elsewhere."""
    sizes: str = ""
    """Of each attacked image the smallest change across the threshold, in grey levels with blanks between; `inf` where
    eps did not suffice, 0 where none was needed. Empty where it was not looked for."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much a figure of one model is above that of another on the same images: a row of differences.csv."""

    dataset: str
    category: str
    set: str
    source: str
    metric: str
    detector: str
    paradigm: str
    preset: str
    other_detector: str
    other_paradigm: str
    other_preset: str
    difference: float
    """The model's figure less that of the other."""
    low: float | None
    """Lower end of its 95 % interval over images, the same draws for both models; None where it was not measured."""
    high: float | None
    n: int
    seed: int


COLUMNS = tuple(field.name for field in fields(Result))
DIFFERENCES = "differences.csv"
UNFINISHED = "unfinished.json"
"""In a run folder that lacks rows: how many tasks are done, of how many, and the titles of those that are not."""
DIFFERENCE_COLUMNS = tuple(field.name for field in fields(Difference))
ATTEMPT_COLUMNS = tuple(field.name for field in fields(Attempt))
LATER = ("aim", "weights", "low", "high", "attack", "norm", "eps", "goal")
"""Columns that files of earlier versions lack."""
NUMBERS = ("value", "low", "high")
"""Columns of numbers that may be undefined."""
LOGGED = ("iteration", "loss", "validation_ap")
KEY = tuple(name for name in COLUMNS if name not in ("value", "n", "run", *LATER))

_SIZE = re.compile(r"\d{1,99}(\.\d{1,99}|/0*[1-9]\d{0,98})?", re.ASCII)


def frame(rows: Iterable[Result]) -> pd.DataFrame:
    """Rows as a frame with the columns of results.csv; an undefined value is NaN."""
    return _typed(pd.DataFrame([astuple(row) for row in rows], columns=list(COLUMNS)))


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Write results.csv whole; values are printed so that reading gives the same bits."""
    table = rows.loc[:, list(COLUMNS)].copy()
    for name in NUMBERS:
        table[name] = ["" if math.isnan(value) else repr(float(value)) for value in table[name]]
    write_text(path, csv_text(table))


def differences_frame(differences: Iterable[Difference]) -> pd.DataFrame:
    """Differences as a frame with the columns of differences.csv; an interval that was not measured is NaN."""
    table = pd.DataFrame([astuple(difference) for difference in differences], columns=list(DIFFERENCE_COLUMNS))
    return table.astype(dict.fromkeys(("difference", "low", "high"), "float64"))


def attempts_frame(attempts: Iterable[Attempt]) -> pd.DataFrame:
    """Attempts as a frame with the columns of attacks.csv."""
    return pd.DataFrame([astuple(attempt) for attempt in attempts], columns=list(ATTEMPT_COLUMNS))


def read_rows(path: Path) -> pd.DataFrame:
    """results.csv, or the one of a run folder, as a frame; UserError names what is wrong with the file."""
    file = path / "results.csv" if path.is_dir() else path
    table = read_texts(file, [name for name in COLUMNS if name not in LATER], also=LATER)
    if table is None:
        raise UserError(f"no results at {file}; give a run folder or a results.csv")
    for name in LATER:
        table[name] = table.get(name, "")
    try:
        for text in table["eps"].unique():
            size_of(text)
        return _typed(table.loc[:, list(COLUMNS)])
    except ValueError as error:
        raise UserError(f"{file} holds a value that is no number: {error}") from error


def size_of(eps: str) -> float:
    """The number of an eps as rows write it, a decimal or a fraction such as 8/255; NaN where it is empty, ValueError
    where it is neither."""
    if not eps:
        return math.nan
    if not _SIZE.fullmatch(eps):
        raise ValueError(f"expected an eps such as 8/255, got {eps[:40]!r}")
    return float(Fraction(eps))


def read_differences(run: Path) -> pd.DataFrame:
    """differences.csv of a run folder as a frame, empty where there is none; UserError names what is wrong with it."""
    table = read_texts(run / DIFFERENCES, DIFFERENCE_COLUMNS)
    if table is None:
        return differences_frame([])
    try:
        for name in ("difference", "low", "high", "seed"):
            table[name] = pd.to_numeric(table[name].replace("", None)).astype("float64")
    except ValueError as error:
        raise UserError(f"{run / DIFFERENCES} holds a value that is no number: {error}") from error
    return table.loc[:, list(DIFFERENCE_COLUMNS)]


def read_logs(run: Path) -> dict[str, pd.DataFrame]:
    """The log of each training of a run folder: the columns of `LOGGED` that it has, as numbers."""
    return {path.parent.name: _read_log(path) for path in sorted(run.glob("models/*/log.csv"))}


def _read_log(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
        log: pd.DataFrame = table[[name for name in LOGGED if name in table]].apply(pd.to_numeric).astype("float64")
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"cannot read {path} as a training log: {error}") from error
    if (log.abs() > MOST).any(axis=None):
        raise UserError(f"cannot read {path} as a training log: it holds a number that no training has")
    return log


def read_texts(file: Path, columns: Iterable[str], *, also: Iterable[str] = ()) -> pd.DataFrame | None:
    """A CSV file as a frame of texts, None where there is none. UserError where it is no such file, lacks a column,
    or holds a text that cannot be printed in one of them or in those that may be there `also`."""
    try:
        table = unescaped(pd.read_csv(file, dtype=str, keep_default_na=False))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"cannot read {file} as a table: {error}") from error
    if missing := [name for name in columns if name not in table.columns]:
        raise UserError(f"{file} lacks the column {missing[0]!r}; expected {', '.join(columns)}")
    for name in (*columns, *(name for name in also if name in table)):
        if strange := [text for text in table[name].unique() if not is_printable(str(text))]:
            raise UserError(f"{file}: expected text of one line that can be printed for {name!r}, got {strange[0]!r}")
    return table


def _integers(numbers: pd.Series, name: str) -> pd.Series:
    # The bounds are exact as floats, which large numbers come as.
    if not numbers.between(-(2.0**63), 2.0**63, inclusive="left").all() or (numbers % 1 != 0).any():
        raise ValueError(f"expected whole numbers for {name!r}")
    return numbers.astype("int64")


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    for name in COLUMNS:
        if name in NUMBERS:
            table[name] = pd.to_numeric(table[name].replace("", None)).astype("float64")
        elif name in ("n", "seed"):
            table[name] = _integers(pd.to_numeric(table[name]), name)
        else:
            table[name] = table[name].astype("str")
    return table
