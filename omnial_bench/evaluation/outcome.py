"""What an evaluation gives: rows, how each attack went, images to show, and what compares models."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omnial_bench.config.load import parse
from omnial_bench.evaluation.differences import Drawn
from omnial_bench.evaluation.examples import Example
from omnial_bench.results import Attempt, Result


@dataclass(frozen=True)
class Outcome:
    """Everything that an evaluation gives: rows, how each attack went, images to show, and draws of images."""

    rows: list[Result] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    """What compares the models on the same images."""

    def extend(self, other: "Outcome") -> None:
        self.rows.extend(other.rows)
        self.attempts.extend(other.attempts)
        self.examples.extend(other.examples)
        self.drawn.extend(other.drawn)


def outcome_of(note: Mapping[str, Any], where: str) -> Outcome:
    """What the note of a finished task keeps of what it found; UserError where that is none."""
    return parse(Outcome, {each.name: note[each.name] for each in fields(Outcome) if each.name in note}, where)
