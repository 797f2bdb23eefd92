"""Rows and files on disk: whole or not there, and read as a pandas frame. No torch here."""

import errno
import hashlib
import json
import logging
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from omnial_bench.cells import csv_text, unescaped
from omnial_bench.errors import UserError, is_printable

log = logging.getLogger(__name__)

METRICS = (
    "image_auroc", "image_ap", "image_f1max", "pixel_auroc", "pixel_ap", "pixel_f1max", "pixel_aupro", "psnr", "ssim",
)  # fmt: skip
HEADLINE = ("image_auroc", "pixel_auroc", "pixel_ap")
"""The metrics that models are compared by."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One number: `value` is a fraction in [0, 1], dB for PSNR, and None where it is undefined; `n` counts images."""

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
    """How one attack on one model went, on the pictures of one category: a row of attacks.csv."""

    suite: str
    set: str
    detector: str
    paradigm: str
    category: str
    source: str
    """`self`, or the attacked model where its pictures are shown to others too."""
    attack: str
    objective: str
    goal: str
    norm: str
    eps: str
    where: str
    steps: int
    restarts: int
    n: int
    """Pictures in all."""
    attacked: int
    """Pictures that the goal attacks."""
    flat: int | None
    """Attacked pictures whose gradient was zero everywhere at the start; None where the attack takes none."""
    largest_change: float
    """Measured on the bytes, in grey levels; for `l2` the greatest length, in grey levels."""
    direction: str
    """`up` where the attack raises its objective, `down` where it lowers it towards a target."""
    losses: str
    """The mean objective before each step, with blanks between."""
    seed: int
    run: str
    agreement: float | None = None
    """Cosine of the slopes that the gradient tells and those that forward passes measure; None where not looked at."""
    options: str = ""
    """What the threat sets of the attack's own options, such as `decay`."""
    saturated: float | None = None
    """Share of the pixels whose score is an end of its range before and after; None where not looked at."""


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
DIFFERENCE_COLUMNS = tuple(field.name for field in fields(Difference))
ATTEMPT_COLUMNS = tuple(field.name for field in fields(Attempt))
LATER = ("aim", "weights", "low", "high", "attack", "norm", "eps", "goal")
"""Columns that files of earlier versions lack."""
NUMBERS = ("value", "low", "high")
"""Columns of numbers that may be undefined."""
KEY = tuple(name for name in COLUMNS if name not in ("value", "n", "run", *LATER))

DAMAGED = ".damaged"
"""What ends the name of a file or folder that was set aside."""
_SIZE = re.compile(r"\d{1,99}(\.\d{1,99}|/0*[1-9]\d{0,98})?", re.ASCII)
_CANNOT_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)
"""What file systems answer that have no sync for folders."""


@contextmanager
def whole(path: Path, *, apart: bool = False) -> Iterator[Path]:
    """An empty file beside `path` to write to; it is synced and renamed onto `path` when the block ends well.

    `apart` it lies in a folder of its own, for libraries that write a file of another name beside it first. OSError
    names `path` where it cannot be written, on a full disk for one; nothing is left beside it then.
    """
    make_folder(path.parent)
    part = aside = beside(path, "part")
    try:
        if apart:
            part.mkdir()
            aside = part / path.name
        aside.touch()
        mode = aside.stat().st_mode
        yield aside
        # Some libraries put a private file in its place; others on the machine are to read it like any other.
        aside.chmod(mode)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            log.warning("a folder has the place of a file, it is kept as %s", set_aside(path))
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.filename is not None:
            raise
        # What comes out of a write names no file.
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        if apart:
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def beside(path: Path, kind: str) -> Path:
    """A free name beside `path` for what is not whole yet (`part`) or not wanted any more (`old`); one that a killed
    process left is known by it and swept."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{kind}")


def file_name(name: str) -> str:
    """A name made fit for a file that stays in its folder and needs no escape in a document."""
    return re.sub(r"[^\w.-]+|^\.+", "-", name)


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `<name>.damaged`, in place of an earlier one, for a person to look at."""
    aside = path.with_name(path.name + DAMAGED)
    if aside.is_dir():
        shutil.rmtree(aside)
    elif path.is_dir():
        aside.unlink(missing_ok=True)
    path.replace(aside)
    return aside


def sync_folder(path: Path) -> None:
    """Have the names in a folder outlive a power cut, where the file system can do that."""
    if os.name != "posix":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(folder)


def sync_tree(folder: Path, threads: int = 8) -> None:
    """Have every file and folder below `folder` outlive a power cut."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_sync_file, [path for path in folder.rglob("*") if path.is_file()]))
    for inner in [path for path in folder.rglob("*") if path.is_dir()]:
        sync_folder(inner)
    sync_folder(folder)


def _sync_file(path: Path) -> None:
    try:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        # What comes out of a sync names no file.
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, with Unix line ends."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def without_none(value: Any) -> Any:
    """A table without its empty entries, at any depth: TOML has no null."""
    if isinstance(value, dict):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    return [without_none(inner) for inner in value] if isinstance(value, list | tuple) else value


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing; UserError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another folder") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"cannot write to {path}: permission denied; choose another folder")
    return path


def check_folder(path: Path) -> None:
    """UserError where `make_folder` would fail. Nothing is made: for the checks that come before any work."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"cannot write to {path}: {there} is no folder; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {path}: permission denied; choose another folder")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    table = pd.DataFrame([astuple(one) for one in differences], columns=list(DIFFERENCE_COLUMNS))
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
