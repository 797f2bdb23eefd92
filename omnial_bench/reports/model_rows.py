"""Rows of a table as they are filled in: figures of models, the letters of failed checks, what an attack bounds."""

import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

import pandas as pd

from omnial_bench.metrics.metric import metric_of
from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.origins import FAILED, LEARNT, WHOLE
from omnial_bench.reports.table import DASH, MINUS, Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Ranked, Values

Notes = tuple[tuple[str, str], ...]
Cells = frozenset[tuple[int, str]]
"""Some cells of a table by row and key of the column."""
WIDE = (
    LEARNT, "huge eps breaks", "no zero gradients", "gradient is whole", "gradient reaches all pixels",
    "scores do not saturate",
)  # fmt: skip
"""Checks that put every gradient attack on a model in doubt where they fail."""
UNSETTLED = "more steps change little"
ALONE = ("nothing else harms more", "larger eps never helps")
"""Checks of what one suite prints, and of one size: an attack of the same objective in another suite, or of a smaller
size, may well have found less."""


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

    def add(self, **facts: Any) -> dict[str, Any]:
        """Begin a row with `facts`; the row, to be filled in."""
        self.records.append(facts)
        return facts

    def add_models(
        self, metric: str, shown: Mapping[str, Condition | None], *, interval: bool = False, bounded: bool = False,
        more: Callable[[Model], Mapping[str, float]] = lambda _: {},
    ) -> None:  # fmt: skip
        """A block of a metric: a row a model with its figures under the conditions `shown`, by the keys of the columns,
        and what it has `more`, then the chance levels. `bounded`: no figure under an attack that does not bound it."""
        panel = {"panel": METRIC_TITLES[metric], "metric": metric}
        for model in self.values.models:
            row = self.add(**panel, kind="model", **facts_of(self.values, model))
            for key, condition in shown.items():
                free = bounded and condition and condition.white_box and not self._bounds(model, condition, metric)
                self.put(key, model, None if free else condition, metric, interval=interval)
            row.update(more(model))
        self.add_chance(shown, **panel)

    def _bounds(self, model: Model, condition: Condition | None, metric: str) -> bool:
        return self.campaign is not None and self.campaign.bounds(model, condition, metric)

    def put(self, key: str, model: Model, condition: Condition | None, metric: str, *, interval: bool = False) -> None:
        """Write a figure and its spread under `key`, and its `interval` if wanted."""
        values, record = self.values, self.records[-1]
        record[key] = values.get(model, condition, metric)
        record[f"{key}_sd"] = values.spread(model, condition, metric)
        record |= values.ends(key, model, condition, metric) if interval else {}
        if self._bounds(model, condition, metric):
            self.bounds.add((len(self.records) - 1, key))
        if not math.isnan(record[key]):
            self.put_doubts(key, condition, [model], metric)

    def put_doubts(self, key: str, condition: Condition | None, models: Iterable[Model], metric: str) -> None:
        """Mark a cell with the letters of the models that it stands for."""
        if self.campaign is None:
            return
        letters = {letter for model in models for letter in doubts(self.campaign, model, condition, metric)}
        if letters:
            self.letters[len(self.records) - 1, key] = ",".join(sorted(letters))

    def add_chance(self, shown: Mapping[str, Condition | None], **facts: Any) -> None:
        """A row with the chance level of `facts["metric"]` under each condition, unless all are undefined."""
        levels = {key: self.values.chance(condition, facts["metric"]) for key, condition in shown.items() if condition}
        if not all(math.isnan(level) for level in levels.values()):
            self.add(**facts, kind="chance", model="chance level", **levels)

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.records)

    def best(self, keys: Iterable[str]) -> Cells:
        """The best figure of each column, of those that bound a model of which something is concluded and that no
        failed check puts in doubt."""
        judged = [self.values.label(model) for model in self.values.judged]
        among = {(row, key) for row, key in self.bounds - set(self.letters) if self.records[row]["model"] in judged}
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


def letters_of(health: pd.DataFrame) -> dict[str, str]:
    """The footnote letter of each check that failed somewhere."""
    somewhere = set(health.loc[health["status"] == FAILED, "check"])
    failed = [check for check in dict.fromkeys(health["check"]) if check in somewhere]
    return {check: ascii_lowercase[index % 26] * (1 + index // 26) for index, check in enumerate(failed)}


def doubts(campaign: Campaign, model: Model, condition: Condition | None, metric: str) -> set[str]:
    """Footnote letters of the failed checks that put the model's figure under an attack on itself in doubt.

    Those that were run on this set, and those that put every gradient attack on the model in doubt. An attack that had
    not settled puts those of its kind in doubt that are no longer. The figure for any harm at the common size is put in
    doubt by those on sets of the same objective, too, that the first table has no column of (but those of ALONE).
    """
    if condition is None or not condition.white_box:
        return set()
    letters = letters_of(campaign.health)
    columns = campaign.first_columns(metric).values() if condition == campaign.against(metric) else ()
    shown = {column.set for column in columns if column}
    failed = model.rows_in(campaign.health[campaign.health["status"] == FAILED])
    known = campaign.attempts.drop_duplicates("set").set_index("set")

    def concerns(check: str, name: str) -> bool:
        """Whether a check that failed on a set of that name says something of this one."""
        if check in WIDE or name == condition.set:
            return True
        recorded = {name, condition.set} <= set(known.index)
        here, there = (dict(known.loc[each]) if recorded else {} for each in (condition.set, name))
        if check == UNSETTLED:
            return recorded and here["attack"] == there["attack"] and bool(here["steps"] <= there["steps"])
        # Where attacks.csv does not tell of both, they may well be of one objective.
        alike = here.get("objective") == there.get("objective")
        return bool(shown) and check not in ALONE and name not in shown and alike

    return {letters[check] for check, name in zip(failed["check"], failed["set"], strict=True) if concerns(check, name)}


def apart_from_doubted(
    campaign: Campaign, condition: Condition | None, ranked: Ranked, metric: str
) -> tuple[Ranked, Ranked]:
    """The figures that no failed check puts in doubt, and those that are true at the most."""
    sure = [pair for pair in ranked if not doubts(campaign, pair[1], condition, metric)]
    return sure, [pair for pair in ranked if pair not in sure]


def short_notes(campaign: Campaign) -> Notes:
    """Footnotes that name each failed check with its models, categories and figures."""
    notes = []
    for check, letter, failures in failures_of(campaign):
        cases = []
        for model, rows in failures:
            each = []
            for row in rows.to_dict("records"):
                place = "" if row["category"] in WHOLE else f"{row['category']} "
                each.append(place + pair_words(row["figure"], row["reference"]))
            cases.append(f"{campaign.values.label(model)} ({', '.join(each)})")
        notes.append((letter, f"Check failed: {check} (figure : reference). {'; '.join(cases)}."))
    return tuple(notes)


def failures_of(campaign: Campaign) -> list[tuple[str, str, list[tuple[Model, pd.DataFrame]]]]:
    """Each check that failed, with its letter, and the rows of each model on which it did."""
    failed, failures = campaign.health[campaign.health["status"] == FAILED], []
    for check, letter in letters_of(campaign.health).items():
        parts = [(model, model.rows_in(failed[failed["check"] == check])) for model in campaign.values.models]
        failures.append((check, letter, [(model, rows) for model, rows in parts if len(rows)]))
    return failures


def pair_words(figure: float, reference: float) -> str:
    """Both with as many decimals: three, fewer for large figures, none for whole ones."""
    known = [number for number in (figure, reference) if not math.isnan(number)]
    whole = all(float(number).is_integer() for number in known)
    digits = 0 if whole else 3 if max(map(abs, known)) < 10 else 1
    shown = [DASH if math.isnan(number) else f"{number:.{digits}f}" for number in (figure, reference)]
    return "\u00a0:\u00a0".join(shown).replace("-", MINUS)
