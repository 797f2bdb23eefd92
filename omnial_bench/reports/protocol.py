"""How the figures of a run came about: the images, the precision and the threats, and what differs between two runs.
No torch here."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnial_bench.errors import UserError
from omnial_bench.reports.origins import manifests, read_json, table_of
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
    dataset = table_of(environment.get("dataset"))
    sealed = {path.parent.name: table_of(read_json(path).get("threat")) for path in manifests(run)}
    attempts = read_texts(run / "attacks.csv", ("set",))
    # Of several rows of a set the first.
    attempted = {row["set"]: row for row in reversed([] if attempts is None else attempts.to_dict("records"))}
    facts = {
        "dataset": {name: dataset[name] for name in ("name", "fingerprint") if dataset.get(name)},
        "precision": environment.get("precision"),
        "threats": {name: _settings(threat) for name, threat in {**sealed, **attempted}.items()},
    }
    recorded = {name: value for name, value in facts.items() if value}
    warn_of_gaps(run, recorded)
    return recorded


def warn_of_gaps(path: Path, protocol: Mapping[str, Any]) -> None:
    """Say what the files beside `path` do not tell of a protocol."""
    dataset = table_of(protocol.get("dataset"))
    lacking = [f"the {name} of the data set" for name in ("name", "fingerprint") if not dataset.get(name)]
    lacking += [] if protocol.get("precision") else ["the precision"]
    for threat, settings in table_of(protocol.get("threats")).items():
        lacking += [f"{name} of {threat}" for name in SETTINGS if name not in table_of(settings) and name != UNSAID]
    if lacking:
        log.warning("%s does not tell %s, which is not compared with a baseline or a run", path, _some(lacking))


def _some(lines: list[str]) -> str:
    return "; ".join(lines[:SHOWN]) + (f" (and {len(lines) - SHOWN} more)" if len(lines) > SHOWN else "")


def check_protocol(run: Mapping[str, Any], baseline: Mapping[str, Any], path: Path) -> None:
    """UserError, which says what differs, where rows of `run` cannot be held against those of the baseline at `path`.

    What only one of them tells is not compared.
    """
    if differences := _differences(baseline, run, ""):
        raise UserError(
            f"{path} was made by another protocol: {_some(differences)}; expected the same, repeat the run as the "
            "baseline was made, or make a new baseline with --update"
        )


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
