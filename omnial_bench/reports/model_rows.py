"""Rows of a table as they are filled in: figures of models, the letters of failed checks, what an attack bounds."""

import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from omnial_bench.metrics.metric import metric_of
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.footnotes import doubts, short_notes
from omnial_bench.reports.table import Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Values

Cells = frozenset[tuple[int, str]]
"""Some cells of a table by row and key of the column."""


def facts_of(values: Values, model: Model) -> dict[str, str]:
    """What names a model in a row, for readers and for programs."""
    return {"model": values.label(model), **model._asdict()}


@dataclass(frozen=True)
class Rows:
    """The rows of a table of figures under attack; `put` writes into the last one that was added."""

    values: Values
    campaign: Campaign | None = None
    """Without one no figure is of an attack on the model itself."""
    records: list[dict[str, Any]] = field(default_factory=list)
    letters: dict[tuple[int, str], str] = field(default_factory=dict)
    """Footnotes of the checks that put a figure in doubt."""
    bounds: set[tuple[int, str]] = field(default_factory=set)
    """The cells that bound a model's robustness."""

    def add(self, **facts: Any) -> None:
        self.records.append(facts)

    def add_models(
        self, metric: str, shown: Mapping[str, Condition | None], *, interval: bool = False, bounded: bool = False,
        more: Callable[[Model], Mapping[str, float]] = lambda _: {},
    ) -> None:  # fmt: skip
        """A block of a metric: a row a model with its figures under the conditions `shown`, by the keys of the columns,
        and what it has `more`, then the chance levels. `bounded`: no figure under an attack that does not bound it."""
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        first = next(iter(self.campaign.goals), "") if self.campaign else ""
        for model in self.values.models:
            self.add(**panel, kind="model", **facts_of(self.values, model))
            for key, condition in shown.items():
                free = bounded and condition and condition.white_box and not self._bounds(model, condition, metric)
                # At the first goal checks are told on sets that have no column.
                others = shown.values() if key == first else ()
                self.put(key, model, None if free else condition, metric, *others, interval=interval)
            self.records[-1].update(more(model))
        self.add_chance(shown, **panel)

    def _bounds(self, model: Model, condition: Condition | None, metric: str) -> bool:
        return self.campaign is not None and self.campaign.bounds(model, condition, metric)

    def put(
        self, key: str, model: Model, condition: Condition | None, metric: str, *others: Condition | None,
        interval: bool = False,
    ) -> None:  # fmt: skip
        """Write a figure and its spread under `key`, and its `interval` if wanted; `others` as in `doubts`."""
        values, record = self.values, self.records[-1]
        record[key] = values.get(model, condition, metric)
        record[f"{key}_sd"] = values.spread(model, condition, metric)
        record |= values.ends(key, model, condition, metric) if interval else {}
        if self._bounds(model, condition, metric):
            self.bounds.add((len(self.records) - 1, key))
        if not math.isnan(record[key]):
            self.put_doubts(key, condition, [model], *others)

    def put_doubts(
        self, key: str, condition: Condition | None, models: Iterable[Model], *others: Condition | None
    ) -> None:
        """Mark a cell with the letters of the models that it stands for."""
        if self.campaign is None:
            return
        letters = {letter for model in models for letter in doubts(self.campaign, model, condition, *others)}
        if letters:
            self.letters[len(self.records) - 1, key] = ",".join(sorted(letters))

    def add_chance(self, shown: Mapping[str, Condition | None], **facts: Any) -> None:
        """A row of the chance levels of `metric`, one of the facts, where any is known."""
        levels = {key: self.values.chance(condition, facts["metric"]) for key, condition in shown.items() if condition}
        if not all(math.isnan(level) for level in levels.values()):
            self.add(**facts, kind="chance", model="chance level", **levels)

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.records)

    def best(self, keys: Iterable[str]) -> Cells:
        """The highest figure of each column, of those that bound a model of which something is concluded."""
        judged = [self.values.label(model) for model in self.values.judged]
        among = {(row, key) for row, key in self.bounds if self.records[row]["model"] in judged}
        return extreme_cells(self.frame, keys, among)

    def table(self, name: str, caption: str, columns: Iterable[Column], strong: Cells = frozenset()) -> Table:
        used = {letter for letters in self.letters.values() for letter in letters.split(",")}
        notes = tuple(note for note in short_notes(self.campaign) if note[0] in used) if self.campaign else ()
        return Table(name, caption, self.frame, tuple(columns), strong=strong, letters=self.letters, notes=notes)


def extreme_cells(
    frame: pd.DataFrame, keys: Iterable[str], among: Set[tuple[int, str]], *, lowest: bool = False
) -> Cells:
    """The best printed value of each column in each block, the lowest of a `metric` that is better so, `among` the
    cells that may be compared; ties are all best, unless all tie. With `lowest` the lowest, of two values at the least.
    """
    cells: set[tuple[int, str]] = set()
    for _, block in frame.groupby("panel", sort=False):
        known = metric_of(str(block["metric"].iloc[0])) if "metric" in block else None
        fewer = lowest or (known is not None and known.better == "lower")
        for key in keys:
            rows = [int(str(row)) for row in block.index if (row, key) in among]
            printed = frame.loc[rows, key].mul(100).round(1)
            if (printed.count() if lowest else printed.nunique()) > 1:
                extreme = printed.min() if fewer else printed.max()
                cells |= {(row, key) for row in rows if printed[row] == extreme}
    return frozenset(cells)
