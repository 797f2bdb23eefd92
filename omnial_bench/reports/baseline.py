"""Run folders against a baseline file, and a new one with, beside it, where its rows come from. No torch here."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from omnial_bench.errors import UserError
from omnial_bench.io.links import check_links
from omnial_bench.io.whole import sha256, write_json
from omnial_bench.metrics.metric import is_chance, metric_of
from omnial_bench.reports.origins import read_json, table_of
from omnial_bench.reports.pairing import figures
from omnial_bench.reports.protocol import check_protocol, protocol_of, warn_of_gaps
from omnial_bench.reports.verdicts import judge
from omnial_bench.results import NUMBERS, read_rows, write_rows

log = logging.getLogger(__name__)

_NEEDED = ("commit", "versions", "command", "seed", "started")
ROUNDING = 1e-6
"""By which a value may pass the bounds of its metric."""
_KEPT = (*_NEEDED, "python", "platform", "device", "threads", "precision", "dataset")


def provenance_path(baseline: Path) -> Path:
    """Where the provenance of a baseline file lies."""
    return baseline.absolute().with_name(f"{baseline.stem}.provenance.json")


def update(runs: Sequence[Path], baseline: Path, moved: str) -> Path:
    """Make the rows of run folders together the new `baseline`, and write its provenance beside it; the path of that.

    The provenance says where the rows come from (commit, versions, command, seed, date, machine: from the first run's
    environment.json), by which protocol they were made, what `moved` by it in words, and the SHA-256 of the new file
    and of the one that it replaces. UserError, and nothing is written, where one of `runs` is no run folder with an
    environment.json or was made by another protocol than the first, where they have no rows or none that is defined, or
    where a figure is undefined that the baseline defines: the gate would be blind to it.
    """
    if baseline.is_dir():
        raise UserError(f"expected a file to write the new baseline to, got the folder {baseline}; name a file in it")
    for run in runs:
        check_links(run)
    environment, *_ = [_environment(run) for run in runs]
    protocol = protocol_of(runs[0])
    for run in runs[1:]:
        check_protocol(protocol_of(run), protocol, runs[0])
    rows = pd.concat([read_rows(run) for run in runs], ignore_index=True)
    undefined = rows["value"].isna()
    look = "look into the log of the run"
    if undefined.all():
        raise UserError(f"expected defined rows in {runs[0]} for a new baseline, got none; {look}")
    replaced = None
    if baseline.exists():
        replaced, known = sha256(baseline), read_rows(baseline)
        defined = set(figures(known)) - set(figures(known[known["value"].isna()]))
        if lost := sorted(defined & set(figures(rows[undefined]))):
            raise UserError(
                f"{' '.join(lost[0])} is undefined in {runs[0]} and defined in {baseline}, {len(lost)} such figures in "
                f"all; {look}, or remove the baseline to begin a new one"
            )
    write_rows(baseline, rows)
    made_by = {"date" if name == "started" else name: environment[name] for name in _KEPT if name in environment}
    facts = {
        "baseline": baseline.name,
        "sha256": sha256(baseline),
        "replaces": replaced,
        "moved": moved,
        "protocol": protocol,
        "rows": len(rows),
        "undefined": int(undefined.sum()),
        "seeds": sorted({int(seed) for seed in rows["seed"]}),
        "runs": sorted(set(rows["run"])),
    }
    write_json(provenance_path(baseline), {**made_by, **facts})
    return provenance_path(baseline)


def protocol_known(baseline: Path) -> dict[str, Any]:
    """The protocol that the provenance beside a baseline tells of; empty where it tells of none.

    A run folder tells its own. A provenance of other bytes tells nothing, with a warning: someone changed one of the
    two by hand. What it does not tell of the protocol is a warning, too.
    """
    if baseline.is_dir():
        return protocol_of(baseline)
    path = provenance_path(baseline)
    if not path.is_file():
        return {}
    facts = read_json(path)
    if facts.get("sha256") != sha256(baseline):
        log.warning("%s does not describe %s, which is another file; --update renews both", path, baseline)
        return {}
    protocol = dict(table_of(facts.get("protocol")))
    warn_of_gaps(path, protocol)
    return protocol


def _environment(run: Path) -> dict[str, Any]:
    path = run / "environment.json"
    why = "a new baseline is made from a run folder, whose environment.json says where its rows come from"
    if not path.is_file():
        raise UserError(f"found no {path}; {why}")
    environment = read_json(path)
    for name in _NEEDED:
        if name not in environment:
            raise UserError(f"{path} does not say {name!r}; {why}")
    return environment


def judge_files(
    runs: Sequence[Path],
    baseline: Path,
    tolerances: Mapping[str, float] | None = None,
    *,
    seed: int | None = None,
    first: bool = False,
    strict: bool = False,
) -> pd.DataFrame:
    """`judge` on the rows of run folders (or of files such as results.csv) together and a baseline file; `seed` keeps
    the rows of one seed.

    With `first` a new baseline is made: one that does not exist is an empty one, of which every row is new, and one of
    another protocol is replaced. Otherwise UserError where the baseline was made by another protocol than a run.
    """
    for run in runs:
        check_links(run)
    rows = pd.concat([_read(run) for run in runs], ignore_index=True)
    if first and not baseline.exists():
        return judge(rows, rows.head(0), tolerances, first=True, strict=strict)
    known = _read(baseline)
    protocol = protocol_known(baseline)
    if not first:
        for run in runs:
            check_protocol(protocol_of(run), protocol, baseline)
    if seed is not None:
        rows, known = rows[rows["seed"] == seed], known[known["seed"] == seed]
        if known.empty:
            raise UserError(f"expected rows of seed {seed} in {baseline}, got none; name a seed that it has")
    return judge(rows, known, tolerances, strict=strict)


def _read(path: Path) -> pd.DataFrame:
    """The rows of a run or a baseline; UserError for a value, or an end of its interval, that its metric cannot have: a
    percentage, say. An unknown metric may have any."""
    rows = read_rows(path)
    ranges = {name: _range(name) for name in rows["metric"].unique()}
    lowest, highest = (rows["metric"].map({name: ends[i] for name, ends in ranges.items()}) for i in (0, 1))
    for column in NUMBERS:
        strange = rows[(rows[column] < lowest - ROUNDING) | (rows[column] > highest + ROUNDING)]
        if len(strange):
            row = strange.iloc[0]
            what = row["metric"] if column == "value" else f"{column} of {row['metric']}"
            raise UserError(
                f"{path} says {row[column]:g} for {what} of {row['detector']}-{row['paradigm']}, {row['category']}, "
                f"{row['set']}; expected {_range_words(row['metric'])}"
            )
    return rows


def _range(metric: str) -> tuple[float, float]:
    known = metric_of(metric)
    if known is None:
        return -math.inf, math.inf
    return (0.0, 1.0) if is_chance(metric) else (known.low, known.high)


def _range_words(metric: str) -> str:
    (low, high), known = _range(metric), metric_of(metric)
    fraction = is_chance(metric) or (known is not None and known.unit == "%")
    unit = f" {known.unit}" if known and known.unit and not fraction else ""
    return f"a {'fraction' if fraction else 'number'} from {low:g} to {high:g}{unit}"
