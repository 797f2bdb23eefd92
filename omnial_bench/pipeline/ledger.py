"""What tasks gave, as the files that people read: rows as each task ends, and none that lay there lost to others."""

import json
import logging
import platform
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from omnial_bench import provenance
from omnial_bench.attacks.health import doubts, health
from omnial_bench.config.schema import Suite
from omnial_bench.data.catalog import CATALOG
from omnial_bench.data.dataset import Dataset
from omnial_bench.data.notes import notes_of
from omnial_bench.errors import UserError
from omnial_bench.evaluation.class_means import with_means
from omnial_bench.evaluation.differences import write_differences
from omnial_bench.evaluation.examples import FOLDER as EXAMPLES
from omnial_bench.evaluation.target import Labels, Outcome
from omnial_bench.io.csv import csv_text
from omnial_bench.io.whole import set_aside, write_json, write_text
from omnial_bench.metrics.metric import DESCRIBED, Metric
from omnial_bench.pipeline.task_cache import FOLDER
from omnial_bench.progress import LOG
from omnial_bench.results import (
    DIFFERENCES,
    KEY,
    UNFINISHED,
    Result,
    attempts_frame,
    frame,
    read_logs,
    read_rows,
    write_rows,
)

log = logging.getLogger(__name__)

ATTACKS, HEALTH = "attacks.csv", "health.csv"
SHARE = 0.02
"""Of the time, what writing rows on the way may take."""
NAMED = tuple(name for name in KEY if name != "metric")
"""The columns that tell the rows of one model on one set of images from others."""
MODEL = ("detector", "paradigm", "preset", "dataset", "category", "seed")
WRITTEN = ("results.csv", ATTACKS, HEALTH, DIFFERENCES, UNFINISHED, "environment.json", LOG, FOLDER, EXAMPLES)
"""What lies in the folder of a request afterwards; all else there is the user's."""


class Ledger:
    """What the tasks of a run have given so far.

    Its files are whole at any moment: results.csv and those beside it hold the rows of the tasks that are done, with a
    class mean where all `categories` of it are there, and unfinished.json names the tasks that are not, until all are.
    """

    def __init__(self, out: Path, tasks: Sequence[str], categories: Collection[str], *, run: str | None = None) -> None:
        """`tasks` by their titles; `run` is the name that rows of tasks done by an earlier run get as well."""
        self.out, self.tasks, self.categories, self.run = out, tasks, set(categories), run
        self._outcomes: dict[int, Outcome] = {}
        self._last, self._took = time.monotonic(), 0.1

    def add(self, index: int, outcome: Outcome) -> None:
        """Take what a task gave, by its place, and write the rows that there are."""
        if self.run is not None:
            outcome = replace(outcome, rows=[replace(row, run=self.run) for row in outcome.rows])
        self._outcomes[index] = outcome
        now = time.monotonic()
        if outcome.rows and len(self._outcomes) < len(self.tasks) and now - self._last > self._took / SHARE:
            self.write_part()
            self._last, self._took = time.monotonic(), time.monotonic() - now

    def write_part(self) -> None:
        """The rows so far, and what is missing; nothing where there are none, so that earlier rows stay."""
        outcome = self.outcome
        if not outcome.rows:
            return
        missing = [title for index, title in enumerate(self.tasks) if index not in self._outcomes]
        write_rows_of(self.out, outcome, self.categories, done=len(self._outcomes), missing=missing)

    @property
    def outcome(self) -> Outcome:
        """All of it in the order of the tasks, in which rows are written."""
        everything = Outcome()
        for index in sorted(self._outcomes):
            everything.extend(self._outcomes[index])
        return everything

    def close(self) -> pd.DataFrame:
        """Write all rows, and say which models failed a check."""
        rows, checked = write_rows_of(self.out, self.outcome, done=len(self._outcomes))
        for model in [] if checked is None else doubts(checked).to_dict("records"):
            log.warning(
                "%s %s fails checks (%s), which puts figures in doubt: %s says which and why", model["detector"],
                model["paradigm"], model["checks"], self.out / HEALTH,
            )  # fmt: skip
        return rows


def write_rows_of(
    out: Path, outcome: Outcome, categories: Collection[str] = (), *, done: int = 1, missing: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """results.csv with the class means, where anything was attacked in place attacks.csv and health.csv, and of several
    models differences.csv; the rows, and the checks. With `categories` only the means over all of them.

    While files of two moments may lie side by side, and as long as titles of tasks are `missing`, unfinished.json says
    so; what an earlier run left of attacks goes where there is none now.
    """
    write_json(out / UNFINISHED, {"done": done, "of": done + len(missing), "missing": list(missing)})
    rows = frame(_whole_means(with_means(outcome.rows), set(categories)))
    write_rows(out / "results.csv", rows)
    checked = None
    if outcome.attempts:
        attempts = attempts_frame(outcome.attempts)
        write_text(out / ATTACKS, csv_text(attempts))
        checked = health(rows, attempts, _logs(out))
        write_text(out / HEALTH, csv_text(checked))
    else:
        (out / ATTACKS).unlink(missing_ok=True)
        (out / HEALTH).unlink(missing_ok=True)
    write_differences(out, outcome.drawn)
    if not missing:
        (out / UNFINISHED).unlink()
    return rows, checked


def _logs(out: Path) -> dict[str, pd.DataFrame]:
    """The logs of the trainings beside the rows; a damaged one decides no figure, and none is then looked at."""
    try:
        return read_logs(out)
    except UserError as error:
        log.warning("what the validation says of the trainings is not looked at: %s", error)
        return {}


def _whole_means(rows: list[Result], wanted: set[str]) -> list[Result]:
    figure = attrgetter("detector", "paradigm", "preset", "dataset", "set", "source", "metric", "seed")
    categories: dict[tuple[object, ...], set[str]] = {}
    for row in rows:
        categories.setdefault(figure(row), set()).add(row.category)
    return [row for row in rows if row.category != "mean" or wanted <= categories[figure(row)]]


KEPT = ("suites", "detectors", "families")
"""Of environment.json: what a run that goes on adds to."""


def write_environment(
    out: Path,
    data: Dataset,
    *,
    device: torch.device,
    threads: int,
    precision: str,
    seed: int,
    sizes: Iterable[tuple[int, int]] = (),
    suites: Iterable[Suite] = (),
    titles: Mapping[str, str] | None = None,
    families: Mapping[str, str] | None = None,
    metrics: Iterable[Metric] = (),
) -> None:
    """environment.json, with what of the data bears on figures at the network's `sizes`, the `titles` and `families`
    of detectors and what `metrics` from elsewhere say of themselves; a run that goes on keeps the time of its first
    start and what it knew of earlier suites and detectors."""
    entry, path = CATALOG.get(data.name), out / "environment.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        started = before["started"]
    except (OSError, ValueError, LookupError, TypeError):
        before, started = {}, datetime.now(UTC).isoformat(timespec="seconds")
    earlier = {kind: before[kind] if isinstance(before.get(kind), dict) else {} for kind in KEPT}
    dataset = {"name": data.name, "fingerprint": data.fingerprint, "root": data.root.resolve().name}
    environment = {
        "versions": provenance.versions(),
        "python": platform.python_version(),
        # Without the host's name.
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": threads,
        "precision": precision,
        "commit": provenance.commit(),
        "command": provenance.command_line(),
        "seed": seed,
        "started": started,
        "dataset": {**dataset, **data.named_by},
        "data_notice": entry.notice if entry else None,
        "data_notes": list(dict.fromkeys(note for size in sizes for note in notes_of(data, size))),
        "suites": earlier["suites"] | {suite.name: suite.title for suite in suites},
        "detectors": {**earlier["detectors"], **(titles or {})},
        "families": {**earlier["families"], **(families or {})},
        "metrics": {metric.name: {name: getattr(metric, name) for name in DESCRIBED} for metric in metrics},
    }
    write_json(path, environment)


def check_rows(path: Path, names: Sequence[tuple[str, ...]], sets: Sequence[str]) -> None:
    """UserError where rows that are there would be lost: neither among `names` nor those of a model under a suite."""
    if not path.is_file():
        return
    models = {tuple(dict(zip(NAMED, name, strict=True))[column] for column in MODEL) for name in names}
    try:
        known = read_rows(path)
    except UserError as error:
        if not any(path.parent.glob(".tasks/*.json")):
            raise
        # What was scored here lies in the notes of the tasks as well.
        log.warning("made again, the damaged one is kept as %s: %s", set_aside(path), error)
        return
    for values in known.to_dict("records"):
        # A condition's rows go with those of all images.
        whole = {**values, "set": values["set"].partition("/")[0]}
        again = values["category"] == "mean" or _name(whole) in names
        if not again and not (whole["set"] in sets and tuple(str(values[column]) for column in MODEL) in models):
            text = row_text(_name(values))
            raise UserError(f"{path} holds other rows, {text}, which would be lost; choose another folder")


def row_names(labels: Labels, categories: Sequence[str]) -> list[tuple[str, ...]]:
    """The names of a model's rows on images of categories, as `check_rows` takes them."""
    return [_name({**vars(labels), "category": category}) for category in categories]


def _name(values: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(values[column]) for column in NAMED)


def row_text(name: tuple[str, ...]) -> str:
    """A row's name in words."""
    values = dict(zip(NAMED, name, strict=True))
    return " ".join(values[column] for column in ("detector", "paradigm", "category", "set"))
