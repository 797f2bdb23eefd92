"""How the figures of a run came about: the images, the precision and the threats, and what differs between two runs.
No torch here."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omnial_bench.errors import UserError
from omnial_bench.io.whole import DAMAGED
from omnial_bench.reports.origins import read_json
from omnial_bench.results import read_texts

log = logging.getLogger(__name__)

SETTINGS = ("attack", "objective", "goal", "norm", "eps", "where", "steps", "step_size", "restarts", "options")
"""What of a threat decides how hard it attacks."""
UNSAID = "step_size"
"""The one of them that a threat need not say: without it the step is the attack's own."""
SHOWN = 3
"""Names told of a list."""

Protocol = dict[str, Any]
"""`dataset` and `precision` as in environment.json, and `threats`: the settings of each by the name of its set."""


def protocol_of(run: Path) -> Protocol:
    """The protocol of a run folder, as far as its files tell it; empty for a results.csv alone.

    What a file that is there does not tell is a warning, for it is not compared. UserError for a file that cannot be
    read.
    """
    if not run.is_dir():
        return {}
    environment = read_json(run / "environment.json")
    dataset = _table(environment.get("dataset"))
    facts = {
        "dataset": {name: dataset[name] for name in ("name", "fingerprint") if dataset.get(name)},
        "precision": environment.get("precision"),
        "threats": {**_sealed(run), **_attempted(run)},
    }
    recorded = {name: value for name, value in facts.items() if value}
    warn_of(run, untold(recorded))
    return recorded


def untold(protocol: Mapping[str, Any]) -> list[str]:
    """What a protocol should tell and does not, in words."""
    dataset = _table(protocol.get("dataset"))
    lacking = [f"the {name} of the data set" for name in ("name", "fingerprint") if not dataset.get(name)]
    lacking += [] if protocol.get("precision") else ["the precision"]
    for threat, settings in _table(protocol.get("threats")).items():
        lacking += [f"{name} of {threat}" for name in SETTINGS if name not in _table(settings) and name != UNSAID]
    return lacking


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def warn_of(path: Path, lacking: list[str]) -> None:
    """Say what the files beside `path` do not tell of a protocol."""
    if lacking:
        log.warning("%s does not tell %s, which is not compared with a baseline or a run", path, _some(lacking))


def _some(lines: Iterable[str]) -> str:
    few = list(lines)
    return "; ".join(few[:SHOWN]) + (f" (and {len(few) - SHOWN} more)" if len(few) > SHOWN else "")


def check_protocol(run: Mapping[str, Any], baseline: Mapping[str, Any], path: Path) -> None:
    """UserError, which says what differs, where rows of `run` cannot be held against those of the baseline at `path`.

    What only one of them tells is not compared.
    """
    differences = _differences(baseline, run, "")
    if differences:
        raise UserError(
            f"{path} was made by another protocol: {_some(differences)}; expected the same, repeat the run as the "
            "baseline was made, or make a new baseline with --update"
        )


def _sealed(run: Path) -> dict[str, Any]:
    """The threats of the sets that lie in a run folder."""
    paths = [path for path in sorted(run.glob("sets/*/manifest.json")) if path.parent.suffix != DAMAGED]
    return {path.parent.name: _settings(_table(read_json(path).get("threat"))) for path in paths}


def _attempted(run: Path) -> dict[str, Any]:
    """The threats that attacked models in place."""
    table = read_texts(run / "attacks.csv", ("set",))
    if table is None:
        return {}
    return {row["set"]: _settings(row) for row in reversed(table.to_dict("records"))}


def _settings(threat: Mapping[Any, Any]) -> dict[str, str]:
    return {name: _text(threat[name]) for name in SETTINGS if threat.get(name) is not None}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {inner}" for name, inner in value.items())
    return str(value)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str) -> list[str]:
    lines = []
    for name in before.keys() & now.keys():
        old, new, where = before[name], now[name], f"{path}{name}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += _differences(old, new, f"{where} ")
        elif old != new:
            values = [text if len(text) <= 20 else f"{text[:12]}..." for text in map(str, (old, new))]
            lines.append(f"{where} {values[0] or 'none'}, now {values[1] or 'none'}")
    return sorted(lines)
