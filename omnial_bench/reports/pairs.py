"""Models compared with one another on the same images: what differences.csv tells apart. No torch here."""

import math
from itertools import combinations

from omnial_bench.reports.campaign import Campaign
from omnial_bench.reports.conditions import Condition, Model
from omnial_bench.reports.model_rows import Rows
from omnial_bench.reports.table import MINUS, Column, Table
from omnial_bench.reports.values import METRIC_TITLES, Values
from omnial_bench.reports.wording import mean_words, number_words, seed_words, unlearnt_words
from omnial_bench.results import DIFFERENCES, HEADLINE

MOST = 6
"""Pairs of a metric in the table: those of four models. Of more models only the pairs with the highest are shown."""


def pairs_table(values: Values, campaign: Campaign | None) -> Table | None:
    """A row a pair of models that have learnt: the difference of each headline figure, clean and attacked themselves.

    None where there is no difference to show.
    """
    values = campaign.values if campaign else values
    rows = Rows(values, campaign)
    strong: set[tuple[int, str]] = set()
    used: dict[str, list[Condition]] = {"clean": [], "attacked": []}
    for metric in (name for name in HEADLINE if name in values.metrics):
        trial = campaign.against(metric) if campaign else None
        shown = {"clean": values.clean, "attacked": trial.own if trial else None}
        for model, other in _pairs(values, shown, metric):
            gaps = {key: values.gap(model, other, condition, metric) for key, condition in shown.items()}
            if not any(gaps.values()):
                continue
            rows.add(
                panel=METRIC_TITLES[metric],
                metric=metric,
                model=f"{values.label(model)} {MINUS} {values.label(other)}",
                **model._asdict(),
                **{f"other_{name}": text for name, text in other._asdict().items()},
            )
            for key, condition in shown.items():
                gap = gaps[key]
                rows.records[-1][key] = gap.difference if gap else math.nan
                if gap and condition:
                    rows.records[-1] |= {f"{key}_low": gap.low, f"{key}_high": gap.high}
                    strong |= {(len(rows.records) - 1, key)} if gap.apart else set()
                    used[key].append(condition)
                    rows.put_doubts(key, condition, (model, other))
    if not rows.records:
        return None
    titles = {"clean": "Clean test", "attacked": f"White-box, {campaign.size}" if campaign else ""}
    columns = [Column("model", "Pair", style="text")]
    for key in (key for key, conditions in used.items() if conditions):
        numbers = " to ".join(dict.fromkeys(number_words(values, condition) for condition in used[key]))
        columns.append(Column(key, f"{titles[key]},\n{numbers}", style="change", interval=key))
    return rows.table("pairs", _caption(values, used), columns, frozenset(strong))


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
