"""Detectors, models and sources by the titles that readers know them by. No torch here."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from omnial_bench.config.load import read_detector, record_names

_PANELS = re.compile(r"^(?P<base>.+?)[-_+](?P<without>no[-_]?|without[-_]?)?(?:with[-_]?)?panels?$")
_MODEL = re.compile(r"^(?P<detector>.+)-(?P<paradigm>unified|separate)(?:-(?P<category>.+))?$")


class Titles:
    """Titles of detectors by the names of their records: those that a run tells, else those of the records here."""

    def __init__(self, detectors: Iterable[str], recorded: Mapping[str, str]) -> None:
        """`detectors` are those of the rows: where two of them share a title, their names stand behind it."""
        self._recorded = recorded
        titles = {name: self._plain(name) for name in detectors}
        shared = {title for title, count in Counter(titles.values()).items() if count > 1}
        self._titles = {name: f"{title} ({name})" if title in shared else title for name, title in titles.items()}

    def _plain(self, detector: str) -> str:
        if title := self._recorded.get(detector) or _record_title(detector):
            return title
        base, panels = panels_of(detector)
        return detector if panels is None else f"{self._plain(base)} {'with' if panels else 'without'} panels"

    def of_detector(self, name: str) -> str:
        return self._titles.get(name) or self._plain(name)

    def of_model(self, name: str) -> str:
        """`omnial-separate-grid` as a reader knows it: `OmniAL separate (grid)`."""
        parts = _MODEL.match(name)
        if not parts:
            return name
        text = f"{self.of_detector(parts['detector'])} {parts['paradigm']}"
        return f"{text} ({parts['category']})" if parts["category"] else text

    def of_sources(self, names: Iterable[str]) -> str:
        """The source of a set in words."""
        titles = [self.of_model(name) for name in names]
        if not titles:
            return "none"
        return titles[0] if len(titles) == 1 else f"mean loss over {joined(titles)}"


@cache
def _record_title(detector: str) -> str:
    """Read once a detector, for every line of a report asks."""
    return read_detector(detector).title if detector in record_names("models") else ""


def panels_of(detector: str) -> tuple[str, bool | None]:
    """A detector's base name, and whether its name says with (True) or without (False) panels; else None."""
    parts = _PANELS.match(detector)
    return (parts["base"], parts["without"] is None) if parts else (detector, None)


def joined(items: Sequence[str]) -> str:
    """Items as a list in a sentence."""
    *others, last = items or [""]
    return f"{', '.join(others)} and {last}" if others else last
