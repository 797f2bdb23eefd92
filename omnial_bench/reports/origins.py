"""What a run folder says of itself beside its rows: sets, models, logs, environment. No torch here.

Reports are made of folders from elsewhere and of earlier versions too: unknown keys are left alone, missing ones are
undefined, and what is no record at all is a UserError.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from omnial_bench.config.load import read_toml, validated
from omnial_bench.config.schema import MOST
from omnial_bench.errors import UserError, printable
from omnial_bench.io.whole import DAMAGED
from omnial_bench.metrics.metric import KINDS, Kind, Metric
from omnial_bench.results import UNFINISHED, read_texts, size_of

SHOWN = 5
"""Tasks that are not done, named in a report."""
FACTS = ("commit", "command", "seed", "device", "threads", "precision", "started", "python", "platform")

_Count = Annotated[int, Field(ge=0, le=10**9)]
_Number = Annotated[float, Field(ge=-MOST, le=MOST)]
_Text = Annotated[str, AfterValidator(printable)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Images(_Record):
    """Those of one category of a set."""

    good: _Count = 0
    synthetic: _Count = 0


class Loss(_Record):
    steps: tuple[_Number, ...] = ()


class MadeSet(_Record):
    """manifest.json of a set."""

    counts: dict[str, Images] = {}
    loss: Loss = Loss()
    largest_change: _Count | None = None


class Training(_Record):
    batch: _Count | None = None
    epochs: _Number | None = None
    lr: _Number | None = None


class Recipe(_Record):
    size: tuple[_Count, ...] = ()
    training: Training = Training()


class Provenance(_Record):
    iterations: _Count | None = None
    precision: _Text | None = None
    commit: _Text | None = None


class MadeModel(_Record):
    """recipe.toml beside a checkpoint."""

    recipe: Recipe = Recipe()
    provenance: Provenance = Provenance()


@dataclass(frozen=True)
class Environment:
    """environment.json, as text."""

    facts: dict[str, str]
    """By the names of `FACTS`, and `fingerprint` of the data; empty where nothing is recorded."""
    versions: dict[str, str]
    notice: str
    notes: tuple[str, ...]
    """What of the data bears on the figures, a sentence each."""
    suites: dict[str, str]
    """Titles of the test suites by their names."""
    detectors: dict[str, str]
    """Titles of the detectors by the names of their records."""
    families: dict[str, str]
    """Of what kind they are, where their records say so."""
    metrics: dict[str, Metric]
    """What metrics from elsewhere say of themselves, by their names."""


def manifests(run: Path) -> list[Path]:
    """The manifests of the sets of a run folder, but of those that were set aside as damaged."""
    return [path for path in sorted(run.glob("sets/*/manifest.json")) if path.parent.suffix != DAMAGED]


def read_sets(run: Path) -> dict[str, MadeSet]:
    """The manifest of every set of a run folder."""
    return {path.parent.name: validated(MadeSet, read_json(path), str(path)) for path in manifests(run)}


def read_models(run: Path) -> dict[str, MadeModel]:
    """What lies beside each checkpoint of a run folder, by the name of its folder."""
    paths = sorted(run.glob("models/*/recipe.toml"))
    return {path.parent.name: validated(MadeModel, read_toml(path), str(path)) for path in paths}


def read_environment(run: Path) -> Environment:
    """What environment.json says; nothing where there is none."""
    recorded = read_json(run / "environment.json")
    fingerprint = _text(table_of(recorded.get("dataset")).get("fingerprint"))
    notes, metrics = recorded.get("data_notes"), table_of(recorded.get("metrics"))
    return Environment(
        facts={name: _text(recorded.get(name)) for name in FACTS} | {"fingerprint": fingerprint},
        versions=dict(sorted(_texts(recorded.get("versions")).items())),
        notice=_text(recorded.get("data_notice")),
        notes=tuple(map(_text, notes)) if isinstance(notes, list) else (),
        suites=_texts(recorded.get("suites")),
        detectors=_texts(recorded.get("detectors")),
        families=_texts(recorded.get("families")),
        metrics={
            _text(name): _metric(_text(name), facts) for name, facts in metrics.items() if isinstance(facts, dict)
        },
    )


def _metric(name: str, facts: Mapping[str, Any]) -> Metric:
    kinds: dict[str, Kind] = {kind: kind for kind in KINDS}
    title, kind, unit = (_text(facts.get(key)) for key in ("title", "kind", "unit"))
    better: Literal["lower", "higher"] = "lower" if facts.get("better") == "lower" else "higher"
    return Metric(name=name, title=title or name, kind=kinds.get(kind, "pixel"), unit=unit, better=better)


def unfinished(run: Path) -> str:
    """What a run that was stopped still lacks, in a sentence; empty where all is done."""
    note = read_json(run / UNFINISHED)
    done, total, missing = (note.get(name) for name in ("done", "of", "missing"))
    if not (isinstance(done, int) and isinstance(total, int) and isinstance(missing, list)):
        return ""
    if not missing:
        return f"All {total} tasks are done, but writing their rows was cut off. The same command writes them."
    some = "; ".join(_text(title) for title in missing[:SHOWN])
    more = f"; and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    return (
        f"{done} of {total} tasks are done, and these rows are theirs; a class mean stands where all its categories "
        f"are there. Not done: {some}{more}. The same command goes on."
    )


def _text(value: object) -> str:
    return printable(str(value)) if isinstance(value, str | int | float) else ""


def _texts(table: object) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in table_of(table).items()}


def table_of(value: object) -> Mapping[Any, Any]:
    """A table of a record, empty where there is something else in its place."""
    return value if isinstance(value, Mapping) else {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is not there; UserError where it is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        # Neither NaN nor a number that is infinite as a float can be written again.
        json.dumps(value, allow_nan=False)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path} as JSON: {error}; write it again") from error
    if not isinstance(value, dict):
        raise UserError(f"expected a JSON object in {path}, got {type(value).__name__}; write it again")
    return value


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
    unlearnt: dict[tuple[str, str], tuple[str, ...]] = {}
    for (detector, paradigm), part in failed.groupby(["detector", "paradigm"], sort=False):
        rows = zip(part["category"], part["note"], strict=True)
        each = [[category] if category not in WHOLE else _PLACE.findall(note) for category, note in rows]
        unlearnt[str(detector), str(paradigm)] = tuple(dict.fromkeys(chain(*each))) if all(each) else ()
    return unlearnt


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
