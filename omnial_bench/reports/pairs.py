"""Models compared with one another on the same images: what differences.csv tells apart. No torch here."""

import math
from itertools import combinations
from typing import Any

import pandas as pd

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.health import Marked
from omnial_bench.reports.table import MINUS, Column, Table
from omnial_bench.reports.tables import mean_words, number_words, seed_words, unlearnt_words
from omnial_bench.reports.values import METRIC_TITLES, Condition, Model, Values
from omnial_bench.results import DIFFERENCES, HEADLINE

MOST = 6
"""Pairs of a metric in the table: those of four models. Of more models only the pairs with the highest are shown."""


def pairs_table(values: Values, campaign: Campaign | None) -> Table | None:
    """A row a pair of models that have learnt: the difference of each headline figure, clean and attacked themselves.

    None where there is no difference to show.
    """
    values = campaign.values if campaign else values
    records: list[dict[str, Any]] = []
    strong: set[tuple[int, str]] = set()
    used: dict[str, list[Condition]] = {"clean": [], "attacked": []}
    marked = Marked(campaign) if campaign else None
    for metric in (name for name in HEADLINE if name in values.metrics):
        trial = campaign.against(metric) if campaign else None
        shown = {"clean": values.clean, "attacked": trial.own if trial else None}
        for one, other in _pairs(values, shown, metric):
            record: dict[str, Any] = {
                "panel": METRIC_TITLES[metric],
                "metric": metric,
                "model": f"{values.label(one)} {MINUS} {values.label(other)}",
                **{name: getattr(one, name) for name in Model._fields},
                **{f"other_{name}": getattr(other, name) for name in Model._fields},
            }
            for key, condition in shown.items():
                gap = values.gap(one, other, condition, metric)
                record[key] = math.nan if gap is None else gap.difference
                if gap is not None and condition is not None:
                    record[f"{key}_low"], record[f"{key}_high"] = gap.low, gap.high
                    strong |= {(len(records), key)} if gap.apart else set()
                    used[key].append(condition)
                    if marked and key == "attacked":
                        marked.put_doubts(len(records), key, condition, (one, other))
            if not all(math.isnan(record[key]) for key in shown):
                records.append(record)
    if not records:
        return None
    titles = {"clean": "Clean test", "attacked": f"White-box, {campaign.size}" if campaign else ""}
    columns = [Column("model", "Pair", style="text")]
    for key in (key for key, conditions in used.items() if conditions):
        numbers = " to ".join(dict.fromkeys(number_words(values, condition) for condition in used[key]))
        columns.append(Column(key, f"{titles[key]},\n{numbers}", style="change", interval=key))
    return Table(
        "pairs", _caption(values, used), pd.DataFrame(records), tuple(columns), strong=frozenset(strong),
        letters=marked.letters if marked else {}, notes=marked.notes if marked else (),
    )  # fmt: skip


def _pairs(values: Values, shown: dict[str, Condition | None], metric: str) -> list[tuple[Model, Model]]:
    """Every pair, the higher figure first: that under attack, else that on the clean test; of many models those with
    the highest."""
    for condition in (shown["attacked"], shown["clean"]):
        figures = {model: values.get(model, condition, metric) for model in values.judged}
        known = {model: value for model, value in figures.items() if not math.isnan(value)}
        ranked = sorted(known, key=lambda model: -known[model])
        pairs = list(combinations(ranked, 2))
        if pairs:
            return pairs if len(pairs) <= MOST else pairs[: len(ranked) - 1]
    return []


def _caption(values: Values, used: dict[str, list[Condition]]) -> str:
    conditions = [condition for each in used.values() for condition in each]
    parts = [
        "Differences between models on the same images, in points: the figure of the first less that of the second, "
        f"{mean_words(values)}; {seed_words(values, conditions)}. Brackets: paired 95 % interval over "
        "images, both models on the same bootstrap draws. Each interval is of its own, not widened for the number of "
        "pairs, and holds the networks and the attack fixed. Bold: 0 lies outside."
    ]
    count = len(values.judged)
    if count * (count - 1) // 2 > MOST:
        parts.append(
            f"Of {count} models only the pairs with the one that is highest under attack (else clean); all are in "
            f"{DIFFERENCES}."
        )
    return " ".join(filter(None, (*parts, unlearnt_words(values))))
