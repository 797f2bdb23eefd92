"""Threats of a file that stand for several: by severities, and by what they come after. No torch here."""

from collections.abc import Mapping
from typing import Any


def written_out(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a suite with threats that stand for several one by one; ValueError for what stands for none."""
    threats = table.get("threats")
    if not isinstance(threats, list | tuple):
        return {**table}
    return {**table, "threats": [each for threat in threats for each in _each_of(threat)]}


def _each_of(threat: Any) -> list[Any]:
    """A threat of a file; `severities = [1, 2]` stands for a corruption at each of these, called `<name>-1` and so on,
    with the eps and the one step that every corruption has, and a list `after` for a threat each."""
    if not isinstance(threat, Mapping) or not isinstance(name := threat.get("name"), str):
        return [threat]
    levels, origins, options = threat.get("severities"), threat.get("after"), threat.get("options", {})
    if not isinstance(levels, list | None):
        raise ValueError(f"threat {name}: severities: expected a list of numbers, got {levels!r}")  # noqa: TRY004
    for key, several in (("severities", levels), ("after", origins)):
        if isinstance(several, list) and not several:
            raise ValueError(f"threat {name}: {key}: expected one or more, got none; leave it out")
    if levels:
        if wrong := [each for each in levels if isinstance(each, bool) or not isinstance(each, int | float)]:
            first = str(wrong[0]).lower() if isinstance(wrong[0], bool) else repr(wrong[0])
            raise ValueError(f"threat {name}: severities: expected numbers, got {first}")
        if not isinstance(options, Mapping):
            raise ValueError(f"threat {name}: options: expected a table, got {options!r}")
        if "severity" in options:
            raise ValueError(f"threat {name}: options.severity stands beside severities; leave one out")
        table = {"eps": "1", "steps": 1} | {key: value for key, value in threat.items() if key != "severities"}
        parts = [{**table, "name": f"{name}-{each}", "options": {**options, "severity": each}} for each in levels]
        return [each for part in parts for each in _each_of(part)]
    if isinstance(origins, list):
        return [{**threat, "name": f"{name}-{each}", "after": each} for each in origins]
    return [threat]
